#include "core/packed_rhs.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "core/error.h"

namespace fastep {
namespace {

constexpr size_t kReadableSlack = 64;  // bytes past the end that kernels may read
constexpr int kQuadIndexStep = 64;     // bytes of a quad in a tile of 16 tokens
constexpr int kInputIndexStep = 16;    // bytes of an input there
// Bounded pairs are worth this part of the blocks in two copies: products of them are about 1.45 times as fast.
constexpr double kMostStoredTwice = 0.25;
constexpr int kShortOrder[] = {0, 2, 1, 3};  // of 16-bit values inside a quad

constexpr size_t IndicesPerBlock(RhsKind kind) { return kind == RhsKind::k4x1 ? 4 : 1; }

bool AnyNonZero(const Weights& weights, int64_t row, int count, int64_t k0, int64_t k1) {
  const int64_t row_end = std::min(weights.n, row + count);
  for (; row < row_end; ++row) {
    for (int64_t k = k0; k < std::min(k1, weights.k); ++k) {
      if (weights.Row(row)[k] != 0) return true;
    }
  }
  return false;
}

// Four weights of one row; what is beyond the matrix reads as 0.
std::array<int, 4> Quad(const Weights& weights, int64_t row, int64_t quad) {
  std::array<int, 4> values{};
  for (int64_t i = 0; i < 4 && row < weights.n; ++i) {
    if (4 * quad + i < weights.k) values[static_cast<size_t>(i)] = weights.Row(row)[4 * quad + i];
  }
  return values;
}

bool IsBounded(int first, int second) {
  const int high = std::max(first, 0) + std::max(second, 0), low = std::min(first, 0) + std::min(second, 0);
  return 255 * high <= 32767 && 255 * low >= -32768;
}

bool IsBounded(const Weights& weights, int64_t row, int rows, int64_t quad) {
  for (int64_t r = row; r < row + rows; ++r) {
    const std::array<int, 4> w = Quad(weights, r, quad);
    if (!IsBounded(w[0], w[1]) || !IsBounded(w[2], w[3])) return false;
  }
  return true;
}

}  // namespace

// Fills the arrays, which grow, and hands them over at their size.
class PackedRhs::Packer {
 public:
  Packer(const Weights& weights, const KernelTable& kernels, PackedRhs& rhs)
      : weights_(weights), kernels_(kernels), rhs_(rhs) {}

  void Run() {
    switch (rhs_.kind_) {
      case RhsKind::kDense:
        PackDense();
        break;
      case RhsKind::k4x1:
        PackGatherBlocks();
        break;
      default:
        rhs_.bounded_pairs_ = (kernels_.extras & kBoundedPairs) != 0 && PairsAreBounded();
        if (rhs_.bounded_pairs_) rhs_.value_bytes_ = 1;
        PackQuadBlocks();
    }
    values_.resize(values_.size() + kReadableSlack);
    rhs_.values_ = SharedArray<uint8_t>(std::move(values_));
    if (rhs_.kind_ == RhsKind::kDense) return;
    index_.resize(index_.size() + kReadableSlack / sizeof(uint16_t));
    group_ptr_.push_back(group_ptr_.back());  // readable, too
    rhs_.index_ = SharedArray<uint16_t>(std::move(index_));
    rhs_.group_ptr_ = SharedArray<uint32_t>(std::move(group_ptr_));
  }

 private:
  void PackDense();
  void PackQuadBlocks();
  void PackGatherBlocks();
  // True if most blocks of R x 4 need no second copy to be stored as bounded pairs.
  bool PairsAreBounded() const;
  void AppendBoundedPairs(int64_t row, int64_t quad);
  void AppendGathered(int64_t row, int64_t first_input, const std::vector<int64_t>& kept);
  // Appends a block: rows [row, row + count) x four inputs. An input at or beyond K reads as 0.
  void AppendValues(int64_t row, int count, const int64_t* inputs);

  const Weights& weights_;
  const KernelTable& kernels_;
  PackedRhs& rhs_;
  AlignedVector<uint32_t> group_ptr_;
  AlignedVector<uint16_t> index_;
  AlignedVector<uint8_t> values_;
};

PackedRhs::PackedRhs(const Weights& weights, RhsKind kind, const KernelTable& kernels)
    : kind_(kind),
      value_bytes_(kernels.value_bytes),
      rows_(static_cast<int32_t>(RoundUp(weights.n, kRowStep))),
      k_quads_(static_cast<int32_t>(CeilDiv(weights.k, 4))),
      k_blocks_(static_cast<int32_t>(
          CeilDiv(k_quads_, std::min(kernels.blocking[static_cast<int>(kind)].k_quads, kMaxBlockQuads)))) {
  Packer(weights, kernels, *this).Run();
}

// As even as whole quads allow.
int32_t PackedRhs::QuadBegin(int32_t k_block) const {
  return static_cast<int32_t>(int64_t{k_quads_} * k_block / k_blocks_);
}

RhsView PackedRhs::View(int32_t k_block) const {
  const int32_t groups = rows_ / RowsPerGroup(kind_);
  const int32_t quad_begin = QuadBegin(k_block);
  RhsView view{};
  view.bounded_pairs = bounded_pairs_;
  view.k_quads = QuadBegin(k_block + 1) - quad_begin;
  if (kind_ == RhsKind::kDense) {
    view.group_ptr = nullptr;
    view.index = nullptr;
    view.values = values_.data() + size_t(quad_begin) * rows_ * 4 * value_bytes_;
  } else {
    view.group_ptr = group_ptr_.data() + size_t(k_block) * (groups + 1);
    view.index = index_.data();
    view.values = values_.data();
  }
  return view;
}

size_t PackedRhs::bytes() const { return values_.bytes() + index_.bytes() + group_ptr_.bytes(); }

void PackedRhs::MoveInto(PagePool& pool) {
  pool.Take(values_);
  pool.Take(index_);
  pool.Take(group_ptr_);
}

void PackedRhs::Packer::AppendValues(int64_t row, int count, const int64_t* inputs) {
  for (int64_t n = row; n < row + count; ++n) {
    for (int i = 0; i < 4; ++i) {
      const int64_t k = inputs[rhs_.value_bytes_ == 2 ? kShortOrder[i] : i];
      const int8_t value = n < weights_.n && k < weights_.k ? weights_.Row(n)[k] : int8_t{0};
      values_.push_back(static_cast<uint8_t>(value));
      if (rhs_.value_bytes_ == 2) values_.push_back(value < 0 ? 0xff : 0);
    }
  }
  ++rhs_.blocks_;
}

void PackedRhs::Packer::PackDense() {
  const int rows = RowsPerGroup(rhs_.kind_);
  values_.reserve(size_t(rhs_.rows_) * rhs_.k_quads_ * 4 * rhs_.value_bytes_ + kReadableSlack);
  for (int32_t b = 0; b < rhs_.k_blocks_; ++b) {
    for (int32_t row = 0; row < rhs_.rows_; row += rows) {
      for (int64_t q = rhs_.QuadBegin(b); q < rhs_.QuadBegin(b + 1); ++q) {
        const int64_t inputs[] = {4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3};
        AppendValues(row, rows, inputs);
      }
    }
  }
}

void PackedRhs::Packer::PackQuadBlocks() {
  const int rows = RowsPerGroup(rhs_.kind_);
  for (int32_t b = 0; b < rhs_.k_blocks_; ++b) {
    for (int32_t row = 0; row < rhs_.rows_; row += rows) {
      group_ptr_.push_back(static_cast<uint32_t>(rhs_.blocks_));
      for (int64_t q = rhs_.QuadBegin(b); q < rhs_.QuadBegin(b + 1); ++q) {
        if (!AnyNonZero(weights_, row, rows, 4 * q, 4 * q + 4)) continue;
        if (rhs_.bounded_pairs_ && !IsBounded(weights_, row, rows, q)) {
          AppendBoundedPairs(row, q);
          index_.insert(index_.end(), 2, static_cast<uint16_t>((q - rhs_.QuadBegin(b)) * kQuadIndexStep));
          continue;
        }
        const int64_t inputs[] = {4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3};
        AppendValues(row, rows, inputs);
        index_.push_back(static_cast<uint16_t>((q - rhs_.QuadBegin(b)) * kQuadIndexStep));
      }
    }
    group_ptr_.push_back(static_cast<uint32_t>(rhs_.blocks_));
  }
}

bool PackedRhs::Packer::PairsAreBounded() const {
  const int rows = RowsPerGroup(rhs_.kind_);
  int64_t all = 0, bounded = 0;
  for (int32_t row = 0; row < rhs_.rows_; row += rows) {
    for (int64_t q = 0; q < rhs_.k_quads_; ++q) {
      if (!AnyNonZero(weights_, row, rows, 4 * q, 4 * q + 4)) continue;
      ++all;
      bounded += IsBounded(weights_, row, rows, q);
    }
  }
  return all - bounded <= static_cast<int64_t>(kMostStoredTwice * static_cast<double>(all));
}

// A block as the sum of two, with half of each weight, which are always bounded.
void PackedRhs::Packer::AppendBoundedPairs(int64_t row, int64_t quad) {
  for (int copy = 0; copy < 2; ++copy) {
    for (int64_t r = row; r < row + RowsPerGroup(rhs_.kind_); ++r) {
      for (const int value : Quad(weights_, r, quad)) {
        values_.push_back(static_cast<uint8_t>(copy == 0 ? value / 2 : value - value / 2));
      }
    }
    ++rhs_.blocks_;
  }
}

void PackedRhs::Packer::PackGatherBlocks() {
  const int rows = RowsPerGroup(rhs_.kind_);
  std::vector<int64_t> kept;
  for (int32_t b = 0; b < rhs_.k_blocks_; ++b) {
    const int64_t begin = int64_t{rhs_.QuadBegin(b)} * 4;
    const int64_t end = std::min<int64_t>(weights_.k, int64_t{rhs_.QuadBegin(b + 1)} * 4);
    for (int32_t row = 0; row < rhs_.rows_; row += rows) {
      group_ptr_.push_back(static_cast<uint32_t>(rhs_.blocks_));
      kept.clear();
      for (int64_t k = begin; k < end; ++k) {
        if (AnyNonZero(weights_, row, rows, k, k + 1)) kept.push_back(k);
      }
      AppendGathered(row, begin, kept);
    }
    group_ptr_.push_back(static_cast<uint32_t>(rhs_.blocks_));
  }
}

// Four kept inputs per block; the last is filled up with the last input again, with zero weights.
void PackedRhs::Packer::AppendGathered(int64_t row, int64_t first_input, const std::vector<int64_t>& kept) {
  for (size_t i = 0; i < kept.size(); i += 4) {
    int64_t inputs[4];
    for (size_t j = 0; j < 4; ++j) {
      const bool real = i + j < kept.size();
      inputs[j] = real ? kept[i + j] : weights_.k;
      const int64_t place = (real ? kept[i + j] : kept.back()) - first_input;
      index_.push_back(static_cast<uint16_t>(place * kInputIndexStep));
    }
    AppendValues(row, RowsPerGroup(rhs_.kind_), inputs);
  }
}

void PackedRhs::Check(int64_t n, int64_t k, const KernelTable& kernels) const {
  const auto require = [](bool condition) {
    if (!condition) throw Error("packed weights do not have the form that they claim");
  };
  const auto kind = static_cast<int>(kind_);
  require(kind >= 0 && kind < kRhsKinds && kernels.product[kind] != nullptr);
  const bool blocked = kind_ != RhsKind::kDense && kind_ != RhsKind::k4x1;
  require(!bounded_pairs_ || (blocked && (kernels.extras & kBoundedPairs) != 0));
  require(value_bytes_ == (bounded_pairs_ ? 1 : kernels.value_bytes));
  require(rows_ == static_cast<int64_t>(RoundUp(n, kRowStep)) && k_quads_ == static_cast<int64_t>(CeilDiv(k, 4)));
  require(k_blocks_ >= 1 && k_blocks_ <= k_quads_ && CeilDiv(k_quads_, k_blocks_) <= kMaxBlockQuads);
  const int64_t groups = rows_ / RowsPerGroup(kind_);
  if (kind_ == RhsKind::kDense) require(blocks_ == groups * k_quads_);
  require(blocks_ >= 0 && blocks_ <= groups * (2 * int64_t{k_quads_} + k_blocks_));
  const size_t block_bytes = static_cast<size_t>(RowsPerGroup(kind_)) * 4 * value_bytes_;
  require(values_.size() == static_cast<size_t>(blocks_) * block_bytes + kReadableSlack);
  if (kind_ == RhsKind::kDense) return;
  require(group_ptr_.size() == static_cast<size_t>(k_blocks_ * (groups + 1) + 1));
  require(index_.size() == static_cast<size_t>(blocks_) * IndicesPerBlock(kind_) + kReadableSlack / sizeof(uint16_t));
  for (size_t i = 0; i + 1 < group_ptr_.size(); ++i) require(group_ptr_[i] <= group_ptr_[i + 1]);
  require(group_ptr_[group_ptr_.size() - 1] <= static_cast<uint64_t>(blocks_));
  // 4x1 reads the block after the last one of a call, too: the first of the next K-block, or zeros.
  if (kind_ == RhsKind::k4x1) {
    for (int32_t b = 1; b < k_blocks_; ++b) require(View(b - 1).group_ptr[groups] == View(b).group_ptr[0]);
    require(group_ptr_[group_ptr_.size() - 1] == blocks_);
    for (size_t i = static_cast<size_t>(blocks_) * 4; i < index_.size(); ++i) require(index_[i] == 0);
  }
  for (int32_t b = 0; b < k_blocks_; ++b) {
    const int step = kind_ == RhsKind::k4x1 ? kInputIndexStep : kQuadIndexStep;
    const int32_t end = (QuadBegin(b + 1) - QuadBegin(b)) * kQuadIndexStep;
    const uint32_t* group_ptr = View(b).group_ptr;
    const size_t last = size_t{group_ptr[groups]} * IndicesPerBlock(kind_);
    for (size_t i = size_t{group_ptr[0]} * IndicesPerBlock(kind_); i < last; ++i) {
      require(index_[i] < end && index_[i] % step == 0);
    }
  }
}

}  // namespace fastep
