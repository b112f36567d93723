#include "core/couples.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "core/weight_sums.h"

namespace fastep {
namespace {

using Sums = WeightSums<kMaxCoupleRows>;

// Of two inputs, a half of a quad: bit i says that input i is taken as 255 - x, and its weights are negated.
constexpr int kForms = 4;

bool Negates(int form, int input) { return (form >> input & 1) != 0; }

struct Candidate {
  Candidate(const QuadBlock& b, int rows) : block(b) {
    for (int r = 0; r < rows; ++r) {
      for (int half = 0; half < 2; ++half) AddRow(r, half, block.rows[r][2 * half], block.rows[r][2 * half + 1]);
    }
  }

  QuadBlock block;
  Sums sums[2][kForms];
  int largest = 0;  // sum of the magnitudes of two weights: the larger, the harder to find a partner

 private:
  void AddRow(int row, int half, int first, int second) {
    const int a = std::max(first, 0), minus_a = a - first, b = std::max(second, 0), minus_b = b - second;
    Sums(&of_form)[kForms] = sums[half];
    of_form[0].Set(row, a + b, minus_a + minus_b);
    of_form[1].Set(row, minus_a + b, a + minus_b);
    of_form[2].Set(row, a + minus_b, minus_a + b);
    of_form[3].Set(row, minus_a + minus_b, a + b);
    largest = std::max(largest, a + minus_a + b + minus_b);
    for (int form = 1; form < kForms; ++form) {  // there is no weight of 128
      if (first == -128 && Negates(form, 0)) of_form[form].Set(row, kNoSum, 0);
      if (second == -128 && Negates(form, 1)) of_form[form].Set(row, kNoSum, 0);
    }
  }
};

using Forms = std::array<int, 2>;  // of both halves

// Of the second block, such that it fits beside the first as it is.
bool FindForms(const Candidate& first, const Candidate& second, Forms& forms) {
  for (size_t half = 0; half < 2; ++half) {
    int& form = forms[half] = 0;
    while (form < kForms && !Fit(first.sums[half][0], second.sums[half][form])) ++form;
    if (form == kForms) return false;
  }
  return true;
}

Couple Join(const QuadBlock& first, const QuadBlock& second, const Forms& forms) {
  Couple couple{{first, second}, {}};
  for (size_t i = 0; i < 4; ++i) {
    if (!Negates(forms[i / 2], static_cast<int>(i % 2))) continue;
    couple.mask[i] = -1;
    for (auto& row : couple.block[1].rows) row[i] = static_cast<int8_t>(-row[i]);
  }
  return couple;
}

// Puts part of each weight of a block beside one block, and the rest beside another one.
class Sharing {
 public:
  Sharing(const Candidate& a, const Candidate& middle, const Candidate& b, int rows)
      : other_{&a, &b}, middle_(middle.block), rows_(rows) {
    for (QuadBlock& part : part_) part = {middle_.quad, {}};
  }

  bool Find() {
    for (int i = 0; i < 4; ++i) {
      part_is_second_[0] = (i & 1) == 0;
      part_is_second_[1] = (i & 2) == 0;
      if (FindHalf(0) && FindHalf(1)) return true;
    }
    return false;
  }

  Couple operator[](int c) const {
    const QuadBlock& other = other_[c]->block;
    return part_is_second_[c] ? Join(other, part_[c], forms_[c]) : Join(part_[c], other, forms_[c]);
  }

 private:
  bool FindHalf(int half) {
    for (int i = 0; i < kForms * kForms; ++i) {
      const int forms[] = {i / kForms, i % kForms};
      for (int c = 0; c < 2; ++c) forms_[c][static_cast<size_t>(half)] = forms[c];
      if (Share(half)) return true;
    }
    return false;
  }

  bool Share(int half) {
    const Sums* beside[2];
    for (int c = 0; c < 2; ++c) {
      beside[c] = &other_[c]->sums[half][part_is_second_[c] ? 0 : Form(c, half)];
      if (!Fit(*beside[c], {})) return false;
    }
    for (int r = 0; r < rows_; ++r) {
      if (!ShareRow(beside, r, half)) return false;
    }
    return true;
  }

  // Two weights of one row.
  bool ShareRow(const Sums* const (&beside)[2], int row, int half) {
    int room[2][2];  // of each couple, for positive and for negative weights
    for (int c = 0; c < 2; ++c) {
      room[c][0] = kMostSum - beside[c]->Positive(row);
      room[c][1] = kMostSum - beside[c]->Negative(row);
    }
    for (int i = 0; i < 2; ++i) {
      const int weight = middle_.rows[row][2 * half + i];
      int left = std::abs(weight);
      for (int c = 0; c < 2; ++c) {
        int& free = room[c][(part_is_second_[c] && Negates(Form(c, half), i)) != (weight < 0)];
        const int part = std::min({left, free, 127});  // whatever its sign will be
        part_[c].rows[row][2 * half + i] = static_cast<int8_t>(weight < 0 ? -part : part);
        free -= part;
        left -= part;
      }
      if (left > 0) return false;
    }
    return true;
  }

  int Form(int c, int half) const { return forms_[c][static_cast<size_t>(half)]; }

  const Candidate* other_[2];
  const QuadBlock& middle_;
  int rows_;
  // Of both couples: its part, which of its blocks that is, and the forms of its second block.
  QuadBlock part_[2];
  bool part_is_second_[2];
  Forms forms_[2];
};

class Coupler {
 public:
  Coupler(const std::vector<QuadBlock>& blocks, int rows) : rows_(rows), nothing_(QuadBlock{}, rows) {
    candidates_.reserve(2 * blocks.size());
    for (const QuadBlock& block : blocks) Add(block);
  }

  std::vector<Couple> Run() {
    std::vector<size_t> order(candidates_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [this](size_t a, size_t b) { return candidates_[a].largest > candidates_[b].largest; });
    std::vector<const Candidate*> left;
    for (const size_t i : order) left.push_back(&candidates_[i]);
    return Finish(Pair(left));
  }

 private:
  // A block that leaves 16 bits even alone comes in two halves, which never do.
  void Add(const QuadBlock& block) {
    Forms unused;
    candidates_.emplace_back(block, rows_);
    if (FindForms(nothing_, candidates_.back(), unused)) return;
    candidates_.pop_back();
    QuadBlock half = block, rest = block;
    for (int i = 0; i < 4 * rows_; ++i) {
      int8_t& weight = half.rows[i / 4][i % 4];
      weight /= 2;
      rest.rows[i / 4][i % 4] -= weight;
    }
    candidates_.emplace_back(half, rows_);
    candidates_.emplace_back(rest, rows_);
  }

  // Joins each with the first that fits: what is hard to place comes first. Returns those that found none.
  std::vector<const Candidate*> Pair(std::vector<const Candidate*>& left) {
    std::vector<const Candidate*> alone;
    for (size_t i = 0; i < left.size(); ++i) {
      if (left[i] == nullptr) continue;
      size_t j = i + 1;
      while (j < left.size() && (left[j] == nullptr || !Couples(*left[i], *left[j]))) ++j;
      if (j == left.size()) {
        alone.push_back(left[i]);
      } else {
        left[j] = nullptr;
      }
    }
    return alone;
  }

  bool Couples(const Candidate& a, const Candidate& b) {
    Forms forms;
    if (FindForms(a, b, forms)) {
      couples_.push_back(Join(a.block, b.block, forms));
    } else if (FindForms(b, a, forms)) {
      couples_.push_back(Join(b.block, a.block, forms));
    } else {
      return false;
    }
    return true;
  }

  // Three in two couples where that can be done, the others alone.
  std::vector<Couple> Finish(std::vector<const Candidate*> alone) {
    while (alone.size() >= 3 && ShareOne(alone)) {
    }
    for (const Candidate* one : alone) Couples(nothing_, *one);
    return std::move(couples_);
  }

  // Puts one of the last between two of them.
  bool ShareOne(std::vector<const Candidate*>& alone) {
    for (size_t last = alone.size(); last >= 3; --last) {
      for (size_t middle = 1; middle <= 3; ++middle) {
        std::swap(alone[last - middle], alone[last - 2]);
        Sharing sharing(*alone[last - 3], *alone[last - 2], *alone[last - 1], rows_);
        if (!sharing.Find()) continue;
        for (int c = 0; c < 2; ++c) couples_.push_back(sharing[c]);
        alone.erase(alone.begin() + (last - 3), alone.begin() + last);
        return true;
      }
    }
    return false;
  }

  int rows_;
  Candidate nothing_;
  std::vector<Candidate> candidates_;
  std::vector<Couple> couples_;
};

}  // namespace

std::vector<Couple> CoupleBlocks(const std::vector<QuadBlock>& blocks, int rows) { return Coupler(blocks, rows).Run(); }

}  // namespace fastep
