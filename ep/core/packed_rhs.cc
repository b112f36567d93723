#include "core/packed_rhs.h"

#include <algorithm>
#include <cstring>

namespace fastep {
namespace {

constexpr size_t kReadableSlack = 64;        // bytes past the end that kernels may read
constexpr int kQuadIndexStep = 64;           // bytes of a quad in a tile of 16 tokens
constexpr int kInputIndexStep = 16;          // bytes of an input there
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
  RhsView view;
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
        const int64_t inputs[] = {4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3};
        AppendValues(weights, row, rows, inputs);
        index_.push_back(static_cast<uint16_t>((q - QuadBegin(b)) * kQuadIndexStep));
      }
    }
    group_ptr_.push_back(static_cast<uint32_t>(blocks_));
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
