#include "core/gathered_couples.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "core/weight_sums.h"

namespace fastep {
namespace {

constexpr int kRows = 4;
using Sums = WeightSums<kRows>;

// How often a lane of two or three columns may find no further one before it is left so, and how often a lane may not
// fit into the others before no more are tried: more attempts find hardly more, and take long where weights are alike.
constexpr int kMostAttempts = 10;
constexpr int kMostFailures = 25;
// The lanes that are tried, those with the fewest parts first.
constexpr size_t kMostVictims = 6;

Sums SumsOf(const ColumnWeights& weights) {
  Sums sums;
  for (int r = 0; r < kRows; ++r) sums.Set(r, std::max<int>(weights[r], 0), std::max<int>(-weights[r], 0));
  return sums;
}

int Largest(const ColumnWeights& weights) {
  int largest = 0;
  for (const int weight : weights) largest = std::max(largest, std::abs(weight));
  return largest;
}

struct FilledLane : Lane {
  Sums sums;

  bool full() const { return count == parts.size(); }
  void Add(const Part& part) {
    parts[count++] = part;
    sums = sums + SumsOf(part.weights);
  }
};

// As much of each weight as a lane still has room for.
ColumnWeights WhatFits(const ColumnWeights& weights, const Sums& sums) {
  ColumnWeights fitting{};
  for (int r = 0; r < kRows; ++r) {
    const int positive = std::min<int>(weights[r], kMostSum - sums.Positive(r));
    const int negative = std::max<int>(weights[r], sums.Negative(r) - kMostSum);
    fitting[r] = static_cast<int8_t>(weights[r] > 0 ? positive : negative);
  }
  return fitting;
}

class LaneFiller {
 public:
  explicit LaneFiller(const std::vector<ColumnWeights>& columns) : columns_(columns) {
    for (size_t i = 0; i < columns.size(); ++i) left_.push_back({SumsOf(columns[i]), i, Largest(columns[i])});
    std::stable_sort(left_.begin(), left_.end(),
                     [](const Column& a, const Column& b) { return a.largest > b.largest; });
  }

  std::vector<Lane> Run() {
    while (!left_.empty()) FillOne();
    int failures = 0;
    while (EmptyOne(failures)) {
    }
    return {lanes_.begin(), lanes_.end()};
  }

 private:
  struct Column {
    Sums sums;
    size_t column;
    int largest;
  };
  // Places in left_, ascending.
  using Places = std::vector<size_t>;

  size_t NextFitting(const Sums& sums, size_t place) const {
    while (place < left_.size() && !Fit(sums, left_[place].sums)) ++place;
    return place;
  }

  // The column that is hardest to place, and the hardest ones that fit beside it: three if they can be found.
  void FillOne() {
    const Places found = FindBeside(left_[0].sums);
    FilledLane lane;
    for (const size_t place : found) lane.Add({left_[place].column, columns_[left_[place].column]});
    for (auto place = found.rbegin(); place != found.rend(); ++place) {
      left_.erase(left_.begin() + static_cast<ptrdiff_t>(*place));
    }
    lanes_.push_back(lane);
  }

  Places FindBeside(const Sums& one) const {
    Places best = {0};
    int attempts = 0;
    for (size_t j = NextFitting(one, 1); j < left_.size(); j = NextFitting(one, j + 1)) {
      const Sums two = one + left_[j].sums;
      if (best.size() < 2) best = {0, j};
      size_t k = NextFitting(two, j + 1);
      if (k == left_.size() && ++attempts == kMostAttempts) return best;
      for (; k < left_.size(); k = NextFitting(two, k + 1)) {
        if (best.size() < 3) best = {0, j, k};
        const size_t l = NextFitting(two + left_[k].sums, k + 1);
        if (l < left_.size()) return {0, j, k, l};
        if (++attempts == kMostAttempts) return best;
      }
    }
    return best;
  }

  // Moves all parts of one lane into the others. Counts those that cannot be moved.
  bool EmptyOne(int& failures) {
    std::vector<size_t> order(lanes_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return lanes_[a].count < lanes_[b].count; });
    order.resize(std::min(order.size(), kMostVictims));
    for (const size_t victim : order) {
      if (lanes_[victim].full() || failures == kMostFailures) return false;
      std::vector<FilledLane> others = lanes_;
      others.erase(others.begin() + static_cast<ptrdiff_t>(victim));
      if (MoveAll(lanes_[victim], others)) {
        lanes_ = std::move(others);
        return true;
      }
      ++failures;
    }
    return false;
  }

  static bool MoveAll(const Lane& lane, std::vector<FilledLane>& others) {
    for (size_t i = 0; i < lane.count; ++i) {
      if (!Move(lane.parts[i], others) && !Split(lane.parts[i], others)) return false;
    }
    return true;
  }

  static bool Move(const Lane::Part& part, std::vector<FilledLane>& lanes) {
    const Sums sums = SumsOf(part.weights);
    for (FilledLane& lane : lanes) {
      if (lane.full() || !Fit(lane.sums, sums)) continue;
      lane.Add(part);
      return true;
    }
    return false;
  }

  // What fits into one lane, and the rest into another one.
  static bool Split(const Lane::Part& part, std::vector<FilledLane>& lanes) {
    for (FilledLane& first : lanes) {
      if (first.full()) continue;
      const ColumnWeights fitting = WhatFits(part.weights, first.sums);
      if (fitting == ColumnWeights{}) continue;
      ColumnWeights rest;
      for (size_t r = 0; r < rest.size(); ++r) rest[r] = static_cast<int8_t>(part.weights[r] - fitting[r]);
      const Sums sums = SumsOf(rest);
      for (FilledLane& second : lanes) {
        if (&second == &first || second.full() || !Fit(second.sums, sums)) continue;
        first.Add({part.column, fitting});
        second.Add({part.column, rest});
        return true;
      }
    }
    return false;
  }

  const std::vector<ColumnWeights>& columns_;
  std::vector<Column> left_;  // columns that are in no lane yet, hardest first
  std::vector<FilledLane> lanes_;
};

}  // namespace

std::vector<Lane> FillLanes(const std::vector<ColumnWeights>& columns) { return LaneFiller(columns).Run(); }

}  // namespace fastep
