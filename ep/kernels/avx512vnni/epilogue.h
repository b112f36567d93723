// From accumulators in registers to the output of the call.
#pragma once

#include "core/kernel_table.h"
#include "kernels/avx512vnni/zmm.h"

namespace fastep::avx512vnni {

// Stores rows [row, row + 4) that carry a GELU; `acc` is [4][vectors] in memory. Not inlined: it is long, and rare next
// to products.
void FinishGelu(const ProductArgs& args, int32_t row, int32_t out_row, const int32_t* acc);

namespace {

// [4 rows][16 tokens] of int32 to one vector [16 tokens][4 rows] of bytes, saturated.
template <bool kSigned>
FASTEP_INLINE U8x64 PackBytes(I32x16 r0, I32x16 r1, I32x16 r2, I32x16 r3) {
  const __m512i r01 = _mm512_packs_epi32(r0, r1);
  const __m512i r23 = _mm512_packs_epi32(r2, r3);
  const __m512i rows = kSigned ? _mm512_packs_epi16(r01, r23) : _mm512_packus_epi16(r01, r23);
  // Each 128-bit lane now holds [4 rows][4 tokens].
  const __m512i transpose = _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400);
  return _mm512_shuffle_epi8(rows, transpose);
}

// clamp(rne(v)): the upper clamp on floats, because the conversion turns what is too large into the lowest integer; the
// lower one by the saturation of PackBytes and, for relu, by `lo`.
template <bool kSigned>
FASTEP_INLINE U8x64 Quantize(const F32x16 (&v)[4], F32x16 hi, __m512i lo) {
  I32x16 q[4];
  FASTEP_UNROLL
  for (int r = 0; r < 4; ++r) q[r] = _mm512_cvtps_epi32(_mm512_min_ps(v[r], hi));
  const U8x64 bytes = PackBytes<kSigned>(q[0], q[1], q[2], q[3]);
  return kSigned ? _mm512_max_epi8(bytes, lo) : _mm512_max_epu8(bytes, lo);
}

FASTEP_INLINE F32x16 Requantize(const Epilogue& e, int32_t row, I32x16 acc) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), BroadcastF32(e.scale + row), BroadcastF32(e.bias + row));
}

template <bool kSigned, int V>
FASTEP_INLINE void StoreQuantized(const ProductArgs& args, int32_t row, int32_t out_row, const I32x16 (&acc)[4][V]) {
  const Epilogue& e = *args.epilogue;
  const F32x16 hi = _mm512_set1_ps(static_cast<float>(e.hi));
  const __m512i lo = _mm512_set1_epi8(static_cast<char>(e.lo));
  uint8_t* out = static_cast<uint8_t*>(args.out) + static_cast<size_t>(out_row) * (kLanes * V);
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    F32x16 y[4];
    FASTEP_UNROLL
    for (int r = 0; r < 4; ++r) y[r] = Requantize(e, row + r, acc[r][v]);
    Store(out + v * 64, Quantize<kSigned>(y, hi, lo));
  }
}

template <int V>
FASTEP_INLINE void StoreF32(const ProductArgs& args, int32_t row, int32_t out_row, const I32x16 (&acc)[4][V]) {
  const Epilogue& e = *args.epilogue;
  float* out = static_cast<float*>(args.out) + static_cast<size_t>(out_row) * (kLanes * V);
  // Without relu the lower bound is minus infinity.
  const F32x16 lo = _mm512_set1_ps(e.activation == Activation::kRelu ? 0.0f : -__builtin_inff());
  FASTEP_UNROLL
  for (int r = 0; r < 4; ++r) {
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) {
      _mm512_store_ps(out + (r * V + v) * kLanes, _mm512_max_ps(Requantize(e, row + r, acc[r][v]), lo));
    }
  }
}

template <int V>
FASTEP_INLINE void StoreI32(void* out, int32_t out_row, const I32x16 (&acc)[4][V]) {
  int32_t* p = static_cast<int32_t*>(out) + static_cast<size_t>(out_row) * (kLanes * V);
  FASTEP_UNROLL
  for (int r = 0; r < 4; ++r) {
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) Store(p + (r * V + v) * kLanes, acc[r][v]);
  }
}

template <int V>
FASTEP_INLINE void SubtractZeroPoints(const Epilogue& e, int32_t row, I32x16 (&acc)[4][V]) {
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    const I32x16 sum = _mm512_loadu_si512(e.token_sum + v * kLanes);
    FASTEP_UNROLL
    for (int r = 0; r < 4; ++r) {
      acc[r][v] = _mm512_sub_epi32(acc[r][v], _mm512_mullo_epi32(Broadcast32(e.rhs_zero_point + row + r), sum));
    }
  }
}

// Start values of R rows: acc_init, or the partial sums of the K-blocks before.
template <int R, int V>
FASTEP_INLINE void Begin(const ProductArgs& args, int32_t row, int32_t out_row, I32x16 (&acc)[R][V]) {
  const int32_t* partial = args.partial + static_cast<size_t>(out_row) * (kLanes * V);
  if (args.first) {
    FASTEP_UNROLL
    for (int r = 0; r < R; ++r) {
      const I32x16 init = Broadcast32(args.epilogue->acc_init + row + r);
      FASTEP_UNROLL
      for (int v = 0; v < V; ++v) acc[r][v] = init;
    }
  } else {
    FASTEP_UNROLL
    for (int r = 0; r < R; ++r) {
      FASTEP_UNROLL
      for (int v = 0; v < V; ++v) acc[r][v] = Load(partial + (r * V + v) * kLanes);
    }
  }
}

// Four finished rows of this K-block, [row, row + 4) of the layer, at `out_row` of the call's output. row is a multiple
// of 4.
template <int V>
FASTEP_INLINE void Finish(const ProductArgs& args, int32_t row, int32_t out_row, I32x16 (&acc)[4][V]) {
  const Epilogue& e = *args.epilogue;
  if (!args.last) return StoreI32<V>(args.partial, out_row, acc);
  if (e.rhs_zero_point != nullptr) SubtractZeroPoints<V>(e, row, acc);
  if (e.kind == OutputKind::kInt32) return StoreI32<V>(args.out, out_row, acc);
  if (e.activation == Activation::kGelu || e.activation == Activation::kGeluTanh) {
    alignas(64) int32_t memory[4 * kLanes * V];
    StoreI32<V>(memory, 0, acc);
    return FinishGelu(args, row, out_row, memory);
  }
  if (e.kind == OutputKind::kFloat) return StoreF32<V>(args, row, out_row, acc);
  if (e.kind == OutputKind::kQuantU8) return StoreQuantized<false, V>(args, row, out_row, acc);
  StoreQuantized<true, V>(args, row, out_row, acc);
}

}  // namespace
}  // namespace fastep::avx512vnni
