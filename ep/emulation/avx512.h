// AVX-512 and VNNI instructions in terms of AVX2, so that the kernels of every tier can be tested on a CPU that lacks
// them (FASTEP_EMULATE in CMakeLists.txt). Never part of a library that is installed.
//
// Kernels see these functions in place of the compiler's of the same names, because this namespace encloses theirs.
// Each does what the Intel SDM, vol. 2, says of its instruction, roundings, quiet NaN and masks included: memory that a
// mask hides is not touched.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

// Macros in some compilers, or where nothing is optimized.
#undef _mm256_dpbusd_avx_epi32
#undef _mm256_dpbusd_epi32
#undef _mm512_cmp_ps_mask
#undef _mm512_range_ps
#undef _mm512_reduce_ps
#undef _mm512_shuffle_i32x4
#undef _mm512_slli_epi32

#define FASTEP_EMULATION [[gnu::always_inline, maybe_unused]] static inline

namespace fastep {
namespace {

// ---- Halves and lanes ----

FASTEP_EMULATION __m256i Half(__m512i v, int i) {
  __m256i half;
  __builtin_memcpy(&half, reinterpret_cast<const char*>(&v) + 32 * i, 32);
  return half;
}

FASTEP_EMULATION __m256 Half(__m512 v, int i) {
  __m256 half;
  __builtin_memcpy(&half, reinterpret_cast<const char*>(&v) + 32 * i, 32);
  return half;
}

FASTEP_EMULATION __m512i Join(__m256i low, __m256i high) {
  __m512i v;
  __builtin_memcpy(&v, &low, 32);
  __builtin_memcpy(reinterpret_cast<char*>(&v) + 32, &high, 32);
  return v;
}

FASTEP_EMULATION __m512 Join(__m256 low, __m256 high) {
  __m512 v;
  __builtin_memcpy(&v, &low, 32);
  __builtin_memcpy(reinterpret_cast<char*>(&v) + 32, &high, 32);
  return v;
}

// A vector as the array of its lanes, and back.
template <class T, class Vector>
struct Lanes {
  static constexpr int kCount = sizeof(Vector) / sizeof(T);
  T lane[kCount];

  [[gnu::always_inline]] static inline Lanes Of(Vector v) {
    Lanes lanes;
    __builtin_memcpy(&lanes, &v, sizeof(v));
    return lanes;
  }
  [[gnu::always_inline]] inline Vector Vec() const {
    Vector v;
    __builtin_memcpy(&v, lane, sizeof(v));
    return v;
  }
};
using Floats = Lanes<float, __m512>;
using Words = Lanes<int32_t, __m512i>;
using Bytes = Lanes<uint8_t, __m512i>;

template <class AnyLanes, class T>
FASTEP_EMULATION AnyLanes LoadMasked(uint64_t mask, const T* p) {
  AnyLanes lanes;
  for (int i = 0; i < AnyLanes::kCount; ++i) {
    lanes.lane[i] = 0;
    if (mask >> i & 1) __builtin_memcpy(&lanes.lane[i], p + i, sizeof(T));
  }
  return lanes;
}

template <class AnyLanes, class T>
FASTEP_EMULATION void StoreMasked(uint64_t mask, T* p, const AnyLanes& lanes) {
  for (int i = 0; i < AnyLanes::kCount; ++i) {
    if (mask >> i & 1) __builtin_memcpy(p + i, &lanes.lane[i], sizeof(T));
  }
}

// ---- What both halves do by themselves ----

#define FASTEP_UNARY(Out, In, name) \
  FASTEP_EMULATION Out _mm512_##name(In a) { return Join(_mm256_##name(Half(a, 0)), _mm256_##name(Half(a, 1))); }
#define FASTEP_BINARY(V, name)                                                                 \
  FASTEP_EMULATION V _mm512_##name(V a, V b) {                                                 \
    return Join(_mm256_##name(Half(a, 0), Half(b, 0)), _mm256_##name(Half(a, 1), Half(b, 1))); \
  }
#define FASTEP_TERNARY(V, name)                                                                                        \
  FASTEP_EMULATION V _mm512_##name(V a, V b, V c) {                                                                    \
    return Join(_mm256_##name(Half(a, 0), Half(b, 0), Half(c, 0)), _mm256_##name(Half(a, 1), Half(b, 1), Half(c, 1))); \
  }

FASTEP_BINARY(__m512i, add_epi32)
FASTEP_BINARY(__m512i, sub_epi32)
FASTEP_BINARY(__m512i, mullo_epi32)
FASTEP_BINARY(__m512i, max_epi32)
FASTEP_BINARY(__m512i, max_epu8)
FASTEP_BINARY(__m512i, max_epi8)
FASTEP_BINARY(__m512i, packs_epi32)
FASTEP_BINARY(__m512i, packs_epi16)
FASTEP_BINARY(__m512i, packus_epi16)
FASTEP_BINARY(__m512i, unpacklo_epi8)
FASTEP_BINARY(__m512i, unpackhi_epi8)
FASTEP_BINARY(__m512i, unpacklo_epi16)
FASTEP_BINARY(__m512i, unpackhi_epi16)
FASTEP_BINARY(__m512i, unpacklo_epi32)
FASTEP_BINARY(__m512i, unpackhi_epi32)
FASTEP_BINARY(__m512i, unpacklo_epi64)
FASTEP_BINARY(__m512i, unpackhi_epi64)
FASTEP_BINARY(__m512i, shuffle_epi8)
FASTEP_BINARY(__m512, add_ps)
FASTEP_BINARY(__m512, sub_ps)
FASTEP_BINARY(__m512, mul_ps)
FASTEP_BINARY(__m512, div_ps)
FASTEP_BINARY(__m512, min_ps)
FASTEP_BINARY(__m512, max_ps)
FASTEP_UNARY(__m512, __m512, sqrt_ps)
FASTEP_UNARY(__m512, __m512i, cvtepi32_ps)
FASTEP_UNARY(__m512i, __m512, cvtps_epi32)
FASTEP_TERNARY(__m512, fmadd_ps)
FASTEP_TERNARY(__m512, fnmadd_ps)

FASTEP_EMULATION __m512i _mm512_xor_si512(__m512i a, __m512i b) {
  return Join(_mm256_xor_si256(Half(a, 0), Half(b, 0)), _mm256_xor_si256(Half(a, 1), Half(b, 1)));
}
FASTEP_EMULATION __m512i _mm512_slli_epi32(__m512i a, unsigned count) {
  const int bits = static_cast<int>(count);
  return Join(_mm256_slli_epi32(Half(a, 0), bits), _mm256_slli_epi32(Half(a, 1), bits));
}
FASTEP_EMULATION __m512i _mm512_cvtepu8_epi32(__m128i a) {
  return Join(_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8)));
}
FASTEP_EMULATION __m512i _mm512_cvtepi8_epi32(__m128i a) {
  return Join(_mm256_cvtepi8_epi32(a), _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)));
}

// ---- Constants, casts, whole loads and stores ----

FASTEP_EMULATION __m512i _mm512_setzero_si512() { return Join(_mm256_setzero_si256(), _mm256_setzero_si256()); }
FASTEP_EMULATION __m512i _mm512_set1_epi8(char x) { return Join(_mm256_set1_epi8(x), _mm256_set1_epi8(x)); }
FASTEP_EMULATION __m512i _mm512_set1_epi32(int x) { return Join(_mm256_set1_epi32(x), _mm256_set1_epi32(x)); }
FASTEP_EMULATION __m512i _mm512_set4_epi32(int d, int c, int b, int a) {
  const __m256i half = _mm256_setr_epi32(a, b, c, d, a, b, c, d);
  return Join(half, half);
}
FASTEP_EMULATION __m512i _mm512_set_epi64(int64_t h, int64_t g, int64_t f, int64_t e, int64_t d, int64_t c, int64_t b,
                                          int64_t a) {
  return Lanes<int64_t, __m512i>{{a, b, c, d, e, f, g, h}}.Vec();
}
FASTEP_EMULATION __m512 _mm512_setzero_ps() { return Join(_mm256_setzero_ps(), _mm256_setzero_ps()); }
FASTEP_EMULATION __m512 _mm512_set1_ps(float x) { return Join(_mm256_set1_ps(x), _mm256_set1_ps(x)); }

FASTEP_EMULATION __m512i _mm512_castps_si512(__m512 v) { return __builtin_bit_cast(__m512i, v); }
FASTEP_EMULATION __m512 _mm512_castsi512_ps(__m512i v) { return __builtin_bit_cast(__m512, v); }

// An address that is not aligned stops the process, as it does where the instruction exists.
FASTEP_EMULATION void CheckAligned(const void* p) {
  if (reinterpret_cast<uintptr_t>(p) % 64 != 0) __builtin_trap();
}
FASTEP_EMULATION __m512i _mm512_loadu_si512(const void* p) {
  __m512i v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
FASTEP_EMULATION __m512i _mm512_load_si512(const void* p) {
  CheckAligned(p);
  return _mm512_loadu_si512(p);
}
FASTEP_EMULATION void _mm512_store_si512(void* p, __m512i v) {
  CheckAligned(p);
  __builtin_memcpy(p, &v, sizeof(v));
}
FASTEP_EMULATION __m512 _mm512_load_ps(const void* p) { return _mm512_castsi512_ps(_mm512_load_si512(p)); }
FASTEP_EMULATION void _mm512_store_ps(void* p, __m512 v) { _mm512_store_si512(p, _mm512_castps_si512(v)); }

// ---- Masks ----

FASTEP_EMULATION __m512i _mm512_maskz_loadu_epi8(__mmask64 k, const void* p) {
  return LoadMasked<Bytes>(k, static_cast<const uint8_t*>(p)).Vec();
}
FASTEP_EMULATION __m512i _mm512_maskz_loadu_epi32(__mmask16 k, const void* p) {
  return LoadMasked<Words>(k, static_cast<const int32_t*>(p)).Vec();
}
FASTEP_EMULATION __m512 _mm512_maskz_loadu_ps(__mmask16 k, const void* p) {
  return LoadMasked<Floats>(k, static_cast<const float*>(p)).Vec();
}
FASTEP_EMULATION __m256i _mm256_maskz_loadu_epi32(__mmask8 k, const void* p) {
  return LoadMasked<Lanes<int32_t, __m256i>>(k, static_cast<const int32_t*>(p)).Vec();
}
FASTEP_EMULATION __m128i _mm_maskz_loadu_epi8(__mmask16 k, const void* p) {
  return LoadMasked<Lanes<uint8_t, __m128i>>(k, static_cast<const uint8_t*>(p)).Vec();
}
FASTEP_EMULATION void _mm512_mask_storeu_epi8(void* p, __mmask64 k, __m512i v) {
  StoreMasked(k, static_cast<uint8_t*>(p), Bytes::Of(v));
}
FASTEP_EMULATION void _mm512_mask_storeu_epi32(void* p, __mmask16 k, __m512i v) {
  StoreMasked(k, static_cast<int32_t*>(p), Words::Of(v));
}
FASTEP_EMULATION void _mm512_mask_storeu_ps(void* p, __mmask16 k, __m512 v) {
  StoreMasked(k, static_cast<float*>(p), Floats::Of(v));
}
FASTEP_EMULATION void _mm256_mask_storeu_epi32(void* p, __mmask8 k, __m256i v) {
  StoreMasked(k, static_cast<int32_t*>(p), Lanes<int32_t, __m256i>::Of(v));
}
FASTEP_EMULATION void _mm512_mask_store_epi32(void* p, __mmask16 k, __m512i v) {
  CheckAligned(p);
  _mm512_mask_storeu_epi32(p, k, v);
}
FASTEP_EMULATION void _mm512_mask_store_ps(void* p, __mmask16 k, __m512 v) {
  CheckAligned(p);
  _mm512_mask_storeu_ps(p, k, v);
}

// Lanes of `v`, of `otherwise` where the mask has a zero.
template <class AnyLanes, class Vector>
FASTEP_EMULATION Vector Select(uint64_t mask, Vector v, Vector otherwise) {
  AnyLanes lanes = AnyLanes::Of(v);
  const AnyLanes other = AnyLanes::Of(otherwise);
  for (int i = 0; i < AnyLanes::kCount; ++i) {
    if (!(mask >> i & 1)) lanes.lane[i] = other.lane[i];
  }
  return lanes.Vec();
}
FASTEP_EMULATION __m512 _mm512_maskz_mov_ps(__mmask16 k, __m512 v) { return Select<Floats>(k, v, _mm512_setzero_ps()); }
FASTEP_EMULATION __m512 _mm512_maskz_add_ps(__mmask16 k, __m512 a, __m512 b) {
  return _mm512_maskz_mov_ps(k, _mm512_add_ps(a, b));
}
FASTEP_EMULATION __m512 _mm512_maskz_div_ps(__mmask16 k, __m512 a, __m512 b) {
  return _mm512_maskz_mov_ps(k, _mm512_div_ps(a, b));
}
FASTEP_EMULATION __m512i _mm512_maskz_set1_epi8(__mmask64 k, char x) {
  return Select<Bytes>(k, _mm512_set1_epi8(x), _mm512_setzero_si512());
}
FASTEP_EMULATION __m512i _mm512_mask_shuffle_epi8(__m512i otherwise, __mmask64 k, __m512i a, __m512i order) {
  return Select<Bytes>(k, _mm512_shuffle_epi8(a, order), otherwise);
}

FASTEP_EMULATION __mmask16 _mm512_cmpneq_epi32_mask(__m512i a, __m512i b) {
  const Words x = Words::Of(a), y = Words::Of(b);
  unsigned mask = 0;
  for (int i = 0; i < Words::kCount; ++i) mask |= static_cast<unsigned>(x.lane[i] != y.lane[i]) << i;
  return static_cast<__mmask16>(mask);
}
FASTEP_EMULATION __mmask16 _mm512_test_epi32_mask(__m512i a, __m512i b) {
  const Words x = Words::Of(a), y = Words::Of(b);
  unsigned mask = 0;
  for (int i = 0; i < Words::kCount; ++i) mask |= static_cast<unsigned>((x.lane[i] & y.lane[i]) != 0) << i;
  return static_cast<__mmask16>(mask);
}
// The two comparisons that kernels make; another one stops the process.
FASTEP_EMULATION __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int comparison) {
  if (comparison != _CMP_GE_OQ && comparison != _CMP_NEQ_UQ) __builtin_trap();
  const Floats x = Floats::Of(a), y = Floats::Of(b);
  unsigned mask = 0;
  for (int i = 0; i < Floats::kCount; ++i) {
    const bool holds = comparison == _CMP_GE_OQ ? x.lane[i] >= y.lane[i] : !(x.lane[i] == y.lane[i]);
    mask |= static_cast<unsigned>(holds) << i;
  }
  return static_cast<__mmask16>(mask);
}

// ---- Across 128-bit lanes ----

FASTEP_EMULATION __m512i _mm512_shuffle_i32x4(__m512i a, __m512i b, int order) {
  const __m512i sources[2] = {a, b};
  __m512i v;
  for (int i = 0; i < 4; ++i) {
    const int from = order >> 2 * i & 3;
    __builtin_memcpy(reinterpret_cast<char*>(&v) + 16 * i, reinterpret_cast<const char*>(&sources[i / 2]) + 16 * from,
                     16);
  }
  return v;
}
FASTEP_EMULATION __m512i _mm512_permutex2var_epi64(__m512i a, __m512i index, __m512i b) {
  using Quads = Lanes<int64_t, __m512i>;
  const Quads x = Quads::Of(a), y = Quads::Of(b);
  Quads at = Quads::Of(index);
  for (int64_t& i : at.lane) i = (i & 8) != 0 ? y.lane[i & 7] : x.lane[i & 7];
  return at.Vec();
}

// ---- Products ----

// Even and odd bytes as 16-bit numbers: neither products nor sums of two can leave 32 bits.
FASTEP_EMULATION __m256i _mm256_dpbusd_avx_epi32(__m256i acc, __m256i x, __m256i w) {
  const __m256i low_byte = _mm256_set1_epi16(0xff);
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(x, low_byte), _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(x, 8), _mm256_srai_epi16(w, 8));
  return _mm256_add_epi32(acc, _mm256_add_epi32(even, odd));
}
FASTEP_EMULATION __m256i _mm256_dpbusd_epi32(__m256i acc, __m256i x, __m256i w) {
  return _mm256_dpbusd_avx_epi32(acc, x, w);
}
FASTEP_TERNARY(__m512i, dpbusd_epi32)

// ---- Exponents and ranges ----

// a * 2^floor(b), rounded once.
FASTEP_EMULATION float Scale(float a, float b) {
  if (a != a && __builtin_isinf(b)) return b < 0 ? 0.0f : b;
  if (a != a || b != b) return a + b;
  if (__builtin_isinf(b)) {
    if (b < 0) return __builtin_isinf(a) ? __builtin_nanf("") : __builtin_copysignf(0.0f, a);
    return a == 0 ? __builtin_nanf("") : __builtin_copysignf(b, a);
  }
  // Beyond 2^+-400 the result is 0 or infinite whatever a is.
  const float floor = __builtin_floorf(b < -400 ? -400.0f : b > 400 ? 400.0f : b);
  const uint64_t bits = static_cast<uint64_t>(1023 + static_cast<int>(floor)) << 52;
  double power;
  __builtin_memcpy(&power, &bits, sizeof(power));
  return static_cast<float>(static_cast<double>(a) * power);
}
FASTEP_EMULATION __m512 _mm512_scalef_ps(__m512 a, __m512 b) {
  Floats x = Floats::Of(a);
  const Floats y = Floats::Of(b);
  for (int i = 0; i < Floats::kCount; ++i) x.lane[i] = Scale(x.lane[i], y.lane[i]);
  return x.Vec();
}
// x - floor(x), rounded downwards as floor is, and 0 of infinities.
FASTEP_EMULATION float Fraction(float x) {
  if (__builtin_isinf(x)) return 0.0f;
  const float floor = __builtin_floorf(x);
  if (x == floor) return -0.0f;
  const float nearest = x - floor;
  if (static_cast<double>(nearest) + static_cast<double>(floor) <= static_cast<double>(x) || x != x) return nearest;
  return __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, nearest) - 1);
}
// The only form that kernels use.
FASTEP_EMULATION __m512 _mm512_reduce_ps(__m512 a, int control) {
  if (control != _MM_FROUND_TO_NEG_INF) __builtin_trap();
  Floats x = Floats::Of(a);
  for (float& lane : x.lane) lane = Fraction(lane);
  return x.Vec();
}
// The lesser magnitude without its sign, the number where the other one is NaN; the only form that kernels use.
FASTEP_EMULATION __m512 _mm512_range_ps(__m512 a, __m512 b, int control) {
  if (control != 0x0a) __builtin_trap();
  Floats x = Floats::Of(a);
  const Floats y = Floats::Of(b);
  for (int i = 0; i < Floats::kCount; ++i) {
    const float p = __builtin_fabsf(x.lane[i]), q = __builtin_fabsf(y.lane[i]);
    x.lane[i] = p <= q || q != q ? p : q;
  }
  return x.Vec();
}

#undef FASTEP_UNARY
#undef FASTEP_BINARY
#undef FASTEP_TERNARY

}  // namespace
}  // namespace fastep
