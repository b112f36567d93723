#include "core/packed_rhs.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace fastep {
namespace {

constexpr size_t kReadableSlack = 64;  // bytes past the end that kernels may read
constexpr int kQuadIndexStep = 64;     // bytes of a quad in a tile of 16 tokens
constexpr int kInputIndexStep = 16;    // bytes of an input there
// Bounded pairs are worth this part of the blocks in two copies: products of them are about 1.45 times as fast.
constexpr double kMostStoredTwice = 0.25;
constexpr int kShortOrder[] = {0, 2, 1, 3};  // of 16-bit values inside a quad

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

PackedRhs::PackedRhs(const Weights& weights, RhsKind kind, const KernelTable& kernels)
    : kind_(kind),
      value_bytes_(kernels.value_bytes),
      rows_(static_cast<int32_t>(RoundUp(weights.n, kRowStep))),
      k_quads_(static_cast<int32_t>(CeilDiv(weights.k, 4))),
      k_blocks_(static_cast<int32_t>(
          CeilDiv(k_quads_, std::min(kernels.blocking[static_cast<int>(kind)].k_quads, kMaxBlockQuads)))) {
  switch (kind_) {
    case RhsKind::kDense:
      PackDense(weights);
      break;
    case RhsKind::k4x1:
      PackGatherBlocks(weights);
      break;
    default:
      bounded_pairs_ = (kernels.extras & kBoundedPairs) != 0 && PairsAreBounded(weights);
      if (bounded_pairs_) value_bytes_ = 1;
      PackQuadBlocks(weights);
  }
  values_.shrink_to_fit();
  index_.shrink_to_fit();
  values_.resize(values_.size() + kReadableSlack);
  if (kind_ == RhsKind::kDense) return;
  index_.resize(index_.size() + kReadableSlack / sizeof(uint16_t));
  group_ptr_.push_back(group_ptr_.back());  // readable, too
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

size_t PackedRhs::bytes() const {
  return values_.size() + index_.size() * sizeof(uint16_t) + group_ptr_.size() * sizeof(uint32_t);
}

void PackedRhs::AppendValues(const Weights& weights, int64_t row, int count, const int64_t* inputs) {
  for (int64_t n = row; n < row + count; ++n) {
    for (int i = 0; i < 4; ++i) {
      const int64_t k = inputs[value_bytes_ == 2 ? kShortOrder[i] : i];
      const int8_t value = n < weights.n && k < weights.k ? weights.Row(n)[k] : int8_t{0};
      values_.push_back(static_cast<uint8_t>(value));
      if (value_bytes_ == 2) values_.push_back(value < 0 ? 0xff : 0);
    }
  }
  ++blocks_;
}

void PackedRhs::PackDense(const Weights& weights) {
  const int rows = RowsPerGroup(kind_);
  values_.reserve(size_t(rows_) * k_quads_ * 4 * value_bytes_ + kReadableSlack);
  for (int32_t b = 0; b < k_blocks_; ++b) {
    for (int32_t row = 0; row < rows_; row += rows) {
      for (int64_t q = QuadBegin(b); q < QuadBegin(b + 1); ++q) {
        const int64_t inputs[] = {4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3};
        AppendValues(weights, row, rows, inputs);
      }
    }
  }
}

void PackedRhs::PackQuadBlocks(const Weights& weights) {
  const int rows = RowsPerGroup(kind_);
  for (int32_t b = 0; b < k_blocks_; ++b) {
    for (int32_t row = 0; row < rows_; row += rows) {
      group_ptr_.push_back(static_cast<uint32_t>(blocks_));
      for (int64_t q = QuadBegin(b); q < QuadBegin(b + 1); ++q) {
        if (!AnyNonZero(weights, row, rows, 4 * q, 4 * q + 4)) continue;
        if (bounded_pairs_ && !IsBounded(weights, row, rows, q)) {
          AppendBoundedPairs(weights, row, q);
          index_.insert(index_.end(), 2, static_cast<uint16_t>((q - QuadBegin(b)) * kQuadIndexStep));
          continue;
        }
        const int64_t inputs[] = {4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3};
        AppendValues(weights, row, rows, inputs);
        index_.push_back(static_cast<uint16_t>((q - QuadBegin(b)) * kQuadIndexStep));
      }
    }
    group_ptr_.push_back(static_cast<uint32_t>(blocks_));
  }
}

bool PackedRhs::PairsAreBounded(const Weights& weights) const {
  const int rows = RowsPerGroup(kind_);
  int64_t all = 0, bounded = 0;
  for (int32_t row = 0; row < rows_; row += rows) {
    for (int64_t q = 0; q < k_quads_; ++q) {
      if (!AnyNonZero(weights, row, rows, 4 * q, 4 * q + 4)) continue;
      ++all;
      bounded += IsBounded(weights, row, rows, q);
    }
  }
  return all - bounded <= static_cast<int64_t>(kMostStoredTwice * static_cast<double>(all));
}

// A block as the sum of two, with half of each weight, which are always bounded.
void PackedRhs::AppendBoundedPairs(const Weights& weights, int64_t row, int64_t quad) {
  for (int copy = 0; copy < 2; ++copy) {
    for (int64_t r = row; r < row + RowsPerGroup(kind_); ++r) {
      for (const int value : Quad(weights, r, quad)) {
        values_.push_back(static_cast<uint8_t>(copy == 0 ? value / 2 : value - value / 2));
      }
    }
    ++blocks_;
  }
}

void PackedRhs::PackGatherBlocks(const Weights& weights) {
  const int rows = RowsPerGroup(kind_);
  std::vector<int64_t> kept;
  for (int32_t b = 0; b < k_blocks_; ++b) {
    const int64_t begin = int64_t{QuadBegin(b)} * 4;
    const int64_t end = std::min<int64_t>(weights.k, int64_t{QuadBegin(b + 1)} * 4);
    for (int32_t row = 0; row < rows_; row += rows) {
      group_ptr_.push_back(static_cast<uint32_t>(blocks_));
      kept.clear();
      for (int64_t k = begin; k < end; ++k) {
        if (AnyNonZero(weights, row, rows, k, k + 1)) kept.push_back(k);
      }
      AppendGathered(weights, row, begin, kept);
    }
    group_ptr_.push_back(static_cast<uint32_t>(blocks_));
  }
}

// Four kept inputs per block; the last is filled up with the last input again, with zero weights.
void PackedRhs::AppendGathered(const Weights& weights, int64_t row, int64_t first_input,
                               const std::vector<int64_t>& kept) {
  for (size_t i = 0; i < kept.size(); i += 4) {
    int64_t inputs[4];
    for (size_t j = 0; j < 4; ++j) {
      const bool real = i + j < kept.size();
      inputs[j] = real ? kept[i + j] : weights.k;
      const int64_t place = (real ? kept[i + j] : kept.back()) - first_input;
      index_.push_back(static_cast<uint16_t>(place * kInputIndexStep));
    }
    AppendValues(weights, row, RowsPerGroup(kind_), inputs);
  }
}

}  // namespace fastep
