// Names for 256-bit vectors, shared as source by the tiers that have no more than these (avx2, avxvnni).
// Everything in the ymm_*.h headers is in the anonymous namespace of the one file of a tier: no symbol is shared.
#pragma once

#include <immintrin.h>

#include "core/kernel_table.h"
#include "kernels/generic/gelu.h"

#define FASTEP_INLINE __attribute__((always_inline)) inline

namespace fastep {
namespace {

using F32x8 = __m256;
using I32x8 = __m256i;
constexpr int kLanes = 8;

FASTEP_INLINE __m256i LoadYmm(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
FASTEP_INLINE void StoreYmm(void* p, __m256i x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
FASTEP_INLINE __m128i LoadXmm(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
FASTEP_INLINE void StoreXmm(void* p, __m128i x) { _mm_storeu_si128(static_cast<__m128i*>(p), x); }

// How a planar tile orders the tokens of one input, such that interleaving inside 128-bit lanes leaves natural order.
// In a run of 32 the low halves of both lanes hold the first 16 tokens and the high halves the others; what is left of
// a tile is a run of 16:
//   32   0-3  8-11 16-19 24-27 | 4-7  12-15 20-23 28-31
//   16   0-3  8-11  4-7  12-15
// A kernel reads 16 tokens at a time: half of a long run, or a short run.
enum class PlanarRun { kLongLow, kLongHigh, kShort };
constexpr int kLongRun = 32;

// a0 b0 a1 b1 ... of 16 tokens of two inputs.
template <PlanarRun kRun>
FASTEP_INLINE __m256i InterleaveInputs(const uint8_t* a, const uint8_t* b) {
  if constexpr (kRun == PlanarRun::kLongLow) return _mm256_unpacklo_epi8(LoadYmm(a), LoadYmm(b));
  if constexpr (kRun == PlanarRun::kLongHigh) return _mm256_unpackhi_epi8(LoadYmm(a), LoadYmm(b));
  const __m256i high = _mm256_slli_epi16(_mm256_cvtepu8_epi16(LoadXmm(b)), 8);
  return _mm256_or_si256(_mm256_cvtepu8_epi16(LoadXmm(a)), high);
}

// 16 tokens of four inputs as a quad tile holds them.
template <PlanarRun kRun>
FASTEP_INLINE void QuadFromPlanar(const uint8_t* const (&input)[4], __m256i (&out)[2]) {
  const __m256i ab = InterleaveInputs<kRun>(input[0], input[1]);
  const __m256i cd = InterleaveInputs<kRun>(input[2], input[3]);
  out[0] = _mm256_unpacklo_epi16(ab, cd);
  out[1] = _mm256_unpackhi_epi16(ab, cd);
}

// The vector of kernels/generic/gelu.h.
struct YmmOps {
  using F32 = F32x8;
  static FASTEP_INLINE F32 Set(float x) { return _mm256_set1_ps(x); }
  static FASTEP_INLINE F32 MinAbs(F32 x, F32 y) { return _mm256_min_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x), y); }
  static FASTEP_INLINE F32 Add(F32 x, F32 y) { return _mm256_add_ps(x, y); }
  static FASTEP_INLINE F32 Sub(F32 x, F32 y) { return _mm256_sub_ps(x, y); }
  static FASTEP_INLINE F32 Floor(F32 x) { return _mm256_floor_ps(x); }
  static FASTEP_INLINE F32 Min(F32 x, F32 y) { return _mm256_min_ps(x, y); }
  static FASTEP_INLINE F32 Max(F32 x, F32 y) { return _mm256_max_ps(x, y); }
  static FASTEP_INLINE F32 Fma(F32 x, F32 y, F32 z) { return _mm256_fmadd_ps(x, y, z); }
  static FASTEP_INLINE F32 FnMadd(F32 x, F32 y, F32 z) { return _mm256_fnmadd_ps(x, y, z); }
  static FASTEP_INLINE F32 AddExponent(F32 e, F32 t) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(t), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(e), exponent));
  }
};

}  // namespace
}  // namespace fastep
