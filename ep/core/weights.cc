#include "core/weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/aligned.h"
#include "core/check.h"

namespace fastep {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 24;
constexpr int64_t kMaxBlockDim = 64;

void CheckShape(const LinearSpec& spec) {
  const WeightSource& w = spec.weight;
  Check(w.n >= 1 && w.n <= kMaxDim && w.k >= 1 && w.k <= kMaxDim, spec.name,
        "weight_shape must be [N, K] with 1 <= N, K <= ", kMaxDim, ", found [", w.n, ", ", w.k, "]");
  if (w.dense != nullptr) {
    Check(w.blocks == nullptr && w.block_gaps == nullptr, spec.name, "expected a dense weight or blocks, found both");
    return;
  }
  Check(w.block_rows >= 1 && w.block_rows <= kMaxBlockDim && w.block_cols >= 1 && w.block_cols <= kMaxBlockDim,
        spec.name, "blocks must be [n_blocks, R, C] with 1 <= R, C <= ", kMaxBlockDim, ", found R = ", w.block_rows,
        ", C = ", w.block_cols);
  Check(w.n_blocks >= 0, spec.name, "n_blocks is negative: ", w.n_blocks);
  Check(w.n_blocks == 0 || (w.blocks != nullptr && w.block_gaps != nullptr), spec.name,
        "expected a dense weight, or blocks with block_gaps");
}

void CheckZeroPoint(const std::string& name, const char* what, int64_t value, bool is_unsigned) {
  const int64_t lo = is_unsigned ? 0 : -128;
  Check(value >= lo && value <= lo + 255, name, what, " must be in [", lo, ", ", lo + 255, "], found ", value);
}

void CheckPositive(const std::string& name, const char* what, int64_t index, float value) {
  Check(std::isfinite(value) && value > 0, name, what, "[", index, "] must be finite and > 0, found ", value);
}

void CheckQuantization(const LinearSpec& spec) {
  const int64_t n = spec.weight.n;
  CheckPositive(spec.name, "x_scale", 0, spec.x_scale);
  Check(spec.x_type != ElementType::kF32, spec.name, "x must be u8 or s8, found f32");
  CheckZeroPoint(spec.name, "x_zero_point", spec.x_zero_point, spec.x_type == ElementType::kU8);
  Check(spec.w_scale != nullptr && (spec.w_scale_count == 1 || spec.w_scale_count == n), spec.name,
        "w_scale must have 1 or N = ", n, " elements, found ", spec.w_scale_count);
  for (int64_t i = 0; i < spec.w_scale_count; ++i) CheckPositive(spec.name, "w_scale", i, spec.w_scale[i]);
  Check(spec.bias != nullptr, spec.name, "bias [N] is missing");
  for (int64_t i = 0; i < n; ++i) {
    Check(std::isfinite(spec.bias[i]), spec.name, "bias[", i, "] must be finite, found ", spec.bias[i]);
  }
  Check(spec.w_zero_point == nullptr || spec.w_zero_point_count == 1 || spec.w_zero_point_count == n, spec.name,
        "w_zero_point must have 1 or N = ", n, " elements, found ", spec.w_zero_point_count);
  if (spec.y_type == ElementType::kF32) return;
  CheckPositive(spec.name, "y_scale", 0, spec.y_scale);
  CheckZeroPoint(spec.name, "y_zero_point", spec.y_zero_point, spec.y_type == ElementType::kU8);
}

// [k, n] to [n, k], in squares that fit the nearest cache.
void Transpose(const WeightSource& w, Weights& out) {
  constexpr int64_t kSquare = 64;
  const auto* source = static_cast<const uint8_t*>(w.dense);
  const uint8_t flip = w.dense_is_unsigned ? 0x80 : 0;  // u8 - 128 as s8
  for (int64_t k0 = 0; k0 < w.k; k0 += kSquare) {
    const int64_t k1 = std::min(w.k, k0 + kSquare);
    for (int64_t n0 = 0; n0 < w.n; n0 += kSquare) {
      const int64_t n1 = std::min(w.n, n0 + kSquare);
      for (int64_t n = n0; n < n1; ++n) {
        for (int64_t k = k0; k < k1; ++k) {
          out.values[n * w.k + k] = static_cast<int8_t>(source[k * w.n + n] ^ flip);
        }
      }
    }
  }
}

// Copies one R x C block; what hangs over the edge of W must be zero.
void PlaceBlock(const LinearSpec& spec, int64_t j, int64_t row0, int64_t col0, Weights& out) {
  const WeightSource& w = spec.weight;
  const int8_t* block = w.blocks + j * w.block_rows * w.block_cols;
  for (int64_t r = 0; r < w.block_rows; ++r) {
    for (int64_t c = 0; c < w.block_cols; ++c) {
      const int8_t value = block[r * w.block_cols + c];
      if (row0 + r < w.n && col0 + c < w.k) {
        out.values[(row0 + r) * w.k + col0 + c] = value;
      } else {
        Check(value == 0, spec.name, "block ", j, " has a value other than 0 at row ", row0 + r, ", column ", col0 + c,
              ", outside of W [", w.n, ", ", w.k, "]");
      }
    }
  }
}

void PlaceBlocks(const LinearSpec& spec, Weights& out) {
  const WeightSource& w = spec.weight;
  const int64_t block_columns = (w.k + w.block_cols - 1) / w.block_cols;
  const int64_t positions = block_columns * ((w.n + w.block_rows - 1) / w.block_rows);
  int64_t position = -1;
  for (int64_t j = 0; j < w.n_blocks; ++j) {
    const int64_t gap =
        w.gaps_are_u16 ? static_cast<const uint16_t*>(w.block_gaps)[j] : static_cast<const uint8_t*>(w.block_gaps)[j];
    Check(gap >= 1, spec.name, "block_gaps[", j, "] must be >= 1, found 0");
    position += gap;
    Check(position < positions, spec.name, "block_gaps[", j, "] leads to block ", position, ", but W [", w.n, ", ", w.k,
          "] has only ", positions, " blocks of ", w.block_rows, " x ", w.block_cols);
    PlaceBlock(spec, j, position / block_columns * w.block_rows, position % block_columns * w.block_cols, out);
  }
}

// Per output row, on the scale of the decoded values; empty if all are 0.
std::vector<int32_t> DecodeZeroPoints(const LinearSpec& spec) {
  const bool is_unsigned = spec.weight.dense != nullptr && spec.weight.dense_is_unsigned;
  const int32_t shift = is_unsigned ? 128 : 0;
  std::vector<int32_t> zero_point(spec.weight.n, -shift);
  for (int64_t n = 0; n < spec.weight.n && spec.w_zero_point != nullptr; ++n) {
    const int64_t i = spec.w_zero_point_count == 1 ? 0 : n;
    zero_point[n] += is_unsigned ? static_cast<const uint8_t*>(spec.w_zero_point)[i]
                                 : static_cast<const int8_t*>(spec.w_zero_point)[i];
    Check(spec.weight.dense != nullptr || zero_point[n] == 0, spec.name,
          "block-sparse weights need zero point 0, found ", zero_point[n], " in w_zero_point[", i, "]");
  }
  const bool any = std::any_of(zero_point.begin(), zero_point.end(), [](int32_t z) { return z != 0; });
  return any ? zero_point : std::vector<int32_t>();
}

}  // namespace

Weights DecodeWeights(const LinearSpec& spec) {
  CheckShape(spec);
  CheckQuantization(spec);
  Weights out;
  out.n = spec.weight.n;
  out.k = spec.weight.k;
  out.values.assign(out.n * out.k, 0);
  if (spec.weight.dense != nullptr) {
    Transpose(spec.weight, out);
  } else {
    PlaceBlocks(spec, out);
  }
  out.zero_point = DecodeZeroPoints(spec);
  return out;
}

}  // namespace fastep
