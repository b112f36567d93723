// Products of 16-bit numbers.
//
// vpmaddubsw is the natural instruction, but saturates: couples.h says where it is used all the same. Elsewhere inputs
// are split into even and odd bytes, which are 16-bit numbers then, the weights are packed as 16-bit numbers in the
// order 0 2 1 3, and
//
//   acc += vpmaddwd(x0 x2, w0 w2) + vpmaddwd(x1 x3, w1 w3)
//
// instruction       ports, latency   Alder Lake / Sapphire Rapids   Zen 3, 4
//   vpmaddwd, vpmaddubsw ymm         p01, 5                          FP03, 3
//   vpadd*, vpand, vpxor ymm         p015, 1                         FP0123, 1
//   vpsrlw ymm                       p01, 1                          FP12, 1
//   vpunpck* ymm                     p15, 1                          FP12, 1
//   vpbroadcastd ymm, m32            load                            load
// (Agner Fog, "Instruction tables"; uops.info.) A 4 x 4 block of 16 tokens takes 16 + 16 + 4 of them for 256
// products: 21.3 per cycle at three vector instructions per cycle.
#pragma once

#include "kernels/generic/ymm_product.h"

namespace fastep {
namespace {

struct WordDot {
  using Value = int16_t;
  static constexpr bool kCoupled = false;
  static constexpr bool kWholeStrips = false;
  struct Weights {
    __m256i even, odd;
  };
  struct Lhs {
    __m256i even, odd;
  };
  // dense, 1x4, 2x4, 4x4, 8x4, 4x1: eight sums in registers, beside inputs and weights of two registers each.
  static constexpr int kRows[kRhsKinds] = {8, 1, 2, 4, 8, 4};
  static constexpr int kVectors[kRhsKinds] = {1, 8, 4, 2, 1, 2};

  static FASTEP_INLINE Weights LoadWeights(const Value* w) {
    int32_t pairs[2];
    __builtin_memcpy(pairs, w, sizeof(pairs));
    return {_mm256_set1_epi32(pairs[0]), _mm256_set1_epi32(pairs[1])};
  }

  static FASTEP_INLINE Lhs LoadQuad(const uint8_t* x) {
    const __m256i bytes = LoadYmm(x);
    return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(bytes, 8)};
  }

  // Inputs 0 2 and 1 3 of 16 tokens as pairs of 16-bit numbers.
  template <PlanarRun kRun>
  static FASTEP_INLINE void LoadPlanar(const uint8_t* const (&input)[4], Lhs (&out)[2]) {
    LoadPair<kRun>(input[0], input[2], out[0].even, out[1].even);
    LoadPair<kRun>(input[1], input[3], out[0].odd, out[1].odd);
  }

  template <PlanarRun kRun>
  static FASTEP_INLINE void LoadPair(const uint8_t* a, const uint8_t* b, __m256i& first, __m256i& second) {
    if constexpr (kRun == PlanarRun::kShort) {
      const __m256i a16 = _mm256_cvtepu8_epi16(LoadXmm(a)), b16 = _mm256_cvtepu8_epi16(LoadXmm(b));
      first = _mm256_unpacklo_epi16(a16, b16);
      second = _mm256_unpackhi_epi16(a16, b16);
    } else {
      const bool low = kRun == PlanarRun::kLongLow;
      const __m256i ab =
          low ? _mm256_unpacklo_epi8(LoadYmm(a), LoadYmm(b)) : _mm256_unpackhi_epi8(LoadYmm(a), LoadYmm(b));
      first = _mm256_unpacklo_epi8(ab, _mm256_setzero_si256());
      second = _mm256_unpackhi_epi8(ab, _mm256_setzero_si256());
    }
  }

  static FASTEP_INLINE I32x8 Accumulate(I32x8 acc, Lhs x, Weights w) {
    const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(x.even, w.even), _mm256_madd_epi16(x.odd, w.odd));
    return _mm256_add_epi32(acc, sum);
  }
};

}  // namespace
}  // namespace fastep
