// LayerNorm and embeddings (256-bit tiers): everything vertical, a lane is a token.
#pragma once

#include "kernels/generic/ymm_epilogue.h"
#include "kernels/generic/ymm_pack.h"

namespace fastep {
namespace {

// One run of `count` rows, 8 V tokens of it. Sums wait for the one before: V of them wait together.
template <int V>
FASTEP_INLINE void StatsOfRun(const float* z, int32_t tokens, int32_t count, float* stats) {
  F32x8 mean[V], m2[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) mean[v] = _mm256_loadu_ps(z + v * kLanes);
  for (int32_t i = 1; i < count; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) mean[v] = _mm256_add_ps(mean[v], _mm256_loadu_ps(z + i * tokens + v * kLanes));
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    mean[v] = _mm256_div_ps(mean[v], _mm256_set1_ps(static_cast<float>(count)));
    m2[v] = _mm256_setzero_ps();
  }
  for (int32_t i = 0; i < count; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const F32x8 d = _mm256_sub_ps(_mm256_loadu_ps(z + i * tokens + v * kLanes), mean[v]);
      m2[v] = _mm256_fmadd_ps(d, d, m2[v]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    _mm256_storeu_ps(stats + v * kLanes, mean[v]);
    _mm256_storeu_ps(stats + tokens + v * kLanes, m2[v]);
  }
}

void LayerNormStats(const float* x, float* z, int32_t rows, int32_t tokens, float* stats) {
  if (x != nullptr) {
    for (size_t i = 0; i < static_cast<size_t>(rows) * tokens; i += kLanes) {
      _mm256_storeu_ps(z + i, _mm256_add_ps(_mm256_loadu_ps(z + i), _mm256_loadu_ps(x + i)));
    }
  }
  for (int32_t row = 0; row < rows; row += kNormRun) {
    const int32_t count = row + kNormRun <= rows ? kNormRun : rows - row;
    int32_t t = 0;
    for (; t + 4 * kLanes <= tokens; t += 4 * kLanes) StatsOfRun<4>(z + t, tokens, count, stats + t);
    for (; t < tokens; t += 2 * kLanes) StatsOfRun<2>(z + t, tokens, count, stats + t);
    z += static_cast<size_t>(kNormRun) * tokens;
    stats += 2 * static_cast<size_t>(tokens);
  }
}

// mean and 1 / sqrt(variance + epsilon) of all features, of eight tokens from token t on.
struct Moments {
  F32x8 mean, rstd;
};
FASTEP_INLINE Moments MergeRuns(const LayerNormArgs& a, int32_t t) {
  const float* stats = a.stats + t;
  F32x8 mean = _mm256_loadu_ps(stats), m2 = _mm256_loadu_ps(stats + a.tokens);
  for (int32_t n = kNormRun; n < a.features; n += kNormRun) {
    stats += 2 * static_cast<size_t>(a.tokens);
    const int32_t m = n + kNormRun <= a.features ? kNormRun : a.features - n;
    const float r = static_cast<float>(m) / static_cast<float>(n + m);
    const F32x8 delta = _mm256_sub_ps(_mm256_loadu_ps(stats), mean);
    mean = _mm256_fmadd_ps(delta, _mm256_set1_ps(r), mean);
    const F32x8 sum = _mm256_add_ps(m2, _mm256_loadu_ps(stats + a.tokens));
    m2 = _mm256_fmadd_ps(_mm256_mul_ps(delta, delta), _mm256_set1_ps(static_cast<float>(n) * r), sum);
  }
  const F32x8 variance = _mm256_div_ps(m2, _mm256_set1_ps(static_cast<float>(a.features)));
  const F32x8 root = _mm256_sqrt_ps(_mm256_add_ps(variance, _mm256_set1_ps(a.epsilon)));
  return {mean, _mm256_div_ps(_mm256_set1_ps(1.0f), root)};
}

// Eight tokens of one row, quantized.
FASTEP_INLINE I32x8 NormalizeRow(const LayerNormArgs& a, int32_t row, int32_t t, const Moments& moments) {
  const size_t at = static_cast<size_t>(row) * static_cast<size_t>(a.tokens) + t;
  const F32x8 normal = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(a.z + at), moments.mean), moments.rstd);
  const F32x8 y = _mm256_fmadd_ps(normal, _mm256_broadcast_ss(a.gamma + row), _mm256_broadcast_ss(a.beta + row));
  if (a.y != nullptr) _mm256_storeu_ps(a.y + at, y);
  const F32x8 v = _mm256_fmadd_ps(y, _mm256_set1_ps(a.out_scale), _mm256_set1_ps(a.out_zero_point));
  // What is too small for int32, and NaN, becomes the lowest one.
  return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(static_cast<float>(a.hi)), v));
}

// Four rows of eight tokens.
FASTEP_INLINE void NormalizeQuad(const LayerNormArgs& a, int32_t row, int32_t t, const Moments& moments) {
  I32x8 q[kEpilogueRows];
#pragma GCC unroll 4
  for (int r = 0; r < kEpilogueRows; ++r) q[r] = NormalizeRow(a, row + r, t, moments);
  if (a.q == nullptr) return;
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(a.flip));
  StoreYmm(a.q + static_cast<size_t>(row) * a.tokens + t * 4, _mm256_xor_si256(InterleaveRows(q, a.lo < 0), flip));
}

void LayerNormToQuads(const LayerNormArgs& a) {
  for (int32_t t = 0; t < a.tokens; t += 2 * kLanes) {
    const Moments first = MergeRuns(a, t), second = MergeRuns(a, t + kLanes);
    for (int32_t row = a.row_begin; row < a.row_end; row += kEpilogueRows) {
      NormalizeQuad(a, row, t, first);
      NormalizeQuad(a, row, t + kLanes, second);
    }
  }
}

void LayerNormToPlanar(const LayerNormArgs& a) {
  const __m256i flip = _mm256_set1_epi8(static_cast<char>(a.flip));
  int32_t t = 0;
  for (; t + kLongRun <= a.tokens; t += kLongRun) {
    const Moments moments[] = {MergeRuns(a, t), MergeRuns(a, t + 8), MergeRuns(a, t + 16), MergeRuns(a, t + 24)};
    for (int32_t row = a.row_begin; row < a.row_end; ++row) {
      I32x8 q[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) q[i] = NormalizeRow(a, row, t + i * kLanes, moments[i]);
      const __m256i bytes = PackLongRun(q[0], q[1], q[2], q[3], a.lo < 0);
      StoreYmm(a.q + static_cast<size_t>(row) * a.tokens + t, _mm256_xor_si256(bytes, flip));
    }
  }
  if (t == a.tokens) return;
  const Moments first = MergeRuns(a, t), second = MergeRuns(a, t + kLanes);
  for (int32_t row = a.row_begin; row < a.row_end; ++row) {
    const I32x8 q = NormalizeRow(a, row, t, first);
    const __m128i bytes = PackShortRun(q, NormalizeRow(a, row, t + kLanes, second), a.lo < 0);
    StoreXmm(a.q + static_cast<size_t>(row) * a.tokens + t, _mm_xor_si128(bytes, _mm256_castsi256_si128(flip)));
  }
}

void LayerNorm(const LayerNormArgs* args) {
  if (args->planar && args->q != nullptr) return LayerNormToPlanar(*args);
  LayerNormToQuads(*args);
}

// Features [row, row + 8) of one token from one table; what is beyond `count` is arbitrary.
FASTEP_INLINE F32x8 TableRow(const EmbedTable& table, int32_t token, int32_t features, int32_t row, int32_t count) {
  const size_t at = static_cast<size_t>(table.rows[token]) * features + row;
  const size_t element = table.element == TableElement::kF32 ? 4 : 1;
  const uint8_t* data = static_cast<const uint8_t*>(table.data) + at * element;
  alignas(32) uint8_t tail[32] = {};
  if (count < kLanes) {
    __builtin_memcpy(tail, data, count * element);
    data = tail;
  }
  if (table.element == TableElement::kF32) return _mm256_castsi256_ps(LoadYmm(data));
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(data));
  const I32x8 q = table.element == TableElement::kU8 ? _mm256_cvtepu8_epi32(bytes) : _mm256_cvtepi8_epi32(bytes);
  const F32x8 centred = _mm256_cvtepi32_ps(_mm256_sub_epi32(q, _mm256_set1_epi32(table.zero_point)));
  return _mm256_mul_ps(centred, _mm256_set1_ps(table.scale));
}

FASTEP_INLINE F32x8 EmbeddedToken(const EmbedArgs& a, int32_t token, int32_t row, int32_t count) {
  if (a.tables[0].rows[token] < 0) return _mm256_setzero_ps();
  F32x8 z = TableRow(a.tables[0], token, a.features, row, count);
  for (int32_t i = 1; i < a.table_count; ++i) {
    z = _mm256_add_ps(z, TableRow(a.tables[i], token, a.features, row, count));
  }
  return z;
}

void Embed(const EmbedArgs* args) {
  const EmbedArgs& a = *args;
  for (int32_t token = 0; token < a.tokens; token += 8) {
    for (int32_t row = a.row_begin; row < a.row_end; row += 8) {
      const int32_t count = a.row_end - row < 8 ? a.row_end - row : 8;
      __m256i v[8];
      for (int t = 0; t < 8; ++t) v[t] = _mm256_castps_si256(EmbeddedToken(a, token + t, row, count));
      Transpose8x8(v);
      for (int32_t i = 0; i < count; ++i) StoreYmm(a.z + static_cast<size_t>(row + i) * a.tokens + token, v[i]);
    }
  }
}

}  // namespace
}  // namespace fastep
