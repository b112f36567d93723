// Attention in float (256-bit tiers): queries in lanes; keys and values broadcast from their blocks.
#pragma once

#include "kernels/generic/exp2.h"
#include "kernels/generic/ymm_attention.h"

namespace fastep {
namespace {

// Four sums of 16 lanes: eight vectors, as many as two products per cycle of four cycles each need.
constexpr int kSumRows = 4;
constexpr int kSumVectors = 2;
constexpr int kSumLanes = kSumVectors * kLanes;
static_assert(kFloatRows % kSumRows == 0, "rows come in whole groups");

struct FloatAccumulators {
  F32x8 sum[kSumRows][kSumVectors];

  FASTEP_INLINE void Clear() {
#pragma GCC unroll 8
    for (int i = 0; i < kSumRows * kSumVectors; ++i) sum[i / kSumVectors][i % kSumVectors] = _mm256_setzero_ps();
  }
  // rhs: four numbers, kStride apart.
  template <int kStride>
  FASTEP_INLINE void Add(const float* lhs, const float* rhs) {
    const F32x8 x[kSumVectors] = {_mm256_loadu_ps(lhs), _mm256_loadu_ps(lhs + kLanes)};
#pragma GCC unroll 4
    for (int r = 0; r < kSumRows; ++r) {
      const F32x8 w = _mm256_broadcast_ss(rhs + r * kStride);
#pragma GCC unroll 2
      for (int v = 0; v < kSumVectors; ++v) sum[r][v] = _mm256_fmadd_ps(w, x[v], sum[r][v]);
    }
  }
  FASTEP_INLINE void StoreTo(float* out, size_t stride) const {
#pragma GCC unroll 4
    for (int r = 0; r < kSumRows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kSumVectors; ++v) _mm256_storeu_ps(out + r * stride + v * kLanes, sum[r][v]);
    }
  }
};

// Keys [key, key + 4), of one block.
FASTEP_INLINE void ScoresOfKeys(const FloatProductArgs& a, int32_t key, int32_t lane) {
  const float* rhs = a.blocks + static_cast<size_t>(key / kKeyBlock) * a.rows * kKeyBlock + key % kKeyBlock;
  const float* lhs = a.lhs + lane;
  FloatAccumulators acc;
  acc.Clear();
  for (int32_t f = 0; f < a.features; ++f) {
    acc.Add<1>(lhs, rhs);
    lhs += a.lhs_stride;
    rhs += kKeyBlock;
  }
  acc.StoreTo(a.out + static_cast<size_t>(key) * a.lanes + lane, static_cast<size_t>(a.lanes));
}

// Features [row, row + 4).
FASTEP_INLINE void SumsOfFeatures(const FloatProductArgs& a, int32_t row, int32_t lane) {
  const float* block = a.blocks + static_cast<size_t>(row) * kKeyBlock;
  const float* lhs = a.lhs + lane;
  FloatAccumulators acc;
  acc.Clear();
  for (int32_t key = 0; key < a.keys; key += kKeyBlock) {
    const int32_t count = a.keys - key < kKeyBlock ? a.keys - key : kKeyBlock;
    for (int32_t j = 0; j < count; ++j) {
      acc.Add<kKeyBlock>(lhs, block + j);
      lhs += a.lhs_stride;
    }
    block += static_cast<size_t>(a.rows) * kKeyBlock;
  }
  acc.StoreTo(a.out + static_cast<size_t>(row) * a.lanes + lane, static_cast<size_t>(a.lanes));
}

void FloatScores(const FloatProductArgs* args) {
  const int32_t rows = (args->keys + kFloatRows - 1) / kFloatRows * kFloatRows;
  for (int32_t lane = 0; lane < args->lanes; lane += kSumLanes) {
    for (int32_t key = 0; key < rows; key += kSumRows) ScoresOfKeys(*args, key, lane);
  }
}

void FloatSums(const FloatProductArgs* args) {
  for (int32_t lane = 0; lane < args->lanes; lane += kSumLanes) {
    for (int32_t row = 0; row < args->rows; row += kSumRows) SumsOfFeatures(*args, row, lane);
  }
}

// ---- Softmax ----

FASTEP_INLINE F32x8 FineProbability(F32x8 x) {
  return _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(kFineExp2Lowest), _CMP_GE_OQ), FineExp2<YmmOps>(x));
}

FASTEP_INLINE void FloatSoftmaxLanes(const FloatSoftmaxArgs& a, int32_t lane) {
  const auto stride = static_cast<size_t>(a.lanes);
  float* scores = a.scores + lane;
  const float* bias = a.bias == nullptr ? nullptr : a.bias + lane;
  const F32x8 scale = _mm256_set1_ps(a.scale);
  F32x8 largest = a.bias == nullptr ? _mm256_loadu_ps(scores) : _mm256_set1_ps(-1e30f);
  for (int32_t j = 0; j < a.keys; ++j) {
    F32x8 s = _mm256_loadu_ps(scores + j * stride);
    if (a.bias != nullptr) {
      s = _mm256_fmadd_ps(s, scale, _mm256_loadu_ps(bias + j * stride));
      _mm256_storeu_ps(scores + j * stride, s);
    }
    largest = _mm256_max_ps(s, largest);
  }
  const F32x8 factor = a.bias == nullptr ? scale : _mm256_set1_ps(1.0f);
  F32x8 sum = _mm256_setzero_ps();
  for (int32_t j = 0; j < a.keys; ++j) {
    const F32x8 below = _mm256_sub_ps(_mm256_loadu_ps(scores + j * stride), largest);
    const F32x8 e = FineProbability(_mm256_mul_ps(below, factor));
    _mm256_storeu_ps(scores + j * stride, e);
    sum = _mm256_add_ps(sum, e);
  }
  const F32x8 some = _mm256_cmp_ps(sum, _mm256_setzero_ps(), _CMP_NEQ_UQ);
  _mm256_storeu_ps(a.factor + lane, _mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(a.out_scale), sum)));
}

void FloatSoftmax(const FloatSoftmaxArgs* args) {
  for (int32_t lane = 0; lane < args->lanes; lane += kLanes) FloatSoftmaxLanes(*args, lane);
}

// ---- Packing, results ----

void PackFloatKeys(const FloatKeyRun* run) {
  for (int32_t i = 0; i < run->count;) {
    const int32_t key = run->key + i, at = key % kKeyBlock;
    const int32_t space = kKeyBlock - at, left = run->count - i;
    const int32_t keys = left < space ? left : space;
    float* out = run->blocks + static_cast<size_t>(key / kKeyBlock) * run->rows * kKeyBlock + at;
    for (int32_t f = 0; f < run->rows; ++f, out += kKeyBlock) {
      const float* x = run->tile + static_cast<size_t>(f) * run->tokens + run->lane + i;
      if (f >= run->features) {
        for (int32_t n = 0; n < keys; ++n) out[n] = 0.0f;
      } else if (keys == kKeyBlock) {
        _mm256_storeu_ps(out, _mm256_loadu_ps(x));
        _mm256_storeu_ps(out + kLanes, _mm256_loadu_ps(x + kLanes));
      } else {
        for (int32_t n = 0; n < keys; ++n) out[n] = x[n];
      }
    }
    i += keys;
  }
}

FASTEP_INLINE F32x8 Finished(const FloatFinishArgs& a, int32_t row, int32_t lane) {
  const F32x8 sums = _mm256_loadu_ps(a.sums + static_cast<size_t>(row) * a.lanes + lane);
  return _mm256_fmadd_ps(sums, _mm256_loadu_ps(a.factor + lane), _mm256_set1_ps(a.zero_point));
}

FASTEP_INLINE void FinishQuad(const FloatFinishArgs& a, int32_t row, int32_t lane, I32x8 lanes) {
  I32x8 q[kEpilogueRows];
#pragma GCC unroll 4
  for (int r = 0; r < kEpilogueRows; ++r) {
    // What is too small for int32, and NaN, becomes the lowest one.
    q[r] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(static_cast<float>(a.hi)), Finished(a, row + r, lane)));
  }
  const __m256i bytes = _mm256_xor_si256(InterleaveRows(q, a.lo < 0), _mm256_set1_epi8(static_cast<char>(a.flip)));
  uint8_t* out = a.q + (static_cast<size_t>(row / 4) * a.tokens + lane) * 4;
  _mm256_maskstore_epi32(reinterpret_cast<int*>(out), lanes, bytes);
}

void FloatFinish(const FloatFinishArgs* args) {
  const FloatFinishArgs& a = *args;
  for (int32_t lane = 0; lane < a.lanes; lane += kLanes) {
    const I32x8 lanes = LaneMask(lane, a.lane_begin, a.lane_end);
    if (_mm256_testz_si256(lanes, lanes)) continue;
    if (a.y != nullptr) {
      for (int32_t f = 0; f < a.features; ++f) {
        _mm256_maskstore_ps(a.y + static_cast<size_t>(f) * a.tokens + lane, lanes, Finished(a, f, lane));
      }
    }
    if (a.q == nullptr) continue;
    for (int32_t f = 0; f < a.features; f += 4) FinishQuad(a, f, lane, lanes);
  }
}

}  // namespace
}  // namespace fastep
