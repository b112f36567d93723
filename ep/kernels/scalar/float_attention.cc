// Attention in float, plainly.

#include "kernels/generic/exp2.h"
#include "kernels/scalar/encoder.h"
#include "kernels/scalar/scalar_ops.h"

namespace fastep::scalar {
namespace {

constexpr float kHidden = -1e30f;

size_t At(int32_t row, int32_t stride, int32_t column) {
  return static_cast<size_t>(row) * static_cast<size_t>(stride) + static_cast<size_t>(column);
}

int32_t RoundUpRows(int32_t rows) { return (rows + kFloatRows - 1) / kFloatRows * kFloatRows; }

// Feature `feature` of packed key `key`.
size_t InBlocks(int32_t rows, int32_t key, int32_t feature) {
  return At(key / kKeyBlock * rows + feature, kKeyBlock, key % kKeyBlock);
}

// The arguments of FineExp2 of one lane, in place.
void Distances(const FloatSoftmaxArgs& a, int32_t lane) {
  float largest = a.scores[lane];
  for (int32_t j = 1; j < a.keys; ++j) largest = ScalarOps::Max(a.scores[At(j, a.lanes, lane)], largest);
  for (int32_t j = 0; j < a.keys; ++j) {
    float& s = a.scores[At(j, a.lanes, lane)];
    s = (s - largest) * a.scale;
  }
}

void BiasedDistances(const FloatSoftmaxArgs& a, int32_t lane) {
  float largest = kHidden;
  for (int32_t j = 0; j < a.keys; ++j) {
    float& s = a.scores[At(j, a.lanes, lane)];
    s = __builtin_fmaf(s, a.scale, a.bias[At(j, a.lanes, lane)]);
    largest = ScalarOps::Max(s, largest);
  }
  for (int32_t j = 0; j < a.keys; ++j) a.scores[At(j, a.lanes, lane)] -= largest;
}

}  // namespace

void PackFloatKeys(const FloatKeyRun* run) {
  for (int32_t i = 0; i < run->count; ++i) {
    for (int32_t f = 0; f < run->rows; ++f) {
      const bool real = f < run->features;
      run->blocks[InBlocks(run->rows, run->key + i, f)] = real ? run->tile[At(f, run->tokens, run->lane + i)] : 0.0f;
    }
  }
}

void FloatScores(const FloatProductArgs* args) {
  const FloatProductArgs& a = *args;
  for (int32_t key = 0; key < RoundUpRows(a.keys); ++key) {
    for (int32_t lane = 0; lane < a.lanes; ++lane) {
      float sum = 0;
      for (int32_t f = 0; f < a.features; ++f) {
        sum = __builtin_fmaf(a.blocks[InBlocks(a.rows, key, f)], a.lhs[At(f, a.lhs_stride, lane)], sum);
      }
      a.out[At(key, a.lanes, lane)] = sum;
    }
  }
}

void FloatSums(const FloatProductArgs* args) {
  const FloatProductArgs& a = *args;
  for (int32_t f = 0; f < a.rows; ++f) {
    for (int32_t lane = 0; lane < a.lanes; ++lane) {
      float sum = 0;
      for (int32_t key = 0; key < a.keys; ++key) {
        sum = __builtin_fmaf(a.blocks[InBlocks(a.rows, key, f)], a.lhs[At(key, a.lhs_stride, lane)], sum);
      }
      a.out[At(f, a.lanes, lane)] = sum;
    }
  }
}

void FloatSoftmax(const FloatSoftmaxArgs* args) {
  const FloatSoftmaxArgs& a = *args;
  for (int32_t lane = 0; lane < a.lanes; ++lane) {
    if (a.bias == nullptr) {
      Distances(a, lane);
    } else {
      BiasedDistances(a, lane);
    }
    float sum = 0;
    for (int32_t j = 0; j < a.keys; ++j) {
      float& e = a.scores[At(j, a.lanes, lane)];
      e = e >= kFineExp2Lowest ? FineExp2<ScalarOps>(e) : 0.0f;
      sum += e;
    }
    a.factor[lane] = sum == 0 ? 0.0f : a.out_scale / sum;
  }
}

void FloatFinish(const FloatFinishArgs* args) {
  const FloatFinishArgs& a = *args;
  const auto lo = static_cast<float>(a.lo), hi = static_cast<float>(a.hi);
  for (int32_t f = 0; f < a.features; ++f) {
    for (int32_t lane = a.lane_begin; lane < a.lane_end; ++lane) {
      const float y = __builtin_fmaf(a.sums[At(f, a.lanes, lane)], a.factor[lane], a.zero_point);
      if (a.y != nullptr) a.y[At(f, a.tokens, lane)] = y;
      if (a.q == nullptr) continue;
      const float clamped = ScalarOps::Min(ScalarOps::Max(y, lo), hi);
      const auto rounded = static_cast<int32_t>((clamped + kRoundToInt) - kRoundToInt);
      a.q[At(f / 4, a.tokens, lane) * 4 + static_cast<size_t>(f % 4)] = static_cast<uint8_t>(rounded ^ a.flip);
    }
  }
}

}  // namespace fastep::scalar
