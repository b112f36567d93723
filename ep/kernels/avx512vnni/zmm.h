// Names for the few instructions that the tier is made of. No function here is ever emitted: all are inlined, and
// private to a file.
#pragma once

// gcc 12 warns about its own header (gcc bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <stddef.h>
#include <stdint.h>

#define FASTEP_INLINE [[gnu::always_inline]] static inline
// Loops over registers must vanish: an array of vectors that is indexed at run time lives in memory.
#define FASTEP_UNROLL _Pragma("GCC unroll 32")

namespace fastep::avx512vnni {

using I32x16 = __m512i;
using U8x64 = __m512i;
using F32x16 = __m512;

constexpr int kLanes = 16;  // tokens in a vector of 32-bit lanes

FASTEP_INLINE __m512i Load(const void* p) { return _mm512_load_si512(p); }
FASTEP_INLINE void Store(void* p, __m512i v) { _mm512_store_si512(p, v); }
// The same four bytes in every 32-bit lane. From memory it costs a load and no shuffle.
FASTEP_INLINE __m512i Broadcast32(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return _mm512_set1_epi32(word);
}
// acc += x . w in every 32-bit lane: four u8 x s8 products.
//
// kInPlace: around the intrinsic, gcc 12 copies accumulators between registers in loops that have several sets of them
// (7 % of the time of 2x4). An asm statement does not let it, but hides the latency from its scheduler (3 % of the time
// of 4x4 on 64 tokens).
template <bool kInPlace>
FASTEP_INLINE void DotAccumulate(I32x16& acc, U8x64 x, __m512i w) {
#ifndef FASTEP_EMULATE
  if constexpr (kInPlace) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(w));
    return;
  }
#endif
  acc = _mm512_dpbusd_epi32(acc, x, w);
}
// Weights of a whole encoder stand in the third cache or beyond, and the hardware reads ahead only to the end of a 4 KB
// page. Asking for what comes this much later, in every block, makes encoders of dense weights 1.7 times as fast and
// those of sparse ones 1.1 to 1.2 times; a single layer whose weights are in the second cache loses 3 %.
constexpr size_t kDenseAheadBytes = 4096;
constexpr size_t kSparseAheadBytes = 2048;
FASTEP_INLINE void FetchAhead(const void* p, size_t bytes) {
  _mm_prefetch(static_cast<const char*>(p) + bytes, _MM_HINT_T0);
}
FASTEP_INLINE F32x16 BroadcastF32(const float* p) { return _mm512_set1_ps(*p); }

}  // namespace fastep::avx512vnni
