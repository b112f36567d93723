// LayerNorm and embeddings: everything vertical, a lane is a token.
#include "kernels/avx512vnni/epilogue.h"
#include "kernels/avx512vnni/kernels.h"
#include "kernels/avx512vnni/transpose.h"

namespace fastep::avx512vnni {
namespace {

// `R` runs of `count` rows of 16 V tokens, one behind the other. Sums wait 4 cycles for the one before: R * V of them
// wait together.
template <int R, int V>
FASTEP_INLINE void StatsOfRuns(const float* z, int32_t count, float* stats) {
  constexpr int kTokens = V * kLanes, kSums = R * V;
  const auto row = [&](int i, int32_t n) {
    return _mm512_load_ps(z + (i / V * kNormRun + n) * kTokens + i % V * kLanes);
  };
  F32x16 mean[kSums], m2[kSums];
  FASTEP_UNROLL
  for (int i = 0; i < kSums; ++i) mean[i] = row(i, 0);
  for (int32_t n = 1; n < count; ++n) {
    FASTEP_UNROLL
    for (int i = 0; i < kSums; ++i) mean[i] = _mm512_add_ps(mean[i], row(i, n));
  }
  FASTEP_UNROLL
  for (int i = 0; i < kSums; ++i) {
    // Of a whole run, a power of two, the product with its reciprocal is the quotient.
    mean[i] = R > 1 ? _mm512_mul_ps(mean[i], _mm512_set1_ps(1.0f / kNormRun))
                    : _mm512_div_ps(mean[i], _mm512_set1_ps(static_cast<float>(count)));
    m2[i] = _mm512_setzero_ps();
  }
  for (int32_t n = 0; n < count; ++n) {
    FASTEP_UNROLL
    for (int i = 0; i < kSums; ++i) {
      const F32x16 d = _mm512_sub_ps(row(i, n), mean[i]);
      m2[i] = _mm512_fmadd_ps(d, d, m2[i]);
    }
  }
  FASTEP_UNROLL
  for (int i = 0; i < kSums; ++i) {
    float* out = stats + i / V * 2 * kTokens + i % V * kLanes;
    _mm512_store_ps(out, mean[i]);
    _mm512_store_ps(out + kTokens, m2[i]);
  }
}

template <int V>
void StatsOfWidth(const float* z, int32_t rows, float* stats) {
  constexpr int kTokens = V * kLanes;
  int32_t row = 0;
  for (; row + 2 * kNormRun <= rows; row += 2 * kNormRun) {
    StatsOfRuns<2, V>(z + row * kTokens, kNormRun, stats + row / kNormRun * 2 * kTokens);
  }
  for (; row < rows; row += kNormRun) {
    const int32_t count = row + kNormRun <= rows ? kNormRun : rows - row;
    StatsOfRuns<1, V>(z + row * kTokens, count, stats + row / kNormRun * 2 * kTokens);
  }
}

// mean and 1 / sqrt(variance + epsilon) of all features.
template <int V>
FASTEP_INLINE void Merge(const LayerNormArgs& a, F32x16 (&mean)[V], F32x16 (&rstd)[V]) {
  constexpr int kTokens = V * kLanes;
  F32x16 m2[V];
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    mean[v] = _mm512_load_ps(a.stats + v * kLanes);
    m2[v] = _mm512_load_ps(a.stats + kTokens + v * kLanes);
  }
  const float* stats = a.stats;
  for (int32_t n = kNormRun; n < a.features; n += kNormRun) {
    stats += 2 * kTokens;
    const int32_t m = n + kNormRun <= a.features ? kNormRun : a.features - n;
    const float r = static_cast<float>(m) / static_cast<float>(n + m);
    const F32x16 ratio = _mm512_set1_ps(r), weight = _mm512_set1_ps(static_cast<float>(n) * r);
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) {
      const F32x16 delta = _mm512_sub_ps(_mm512_load_ps(stats + v * kLanes), mean[v]);
      mean[v] = _mm512_fmadd_ps(delta, ratio, mean[v]);
      const F32x16 sum = _mm512_add_ps(m2[v], _mm512_load_ps(stats + kTokens + v * kLanes));
      m2[v] = _mm512_fmadd_ps(_mm512_mul_ps(delta, delta), weight, sum);
    }
  }
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    const F32x16 variance = _mm512_div_ps(m2[v], _mm512_set1_ps(static_cast<float>(a.features)));
    rstd[v] = _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_sqrt_ps(_mm512_add_ps(variance, _mm512_set1_ps(a.epsilon))));
  }
}

// What rows of LayerNorm need; in locals, so that it stays in registers.
template <int V>
struct Normalizer {
  F32x16 mean[V], rstd[V];
  F32x16 scale, zero_point, hi;
  __m512i flip;
};

// y of 16 tokens, in f32 to memory where that is wanted, and its integers.
template <int V>
FASTEP_INLINE I32x16 NormalRow(const LayerNormArgs& a, const Normalizer<V>& n, int32_t row, int v) {
  const size_t at = static_cast<size_t>(row) * (V * kLanes) + static_cast<size_t>(v) * kLanes;
  const F32x16 normal = _mm512_mul_ps(_mm512_sub_ps(_mm512_load_ps(a.z + at), n.mean[v]), n.rstd[v]);
  const F32x16 y = _mm512_fmadd_ps(normal, BroadcastF32(a.gamma + row), BroadcastF32(a.beta + row));
  if (a.y != nullptr) _mm512_store_ps(a.y + at, y);
  // What is too small for int32, and NaN, becomes the lowest one.
  return _mm512_cvtps_epi32(_mm512_min_ps(n.hi, _mm512_fmadd_ps(y, n.scale, n.zero_point)));
}

// Without q the integers go nowhere.
template <bool kSigned, int V>
FASTEP_INLINE void QuadRows(const LayerNormArgs& a, const Normalizer<V>& n) {
  for (int32_t row = a.row_begin; row < a.row_end; row += 4) {
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) {
      I32x16 q[4];
      FASTEP_UNROLL
      for (int r = 0; r < 4; ++r) q[r] = NormalRow(a, n, row + r, v);
      if (a.q == nullptr) continue;
      const U8x64 bytes = PackBytes<kSigned>(q[0], q[1], q[2], q[3]);
      Store(a.q + static_cast<size_t>(row) * (V * kLanes) + v * 64, _mm512_xor_si512(bytes, n.flip));
    }
  }
}

template <bool kSigned, int V>
FASTEP_INLINE void PlanarRows(const LayerNormArgs& a, const Normalizer<V>& n) {
  for (int32_t row = a.row_begin; row < a.row_end; ++row) {
    I32x16 q[V];
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) q[v] = NormalRow(a, n, row, v);
    const U8x64 bytes = PackPlanarRow<kSigned>(q);
    Store(a.q + static_cast<size_t>(row) * kPlanarRowBytes, _mm512_xor_si512(bytes, n.flip));
  }
}

template <int V>
void LayerNormOfWidth(const LayerNormArgs& a) {
  Normalizer<V> n;
  Merge<V>(a, n.mean, n.rstd);
  n.scale = _mm512_set1_ps(a.out_scale);
  n.zero_point = _mm512_set1_ps(a.out_zero_point);
  n.hi = _mm512_set1_ps(static_cast<float>(a.hi));
  n.flip = _mm512_set1_epi8(static_cast<char>(a.flip));
  const bool planar = a.planar && a.q != nullptr;
  if (a.lo < 0) {
    planar ? PlanarRows<true>(a, n) : QuadRows<true>(a, n);
  } else {
    planar ? PlanarRows<false>(a, n) : QuadRows<false>(a, n);
  }
}

// 16 features of one token from one table.
FASTEP_INLINE F32x16 TableRow(const EmbedTable& table, int32_t token, int32_t features, int32_t row,
                              __mmask16 columns) {
  const size_t at = static_cast<size_t>(table.rows[token]) * features + row;
  if (table.element == TableElement::kF32) {
    return _mm512_maskz_loadu_ps(columns, static_cast<const float*>(table.data) + at);
  }
  const __m128i bytes = _mm_maskz_loadu_epi8(columns, static_cast<const uint8_t*>(table.data) + at);
  const I32x16 q = table.element == TableElement::kU8 ? _mm512_cvtepu8_epi32(bytes) : _mm512_cvtepi8_epi32(bytes);
  const F32x16 centred = _mm512_cvtepi32_ps(_mm512_sub_epi32(q, _mm512_set1_epi32(table.zero_point)));
  return _mm512_mul_ps(centred, _mm512_set1_ps(table.scale));
}

FASTEP_INLINE F32x16 EmbeddedToken(const EmbedArgs& a, int32_t token, int32_t row, __mmask16 columns) {
  if (a.tables[0].rows[token] < 0) return _mm512_setzero_ps();
  F32x16 z = TableRow(a.tables[0], token, a.features, row, columns);
  for (int32_t i = 1; i < a.table_count; ++i) {
    z = _mm512_add_ps(z, TableRow(a.tables[i], token, a.features, row, columns));
  }
  return z;
}

}  // namespace

void LayerNormStats(const float* x, float* z, int32_t rows, int32_t tokens, float* stats) {
  if (x != nullptr) {
    for (size_t i = 0; i < static_cast<size_t>(rows) * tokens; i += kLanes) {
      _mm512_store_ps(z + i, _mm512_add_ps(_mm512_load_ps(z + i), _mm512_load_ps(x + i)));
    }
  }
  switch (tokens / kLanes) {
    case 1:
      return StatsOfWidth<1>(z, rows, stats);
    case 2:
      return StatsOfWidth<2>(z, rows, stats);
    case 3:
      return StatsOfWidth<3>(z, rows, stats);
    default:
      return StatsOfWidth<4>(z, rows, stats);
  }
}

void LayerNorm(const LayerNormArgs* args) {
  switch (args->tokens / kLanes) {
    case 1:
      return LayerNormOfWidth<1>(*args);
    case 2:
      return LayerNormOfWidth<2>(*args);
    case 3:
      return LayerNormOfWidth<3>(*args);
    default:
      return LayerNormOfWidth<4>(*args);
  }
}

void Embed(const EmbedArgs* args) {
  const EmbedArgs& a = *args;
  for (int32_t token = 0; token < a.tokens; token += 16) {
    for (int32_t row = a.row_begin; row < a.row_end; row += 16) {
      const __mmask16 columns = LowBits16(a.row_end - row);
      __m512i r[16];
      FASTEP_UNROLL
      for (int t = 0; t < 16; ++t) r[t] = _mm512_castps_si512(EmbeddedToken(a, token + t, row, columns));
      Transpose16x16(r);
      FASTEP_UNROLL
      for (int i = 0; i < 16; ++i) {
        if (row + i < a.row_end) Store(a.z + static_cast<size_t>(row + i) * a.tokens + token, r[i]);
      }
    }
  }
}

}  // namespace fastep::avx512vnni
