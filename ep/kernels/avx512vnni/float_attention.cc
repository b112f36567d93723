// Attention in float: queries in lanes; keys and values broadcast from their blocks.
#include "kernels/avx512vnni/epilogue.h"
#include "kernels/avx512vnni/kernels.h"
#include "kernels/avx512vnni/transpose.h"

namespace fastep::avx512vnni {
namespace {

constexpr float kHidden = -1e30f;

// R sums of 16 V lanes. A sum is ready 4 cycles after its product and two products start per cycle: 8 vectors at least.
// Each takes a broadcast or a load of its own, and no more than two loads start per cycle: the wider the better.
template <int R, int V>
struct Accumulators {
  F32x16 sum[R][V];

  [[gnu::always_inline]] inline void Clear() {
    FASTEP_UNROLL
    for (int i = 0; i < R * V; ++i) sum[i / V][i % V] = _mm512_setzero_ps();
  }
  // rhs: R numbers, kStride apart.
  template <int kStride>
  [[gnu::always_inline]] inline void Add(const float* lhs, const float* rhs) {
    F32x16 x[V];
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) x[v] = _mm512_load_ps(lhs + v * kLanes);
    FASTEP_UNROLL
    for (int r = 0; r < R; ++r) {
      const F32x16 w = BroadcastF32(rhs + r * kStride);
      FASTEP_UNROLL
      for (int v = 0; v < V; ++v) sum[r][v] = _mm512_fmadd_ps(w, x[v], sum[r][v]);
    }
  }
  [[gnu::always_inline]] inline void StoreTo(float* out) const {
    FASTEP_UNROLL
    for (int i = 0; i < R * V; ++i) _mm512_store_ps(out + i * kLanes, sum[i / V][i % V]);
  }
};

// Keys [key, key + R), of one block.
template <int R, int V>
FASTEP_INLINE void ScoresOfKeys(const FloatProductArgs& a, int32_t key) {
  const float* rhs = a.blocks + static_cast<size_t>(key / kKeyBlock) * a.rows * kKeyBlock + key % kKeyBlock;
  const float* lhs = a.lhs;
  Accumulators<R, V> acc;
  acc.Clear();
  for (int32_t f = 0; f < a.features; ++f) {
    acc.template Add<1>(lhs, rhs);
    lhs += a.lhs_stride;
    rhs += kKeyBlock;
  }
  acc.StoreTo(a.out + static_cast<size_t>(key) * (V * kLanes));
}

// Features [row, row + R).
template <int R, int V>
FASTEP_INLINE void SumsOfFeatures(const FloatProductArgs& a, int32_t row) {
  const float* block = a.blocks + static_cast<size_t>(row) * kKeyBlock;
  const float* lhs = a.lhs;
  Accumulators<R, V> acc;
  acc.Clear();
  for (int32_t key = 0; key < a.keys; key += kKeyBlock) {
    const int32_t count = a.keys - key < kKeyBlock ? a.keys - key : kKeyBlock;
    for (int32_t j = 0; j < count; ++j) {
      acc.template Add<kKeyBlock>(lhs, block + j);
      lhs += a.lhs_stride;
    }
    block += static_cast<size_t>(a.rows) * kKeyBlock;
  }
  acc.StoreTo(a.out + static_cast<size_t>(row) * (V * kLanes));
}

template <int V>
void ScoresOfWidth(const FloatProductArgs& a) {
  int32_t key = 0;
  if constexpr (V == 1) {
    for (; key + 2 * kFloatRows <= a.keys; key += 2 * kFloatRows) ScoresOfKeys<2 * kFloatRows, V>(a, key);
  }
  for (; key < a.keys; key += kFloatRows) ScoresOfKeys<kFloatRows, V>(a, key);
}

template <int V>
void SumsOfWidth(const FloatProductArgs& a) {
  int32_t row = 0;
  if constexpr (V == 1) {
    for (; row + 2 * kFloatRows <= a.rows; row += 2 * kFloatRows) SumsOfFeatures<2 * kFloatRows, V>(a, row);
  }
  for (; row < a.rows; row += kFloatRows) SumsOfFeatures<kFloatRows, V>(a, row);
}

// ---- Softmax ----

FASTEP_INLINE F32x16 Probability(F32x16 x) {
  const __mmask16 kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(kFineExp2Lowest), _CMP_GE_OQ);
  return _mm512_maskz_mov_ps(kept, FineExp2<ZmmOps>(x));
}

// 16 lanes; one after the other, the sums hide behind the powers.
FASTEP_INLINE void SoftmaxLanes(const FloatSoftmaxArgs& a, int32_t lane) {
  const auto stride = static_cast<size_t>(a.lanes);
  float* scores = a.scores + lane;
  const float* bias = a.bias == nullptr ? nullptr : a.bias + lane;
  const F32x16 scale = _mm512_set1_ps(a.scale);
  F32x16 largest = a.bias == nullptr ? _mm512_load_ps(scores) : _mm512_set1_ps(kHidden);
  for (int32_t j = 0; j < a.keys; ++j) {
    F32x16 s = _mm512_load_ps(scores + j * stride);
    if (a.bias != nullptr) {
      s = _mm512_fmadd_ps(s, scale, _mm512_load_ps(bias + j * stride));
      _mm512_store_ps(scores + j * stride, s);
    }
    largest = _mm512_max_ps(s, largest);
  }
  const F32x16 factor = a.bias == nullptr ? scale : _mm512_set1_ps(1.0f);
  F32x16 sum = _mm512_setzero_ps();
  for (int32_t j = 0; j < a.keys; ++j) {
    const F32x16 below = _mm512_sub_ps(_mm512_load_ps(scores + j * stride), largest);
    const F32x16 e = Probability(_mm512_mul_ps(below, factor));
    _mm512_store_ps(scores + j * stride, e);
    sum = _mm512_add_ps(sum, e);
  }
  const __mmask16 some = _mm512_cmp_ps_mask(sum, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  _mm512_store_ps(a.factor + lane, _mm512_maskz_div_ps(some, _mm512_set1_ps(a.out_scale), sum));
}

// ---- Results ----

FASTEP_INLINE F32x16 Finished(const FloatFinishArgs& a, int32_t row, int32_t lane) {
  const F32x16 sums = _mm512_load_ps(a.sums + static_cast<size_t>(row) * a.lanes + lane);
  return _mm512_fmadd_ps(sums, _mm512_load_ps(a.factor + lane), _mm512_set1_ps(a.zero_point));
}

FASTEP_INLINE void FinishQuad(const FloatFinishArgs& a, int32_t row, int32_t lane, __mmask16 lanes) {
  I32x16 q[4];
  FASTEP_UNROLL
  for (int r = 0; r < 4; ++r) {
    // What is too small for int32, and NaN, becomes the lowest one.
    q[r] = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(static_cast<float>(a.hi)), Finished(a, row + r, lane)));
  }
  const U8x64 bytes = a.lo < 0 ? PackBytes<true>(q[0], q[1], q[2], q[3]) : PackBytes<false>(q[0], q[1], q[2], q[3]);
  uint8_t* out = a.q + (static_cast<size_t>(row / 4) * a.tokens + lane) * 4;
  _mm512_mask_store_epi32(out, lanes, _mm512_xor_si512(bytes, _mm512_set1_epi8(static_cast<char>(a.flip))));
}

}  // namespace

void PackFloatKeys(const FloatKeyRun* run) {
  for (int32_t i = 0; i < run->count;) {
    const int32_t key = run->key + i, at = key % kKeyBlock;
    const int32_t space = kKeyBlock - at, left = run->count - i;
    const __mmask16 keys = LowBits16(left < space ? left : space);
    const float* x = run->tile + run->lane + i;
    float* out = run->blocks + static_cast<size_t>(key / kKeyBlock) * run->rows * kKeyBlock + at;
    for (int32_t f = 0; f < run->features; ++f) {
      _mm512_mask_storeu_ps(out, keys, _mm512_maskz_loadu_ps(keys, x));
      x += run->tokens;
      out += kKeyBlock;
    }
    for (int32_t f = run->features; f < run->rows; ++f, out += kKeyBlock) {
      _mm512_mask_storeu_ps(out, keys, _mm512_setzero_ps());
    }
    i += space;
  }
}

void FloatScores(const FloatProductArgs* args) {
  args->lanes == 48 ? ScoresOfWidth<3>(*args) : args->lanes == 32 ? ScoresOfWidth<2>(*args) : ScoresOfWidth<1>(*args);
}

void FloatSums(const FloatProductArgs* args) {
  args->lanes == 48 ? SumsOfWidth<3>(*args) : args->lanes == 32 ? SumsOfWidth<2>(*args) : SumsOfWidth<1>(*args);
}

void FloatSoftmax(const FloatSoftmaxArgs* args) {
  for (int32_t lane = 0; lane < args->lanes; lane += kLanes) SoftmaxLanes(*args, lane);
}

void FloatFinish(const FloatFinishArgs* args) {
  const FloatFinishArgs& a = *args;
  for (int32_t lane = 0; lane < a.lanes; lane += kLanes) {
    const auto lanes = static_cast<__mmask16>(LowBits16(a.lane_end - lane) & ~LowBits16(a.lane_begin - lane));
    if (lanes == 0) continue;
    if (a.y != nullptr) {
      for (int32_t f = 0; f < a.features; ++f) {
        _mm512_mask_store_ps(a.y + static_cast<size_t>(f) * a.tokens + lane, lanes, Finished(a, f, lane));
      }
    }
    if (a.q == nullptr) continue;
    for (int32_t f = 0; f < a.features; f += 4) FinishQuad(a, f, lane, lanes);
  }
}

}  // namespace fastep::avx512vnni
