// What attention needs beside the dense product (256-bit tiers): softmax, and the packing of keys and values.
#pragma once

#include "kernels/generic/exp2.h"
#include "kernels/generic/ymm_epilogue.h"

namespace fastep {
namespace {

// ---- Softmax ----

// All ones in the lanes of [begin, end) among the eight from lane t on.
FASTEP_INLINE I32x8 LaneMask(int32_t t, int32_t begin, int32_t end) {
  const I32x8 lane = _mm256_add_epi32(_mm256_set1_epi32(t), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(begin), lane),
                             _mm256_cmpgt_epi32(_mm256_set1_epi32(end), lane));
}

// Arguments of Exp2 of eight lanes, without bias: fma(float(s - largest), scale, log2(255)).
struct PlainScores {
  const int32_t* scores;
  size_t stride;  // of a key
  F32x8 scale;
  I32x8 largest;

  FASTEP_INLINE void FindLargest(int32_t keys) {
    largest = _mm256_set1_epi32(INT32_MIN);
    for (int32_t j = 0; j < keys; ++j) largest = _mm256_max_epi32(largest, LoadYmm(scores + j * stride));
  }
  FASTEP_INLINE F32x8 operator[](int32_t j) const {
    const I32x8 below = _mm256_sub_epi32(LoadYmm(scores + j * stride), largest);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(below), scale, _mm256_set1_ps(kLog2Of255));
  }
};

// With bias: (fma(float(s), scale, bias) - largest) + log2(255).
struct BiasedScores {
  const int32_t* scores;
  const float* bias;
  size_t stride;
  F32x8 scale;
  F32x8 largest;

  FASTEP_INLINE F32x8 Biased(int32_t j) const {
    const F32x8 s = _mm256_cvtepi32_ps(LoadYmm(scores + j * stride));
    return _mm256_fmadd_ps(s, scale, _mm256_loadu_ps(bias + j * stride));
  }
  FASTEP_INLINE void FindLargest(int32_t keys) {
    largest = _mm256_set1_ps(-1e30f);
    for (int32_t j = 0; j < keys; ++j) largest = _mm256_max_ps(Biased(j), largest);
  }
  FASTEP_INLINE F32x8 operator[](int32_t j) const {
    return _mm256_add_ps(_mm256_sub_ps(Biased(j), largest), _mm256_set1_ps(kLog2Of255));
  }
};

FASTEP_INLINE I32x8 Probability(F32x8 x) {
  return _mm256_cvtps_epi32(Exp2<YmmOps>(_mm256_max_ps(x, _mm256_set1_ps(kExp2Lowest))));
}

// Eight lanes from lane `t` on.
template <class Scores>
FASTEP_INLINE void SoftmaxLanes(const SoftmaxArgs& a, int32_t t, I32x8 lanes, Scores x) {
  x.FindLargest(a.keys);
  uint8_t* e = a.e + static_cast<size_t>(t) * 4;
  const size_t stride = static_cast<size_t>(a.tokens) * 4;
  I32x8 sum = _mm256_setzero_si256();
  for (int32_t j = 0; j < a.key_quads * 4; j += 4, e += stride) {
    I32x8 rows[4];
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) rows[r] = j + r < a.keys ? Probability(x[j + r]) : _mm256_setzero_si256();
    const __m256i quad = _mm256_and_si256(InterleaveRows(rows, false), lanes);
    StoreYmm(e, quad);
    const __m256i pairs = _mm256_maddubs_epi16(quad, _mm256_set1_epi8(1));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  const F32x8 some = _mm256_castsi256_ps(_mm256_cmpgt_epi32(sum, _mm256_setzero_si256()));
  const F32x8 factor = _mm256_div_ps(_mm256_set1_ps(a.out_scale), _mm256_cvtepi32_ps(sum));
  _mm256_maskstore_epi32(a.row_sum + t, lanes, sum);
  _mm256_maskstore_ps(a.token_scale + t, lanes, _mm256_and_ps(factor, some));
}

void Softmax(const SoftmaxArgs* args) {
  const SoftmaxArgs& a = *args;
  const auto stride = static_cast<size_t>(a.tokens);
  const F32x8 scale = _mm256_set1_ps(a.scale);
  for (int32_t t = 0; t < a.tokens; t += kLanes) {
    const I32x8 lanes = LaneMask(t, a.lane_begin, a.lane_end);
    if (_mm256_testz_si256(lanes, lanes)) {
      for (int32_t q = 0; q < a.key_quads; ++q) StoreYmm(a.e + (q * stride + t) * 4, _mm256_setzero_si256());
    } else if (a.bias == nullptr) {
      SoftmaxLanes(a, t, lanes, PlainScores{a.scores + t, stride, scale, {}});
    } else {
      SoftmaxLanes(a, t, lanes, BiasedScores{a.scores + t, a.bias + t, stride, scale, {}});
    }
  }
}

// ---- Packing ----

struct DenseRhs {
  int8_t* values;
  int32_t k_quads;

  // Row `row`, inputs [k, k + 4); k is a multiple of 4.
  FASTEP_INLINE int8_t* Quad(int32_t row, int32_t k) const {
    constexpr int32_t kGroup = RowsPerGroup(RhsKind::kDense);
    return values + ((static_cast<size_t>(row / kGroup) * k_quads + k / 4) * kGroup + row % kGroup) * 4;
  }
  FASTEP_INLINE void Set(int32_t row, int32_t k, int8_t value) const { Quad(row, k - k % 4)[k % 4] = value; }
};

// Four features, from quad `quad` of the head, of four keys from key i of the run on, as s8.
FASTEP_INLINE __m128i HeadQuads(const KeyRun& run, int32_t i, int32_t quad) {
  const uint8_t* x = run.tile + (static_cast<size_t>(quad) * run.tokens + run.lane + i) * 4;
  return _mm_xor_si128(LoadXmm(x), _mm_set1_epi8(-128));
}

FASTEP_INLINE int8_t HeadValue(const KeyRun& run, int32_t i, int32_t feature) {
  const uint8_t* x = run.tile + (static_cast<size_t>(feature / 4) * run.tokens + run.lane + i) * 4;
  return static_cast<int8_t>(x[feature % 4] ^ 0x80);
}

// True if keys [i, i + 4) of the run are a whole quad of packed keys.
FASTEP_INLINE bool WholeQuad(const KeyRun& run, int32_t i) { return (run.key + i) % 4 == 0 && i + 4 <= run.count; }

// Four keys whose quads stand side by side, in the tile as in the rhs.
FASTEP_INLINE void PackFourKeys(const KeyRun& run, const DenseRhs& rhs, int32_t i) {
  __m128i sum = _mm_setzero_si128();
  for (int32_t quad = 0; quad < run.head_quads; ++quad) {
    const __m128i values = HeadQuads(run, i, quad);
    StoreXmm(rhs.Quad(run.key + i, quad * 4), values);
    sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_maddubs_epi16(_mm_set1_epi8(1), values), _mm_set1_epi16(1)));
  }
  StoreXmm(run.acc_init + run.key + i, _mm_mullo_epi32(sum, _mm_set1_epi32(-run.zero_point)));
}

FASTEP_INLINE void PackOneKey(const KeyRun& run, const DenseRhs& rhs, int32_t i) {
  int32_t sum = 0;
  for (int32_t f = 0; f < run.head_quads * 4; ++f) {
    const int8_t value = HeadValue(run, i, f);
    rhs.Set(run.key + i, f, value);
    sum += value;
  }
  run.acc_init[run.key + i] = -run.zero_point * sum;
}

void PackKeys(const KeyRun* run) {
  const DenseRhs rhs = {static_cast<int8_t*>(run->values), run->head_quads};
  for (int32_t i = 0; i < run->count;) {
    if (WholeQuad(*run, i)) {
      PackFourKeys(*run, rhs, i);
      i += 4;
    } else {
      PackOneKey(*run, rhs, i++);
    }
  }
}

void PackValues(const KeyRun* run) {
  const DenseRhs rhs = {static_cast<int8_t*>(run->values), run->key_quads};
  const __m128i transpose = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int32_t i = 0; i < run->count;) {
    if (WholeQuad(*run, i)) {
      for (int32_t quad = 0; quad < run->head_quads; ++quad) {
        StoreXmm(rhs.Quad(quad * 4, run->key + i), _mm_shuffle_epi8(HeadQuads(*run, i, quad), transpose));
      }
      i += 4;
    } else {
      for (int32_t f = 0; f < run->head_quads * 4; ++f) rhs.Set(f, run->key + i, HeadValue(*run, i, f));
      ++i;
    }
  }
}

}  // namespace
}  // namespace fastep
