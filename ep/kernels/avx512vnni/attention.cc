// What attention needs beside the dense product: softmax, and the packing of keys and values.
#include "kernels/avx512vnni/kernels.h"
#include "kernels/avx512vnni/transpose.h"
#include "kernels/generic/exp2.h"

namespace fastep::avx512vnni {
namespace {

constexpr float kHidden = -1e30f;
// [4 bytes][4 words] <-> [4 words][4 bytes] in every 128-bit lane.
FASTEP_INLINE __m512i ByteTranspose() { return _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400); }

// ---- Softmax ----
//
// e = rne(Exp2(max(x, -2))) in 6 operations, by the same roundings as Exp2 of kernels/generic/exp2.h:
//   f = x - floor(x) by vreduceps;
//   p 2^floor(x) by vscalefps is exact, or too small to matter: below -2, e is 0, and so it is for -inf and NaN;
//   adding 1.5 * 2^23 rounds to an integer: the low byte of the result.
constexpr float kRound = 12582912.0f;

// The low byte of each lane of `lanes` is e, that of the others 0; the bytes above are arbitrary.
FASTEP_INLINE __m512i Probability(F32x16 x, __mmask16 lanes) {
  const F32x16 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
  F32x16 p = _mm512_fmadd_ps(_mm512_set1_ps(kExp2Fit[3]), f, _mm512_set1_ps(kExp2Fit[2]));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(kExp2Fit[1]));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(kExp2Fit[0]));
  const F32x16 e = _mm512_scalef_ps(p, x);
  return _mm512_castps_si512(_mm512_maskz_add_ps(lanes, e, _mm512_set1_ps(kRound)));
}

// The low bytes of four rows side by side.
FASTEP_INLINE U8x64 JoinLowBytes(const __m512i (&rows)[4]) {
  const __m512i low = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0x00000000);
  __m512i joined = rows[0];
  joined = _mm512_mask_shuffle_epi8(joined, 0x2222222222222222, rows[1], low);
  joined = _mm512_mask_shuffle_epi8(joined, 0x4444444444444444, rows[2], low);
  return _mm512_mask_shuffle_epi8(joined, 0x8888888888888888, rows[3], low);
}

// The lanes from `t` on that are wanted.
FASTEP_INLINE __mmask16 LanesOf(const SoftmaxArgs& a, int32_t t) {
  return static_cast<__mmask16>(LowBits16(a.lane_end - t) & ~LowBits16(a.lane_begin - t));
}

// Arguments of Exp2 of V vectors of lanes, without bias: fma(float(s - largest), scale, log2(255)).
template <int V>
struct PlainScores {
  const int32_t* scores;
  const float* bias;  // not used
  size_t stride;      // of a key
  F32x16 scale;
  I32x16 offset;  // not used: it vanishes in the difference
  I32x16 largest[V];

  [[gnu::always_inline]] inline void FindLargest(int32_t keys, const int32_t* known) {
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) {
      largest[v] = known != nullptr ? Load(known + v * kLanes) : _mm512_set1_epi32(INT32_MIN);
    }
    for (int32_t j = 0; known == nullptr && j < keys; ++j) {
      FASTEP_UNROLL
      for (int v = 0; v < V; ++v) largest[v] = _mm512_max_epi32(largest[v], Load(scores + j * stride + v * kLanes));
    }
  }
  [[gnu::always_inline]] inline F32x16 Argument(int32_t j, int v) const {
    const I32x16 below = _mm512_sub_epi32(Load(scores + j * stride + v * kLanes), largest[v]);
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(below), scale, _mm512_set1_ps(kLog2Of255));
  }
};

// The same of scores that are floats by their offset: an operation less.
template <int V>
struct OffsetScores : PlainScores<V> {
  [[gnu::always_inline]] inline F32x16 Argument(int32_t j, int v) const {
    const F32x16 score = _mm512_load_ps(this->scores + j * this->stride + v * kLanes);
    const F32x16 below = _mm512_sub_ps(score, _mm512_castsi512_ps(this->largest[v]));
    return _mm512_fmadd_ps(below, this->scale, _mm512_set1_ps(kLog2Of255));
  }
};

// With bias: (fma(float(s), scale, bias) - largest) + log2(255).
template <int V>
struct BiasedScores {
  const int32_t* scores;
  const float* bias;
  size_t stride;
  F32x16 scale;
  I32x16 offset;
  F32x16 largest[V];

  [[gnu::always_inline]] inline F32x16 Biased(int32_t j, int v) const {
    const I32x16 s = _mm512_sub_epi32(Load(scores + j * stride + v * kLanes), offset);
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(s), scale, _mm512_load_ps(bias + j * stride + v * kLanes));
  }
  [[gnu::always_inline]] inline void FindLargest(int32_t keys, const int32_t*) {
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) largest[v] = _mm512_set1_ps(kHidden);
    for (int32_t j = 0; j < keys; ++j) {
      FASTEP_UNROLL
      for (int v = 0; v < V; ++v) largest[v] = _mm512_max_ps(Biased(j, v), largest[v]);
    }
  }
  [[gnu::always_inline]] inline F32x16 Argument(int32_t j, int v) const {
    return _mm512_add_ps(_mm512_sub_ps(Biased(j, v), largest[v]), _mm512_set1_ps(kLog2Of255));
  }
};

// Probabilities of keys [j, j + kKeys), and zeros up to j + 4, added to the sums.
template <int kKeys, int V, class Scores>
FASTEP_INLINE void SoftmaxQuad(const Scores& x, int32_t j, const __mmask16 (&lanes)[V], uint8_t* e, I32x16 (&sum)[V]) {
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    __m512i rows[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    FASTEP_UNROLL
    for (int r = 0; r < kKeys; ++r) rows[r] = Probability(x.Argument(j + r, v), lanes[v]);
    const U8x64 quad = JoinLowBytes(rows);
    Store(e + v * 64, quad);
    DotAccumulate<false>(sum[v], quad, _mm512_set1_epi8(1));
  }
}

// V vectors from lane `t` on, side by side, so that scores are read in the order in which they stand: those of 384 keys
// come from the second cache.
template <template <int> class Scores, int V>
FASTEP_INLINE void SoftmaxVectors(const SoftmaxArgs& a, int32_t t) {
  const auto stride = static_cast<size_t>(a.tokens);
  Scores<V> x{a.scores + t, a.bias + t, stride, _mm512_set1_ps(a.scale), _mm512_set1_epi32(a.score_offset), {}};
  x.FindLargest(a.keys, a.largest == nullptr ? nullptr : a.largest + t);
  __mmask16 lanes[V];
  I32x16 sum[V];
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    lanes[v] = LanesOf(a, t + v * kLanes);
    sum[v] = _mm512_setzero_si512();
  }
  uint8_t* e = a.e + static_cast<size_t>(t) * 4;
  int32_t j = 0;
  for (; j + 4 <= a.keys; j += 4, e += stride * 4) SoftmaxQuad<4>(x, j, lanes, e, sum);
  for (; j < a.key_quads * 4; j += 4, e += stride * 4) {
    switch (a.keys - j) {
      case 3:
        SoftmaxQuad<3>(x, j, lanes, e, sum);
        break;
      case 2:
        SoftmaxQuad<2>(x, j, lanes, e, sum);
        break;
      case 1:
        SoftmaxQuad<1>(x, j, lanes, e, sum);
        break;
      default:
        SoftmaxQuad<0>(x, j, lanes, e, sum);
    }
  }
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    _mm512_mask_store_epi32(a.row_sum + t + v * kLanes, lanes[v], sum[v]);
    const F32x16 factor = _mm512_div_ps(_mm512_set1_ps(a.out_scale), _mm512_cvtepi32_ps(sum[v]));
    _mm512_mask_store_ps(a.token_scale + t + v * kLanes, lanes[v],
                         _mm512_maskz_mov_ps(_mm512_test_epi32_mask(sum[v], sum[v]), factor));
  }
}

template <template <int> class Scores>
FASTEP_INLINE void SoftmaxOf(const SoftmaxArgs& a, int32_t t, int vectors) {
  switch (vectors) {
    case 1:
      return SoftmaxVectors<Scores, 1>(a, t);
    case 2:
      return SoftmaxVectors<Scores, 2>(a, t);
    case 3:
      return SoftmaxVectors<Scores, 3>(a, t);
    default:
      return SoftmaxVectors<Scores, 4>(a, t);
  }
}

// ---- Packing ----

// Element (row, k) of a dense rhs of k_quads quads.
FASTEP_INLINE int8_t* DenseElement(void* values, int32_t k_quads, int32_t row, int32_t k) {
  constexpr int32_t kGroup = RowsPerGroup(RhsKind::kDense);
  const size_t quad = static_cast<size_t>(row / kGroup) * k_quads + k / 4;
  return static_cast<int8_t*>(values) + (quad * kGroup + row % kGroup) * 4 + k % 4;
}

// Values of one key, byte by byte: keys in front of a whole quad.
FASTEP_INLINE void PackValuesOfKey(const KeyRun& run, int32_t i) {
  for (int32_t f = 0; f < run.head_quads * 4; ++f) {
    const uint8_t value = run.tile[(static_cast<size_t>(f / 4) * run.tokens + run.lane + i) * 4 + f % 4];
    *DenseElement(run.values, run.key_quads, f, run.key + i) = static_cast<int8_t>(value ^ 0x80);
  }
}

// Which bytes of two key quads [2][8 rows][4 keys] belong to the first `keys` keys.
FASTEP_INLINE __mmask64 BytesOfKeys(int32_t keys) {
  const uint64_t low = 0x11111111u * static_cast<uint64_t>(LowBits16(keys < 4 ? keys : 4));
  const uint64_t high = 0x11111111u * static_cast<uint64_t>(LowBits16(keys - 4 < 4 ? keys - 4 : 4));
  return low | high << 32;
}

// Four features of 16 keys, as [4 key quads][4 features][4 keys]. Features beyond the head are 0.
FASTEP_INLINE __m512i ValueQuad(const KeyRun& run, int32_t i, int32_t quad, __mmask16 keys) {
  if (quad >= run.head_quads) return _mm512_setzero_si512();
  const uint8_t* x = run.tile + (static_cast<size_t>(quad) * run.tokens + run.lane + i) * 4;
  const __m512i words = _mm512_xor_si512(_mm512_maskz_loadu_epi32(keys, x), _mm512_set1_epi8(-128));
  return _mm512_shuffle_epi8(words, ByteTranspose());
}

// Keys [i, i + 16) of the run or what is left of them; the first one starts a quad.
FASTEP_INLINE void PackValuesOf16(const KeyRun& run, int32_t i) {
  const int32_t left = run.count - i;
  const __mmask16 keys = LowBits16(left);
  const __mmask64 low = BytesOfKeys(left), high = BytesOfKeys(left - 8);
  const __m512i first_two = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0);
  const __m512i last_two = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
  for (int32_t quad = 0; quad < run.head_quads; quad += 2) {
    const __m512i a = ValueQuad(run, i, quad, keys), b = ValueQuad(run, i, quad + 1, keys);
    int8_t* out = DenseElement(run.values, run.key_quads, quad * 4, run.key + i);
    _mm512_mask_storeu_epi8(out, low, _mm512_permutex2var_epi64(a, first_two, b));
    if (high != 0) _mm512_mask_storeu_epi8(out + 64, high, _mm512_permutex2var_epi64(a, last_two, b));
  }
}

}  // namespace

void Softmax(const SoftmaxArgs* args) {
  const SoftmaxArgs& a = *args;
  const int32_t begin = a.lane_begin / kLanes * kLanes;
  const int32_t end = (a.lane_end + kLanes - 1) / kLanes * kLanes;
  for (int32_t q = 0; q < a.key_quads; ++q) {
    uint8_t* e = a.e + static_cast<size_t>(q) * a.tokens * 4;
    for (int32_t t = 0; t < begin; t += kLanes) Store(e + t * 4, _mm512_setzero_si512());
    for (int32_t t = end; t < a.tokens; t += kLanes) Store(e + t * 4, _mm512_setzero_si512());
  }
  if (begin >= end) return;
  const int vectors = (end - begin) / kLanes;
  if (a.bias != nullptr) return SoftmaxOf<BiasedScores>(a, begin, vectors);
  if (a.score_offset != 0) return SoftmaxOf<OffsetScores>(a, begin, vectors);
  SoftmaxOf<PlainScores>(a, begin, vectors);
}

// The quads of eight keys stand side by side in the tile as among the packed keys.
void PackKeys(const KeyRun* run) {
  constexpr int32_t kGroup = RowsPerGroup(RhsKind::kDense);
  const __m256i flip = _mm256_set1_epi8(-128), ones = _mm256_set1_epi8(1);
  for (int32_t i = 0; i < run->count;) {
    const int32_t key = run->key + i;
    const int32_t left = run->count - i, space = kGroup - key % kGroup;
    const auto keys = static_cast<__mmask8>(LowBits16(left < space ? left : space));
    const uint8_t* x = run->tile + (static_cast<size_t>(run->lane) + i) * 4;
    int8_t* out = DenseElement(run->values, run->head_quads, key, 0);
    __m256i sum = _mm256_setzero_si256();
    for (int32_t q = 0; q < run->head_quads; ++q) {
      const __m256i values =
          _mm256_xor_si256(_mm256_maskz_loadu_epi32(keys, x + static_cast<size_t>(q) * run->tokens * 4), flip);
      _mm256_mask_storeu_epi32(out + q * kGroup * 4, keys, values);
      sum = _mm256_dpbusd_epi32(sum, ones, values);
    }
    const __m256i init = _mm256_mullo_epi32(sum, _mm256_set1_epi32(-run->zero_point));
    _mm256_mask_storeu_epi32(run->acc_init + key, keys, init);
    i += space;
  }
}

void PackValues(const KeyRun* run) {
  int32_t i = 0;
  for (; i < run->count && (run->key + i) % 4 != 0; ++i) PackValuesOfKey(*run, i);
  for (; i < run->count; i += kLanes) PackValuesOf16(*run, i);
}

}  // namespace fastep::avx512vnni
