// 16 x 16 transposition of 32-bit words, what packing and unpacking are made of.
#pragma once

#include "kernels/avx512vnni/zmm.h"

namespace fastep::avx512vnni {
namespace {

// out[i] word j = in[j] word i. 64 shuffles in four steps: words, pairs, then 128-bit lanes twice.
FASTEP_INLINE void Transpose16x16(__m512i (&r)[16]) {
  __m512i a[16];
  FASTEP_UNROLL
  for (int i = 0; i < 16; i += 4) {
    const __m512i lo01 = _mm512_unpacklo_epi32(r[i], r[i + 1]), hi01 = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    const __m512i lo23 = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]), hi23 = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);
    a[i] = _mm512_unpacklo_epi64(lo01, lo23);
    a[i + 1] = _mm512_unpackhi_epi64(lo01, lo23);
    a[i + 2] = _mm512_unpacklo_epi64(hi01, hi23);
    a[i + 3] = _mm512_unpackhi_epi64(hi01, hi23);
  }
  // a[4 g + c], lane L: words 4 L + c of rows 4 g .. 4 g + 3.
  FASTEP_UNROLL
  for (int c = 0; c < 4; ++c) {
    const __m512i even01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88),
                  odd01 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
    const __m512i even23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
    const __m512i odd23 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
    r[c] = _mm512_shuffle_i32x4(even01, even23, 0x88);
    r[8 + c] = _mm512_shuffle_i32x4(even01, even23, 0xdd);
    r[4 + c] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
    r[12 + c] = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
  }
}

// The lowest `count` of 64 bits; count <= 0: none.
FASTEP_INLINE __mmask64 LowBits64(int64_t count) {
  return count <= 0 ? 0 : (count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1);
}
FASTEP_INLINE __mmask16 LowBits16(int64_t count) {
  return static_cast<__mmask16>(count <= 0 ? 0 : (count >= 16 ? 0xffff : (1 << count) - 1));
}

}  // namespace
}  // namespace fastep::avx512vnni
