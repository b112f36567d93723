// From accumulators in registers to the output of a call. Rows count from the first of the call.
#pragma once

#include "kernels/avx512vnni/kernels.h"
#include "kernels/avx512vnni/zmm.h"
#include "kernels/generic/gelu.h"

namespace fastep::avx512vnni {

// kRare: what is not worth a copy in every loop, GELU before all. kTokenU8: attention's output, dense products only.
enum class Ending {
  kPartial,
  kI32,
  kI32Max,
  kU8,
  kPlanarU8,
  kS8,
  kF32,
  kResidual,
  kTokenU8,
  kPlanarTokenU8,
  kGeluU8,
  kPlanarGeluU8,
  kRare
};

// A call's epilogue as the loops need it: everything in locals, so that it stays in registers.
struct Output {
  Ending ending;
  const int32_t* start;  // acc_init, or the partial sums of the K-blocks before
  bool start_is_partial;
  uint8_t* out;
  const float *scale, *bias;
  int32_t lo;
  const int32_t* rhs_zero_point;  // null: none, or not the last K-block
  const int32_t* token_sum;
  const Epilogue* epilogue;
  const int32_t* shift;  // not null: [tokens] to subtract, in place of the products with token_sum
};

// Four rows with any ending that e.kind is a quantized or f32 output; `acc` is [4][tokens] in memory.
void FinishRare(const Output& output, int32_t tokens, int32_t row, const int32_t* acc);

namespace {

// The vector of kernels/generic/gelu.h.
struct ZmmOps {
  using F32 = F32x16;
  static F32 Set(float x) { return _mm512_set1_ps(x); }
  // The lesser magnitude, its sign cleared.
  static F32 MinAbs(F32 x, F32 y) { return _mm512_range_ps(x, y, 0x0a); }
  static F32 Add(F32 x, F32 y) { return _mm512_add_ps(x, y); }
  static F32 Sub(F32 x, F32 y) { return _mm512_sub_ps(x, y); }
  static F32 Min(F32 x, F32 y) { return _mm512_min_ps(x, y); }
  static F32 Max(F32 x, F32 y) { return _mm512_max_ps(x, y); }
  static F32 Fma(F32 x, F32 y, F32 z) { return _mm512_fmadd_ps(x, y, z); }
  static F32 FnMadd(F32 x, F32 y, F32 z) { return _mm512_fnmadd_ps(x, y, z); }
  static F32 AddExponent(F32 e, F32 t) {
    const __m512i shifted = _mm512_slli_epi32(_mm512_castps_si512(t), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(e), shifted));
  }
};

FASTEP_INLINE Ending EndingOf(const ProductArgs& args, bool dense) {
  const Epilogue& e = *args.epilogue;
  if (!args.last) return Ending::kPartial;
  if (e.kind == OutputKind::kInt32) return e.token_max != nullptr ? Ending::kI32Max : Ending::kI32;
  if (e.activation == Activation::kGelu && e.kind == OutputKind::kQuantU8 && e.bounded &&
      e.out_scale <= kCoarseGeluScale) {
    return e.planar ? Ending::kPlanarGeluU8 : Ending::kGeluU8;
  }
  if (e.activation == Activation::kGelu || e.activation == Activation::kGeluTanh) return Ending::kRare;
  if (e.token_scale != nullptr) {
    if (!dense || e.kind != OutputKind::kQuantU8 || !e.bounded) return Ending::kRare;
    return e.planar ? Ending::kPlanarTokenU8 : Ending::kTokenU8;
  }
  if (e.kind == OutputKind::kResidual) return Ending::kResidual;
  if (e.kind == OutputKind::kFloat) return Ending::kF32;
  if (!e.bounded) return Ending::kRare;
  if (e.kind == OutputKind::kQuantU8) return e.planar ? Ending::kPlanarU8 : Ending::kU8;
  return e.planar ? Ending::kRare : Ending::kS8;
}

FASTEP_INLINE Output OutputOf(const ProductArgs& args, int rows_per_group, bool dense) {
  const Epilogue& e = *args.epilogue;
  const size_t row = static_cast<size_t>(args.group_begin) * rows_per_group;
  const bool zero_points = args.last && e.rhs_zero_point != nullptr;
  return {EndingOf(args, dense),
          args.first ? e.acc_init + row : args.partial,
          !args.first,
          static_cast<uint8_t*>(args.last ? args.out : args.partial),
          e.scale + row,
          e.bias + row,
          e.lo,
          zero_points ? e.rhs_zero_point + row : nullptr,
          e.token_sum,
          &e,
          nullptr};
}

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

// One row of 16 V tokens of int32 to a planar row of bytes, saturated. Its order is just what packing gives (pack.cc);
// vectors that are not there become 0.
template <bool kSigned, int V>
FASTEP_INLINE U8x64 PackPlanarRow(const I32x16 (&q)[V]) {
  const __m512i zero = _mm512_setzero_si512();
  const __m512i lo = _mm512_packs_epi32(q[0], V > 1 ? q[V > 1 ? 1 : 0] : zero);
  const __m512i hi = V > 2 ? _mm512_packs_epi32(q[V > 2 ? 2 : 0], V > 3 ? q[V > 3 ? 3 : 0] : zero) : zero;
  return kSigned ? _mm512_packs_epi16(lo, hi) : _mm512_packus_epi16(lo, hi);
}

template <bool kSigned>
FASTEP_INLINE U8x64 ClampBelow(U8x64 bytes, __m512i lo) {
  return kSigned ? _mm512_max_epi8(bytes, lo) : _mm512_max_epu8(bytes, lo);
}

// clamp(rne(v)) for |v| < 2^31: by the saturation of PackBytes and, for relu, by `lo`.
template <bool kSigned>
FASTEP_INLINE U8x64 Quantize(const F32x16 (&v)[4], __m512i lo) {
  I32x16 q[4];
  FASTEP_UNROLL
  for (int r = 0; r < 4; ++r) q[r] = _mm512_cvtps_epi32(v[r]);
  return ClampBelow<kSigned>(PackBytes<kSigned>(q[0], q[1], q[2], q[3]), lo);
}

FASTEP_INLINE F32x16 Requantize(const Output& o, int32_t row, I32x16 acc) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), BroadcastF32(o.scale + row), BroadcastF32(o.bias + row));
}

FASTEP_INLINE F32x16 RequantizeByToken(const Output& o, int32_t row, int32_t token, I32x16 acc) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), _mm512_load_ps(o.epilogue->token_scale + token),
                         BroadcastF32(o.bias + row));
}

// 16 values of a quantized output, not yet rounded. kByToken: one factor per token, attention's normalization.
enum class Form { kByRow, kByToken, kGelu };
template <Form kForm>
FASTEP_INLINE F32x16 ValueOf(const Output& o, int32_t row, int32_t token, I32x16 acc) {
  if constexpr (kForm == Form::kByToken) return RequantizeByToken(o, row, token, acc);
  const F32x16 y = Requantize(o, row, acc);
  if constexpr (kForm == Form::kByRow) return y;
  const F32x16 scale = _mm512_set1_ps(o.epilogue->out_scale), zero_point = _mm512_set1_ps(o.epilogue->out_zero_point);
  return _mm512_fmadd_ps(CoarseGeluErf<ZmmOps>(y), scale, zero_point);
}

template <Form kForm, bool kSigned, int V>
FASTEP_INLINE void StoreQuads(const Output& o, int32_t row, const I32x16 (&acc)[4][V]) {
  const __m512i lo = _mm512_set1_epi8(static_cast<char>(o.lo));
  uint8_t* out = o.out + static_cast<size_t>(row) * (kLanes * V);
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    F32x16 y[4];
    FASTEP_UNROLL
    for (int r = 0; r < 4; ++r) y[r] = ValueOf<kForm>(o, row + r, v * kLanes, acc[r][v]);
    Store(out + v * 64, Quantize<kSigned>(y, lo));
  }
}

template <Form kForm, int V>
FASTEP_INLINE void StorePlanar(const Output& o, int32_t row, const I32x16 (&acc)[4][V]) {
  const __m512i lo = _mm512_set1_epi8(static_cast<char>(o.lo));
  uint8_t* out = o.out + static_cast<size_t>(row) * kPlanarRowBytes;
  FASTEP_UNROLL
  for (int r = 0; r < 4; ++r) {
    I32x16 q[V];
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) q[v] = _mm512_cvtps_epi32(ValueOf<kForm>(o, row + r, v * kLanes, acc[r][v]));
    Store(out + r * kPlanarRowBytes, ClampBelow<false>(PackPlanarRow<false>(q), lo));
  }
}

template <int V>
FASTEP_INLINE void StoreF32(const Output& o, int32_t row, const I32x16 (&acc)[4][V]) {
  uint8_t* out = o.out + static_cast<size_t>(row) * (64 * V);
  // Without relu the lower bound is minus infinity.
  const F32x16 lo = _mm512_set1_ps(o.epilogue->activation == Activation::kRelu ? 0.0f : -__builtin_inff());
  FASTEP_UNROLL
  for (int i = 0; i < 4 * V; ++i) {
    const F32x16 y = _mm512_max_ps(Requantize(o, row + i / V, acc[i / V][i % V]), lo);
    Store(out + i * 64, _mm512_castps_si512(y));
  }
}

// Added to what is there.
template <int V>
FASTEP_INLINE void StoreResidual(const Output& o, int32_t row, const I32x16 (&acc)[4][V]) {
  auto* out = reinterpret_cast<float*>(o.out) + static_cast<size_t>(row) * (kLanes * V);
  FASTEP_UNROLL
  for (int i = 0; i < 4 * V; ++i) {
    const F32x16 y = Requantize(o, row + i / V, acc[i / V][i % V]);
    _mm512_store_ps(out + i * kLanes, _mm512_add_ps(_mm512_load_ps(out + i * kLanes), y));
  }
}

template <int V>
FASTEP_INLINE void StoreI32(uint8_t* out, int32_t row, const I32x16 (&acc)[4][V]) {
  out += static_cast<size_t>(row) * (64 * V);
  FASTEP_UNROLL
  for (int i = 0; i < 4 * V; ++i) Store(out + i * 64, acc[i / V][i % V]);
}

template <int V>
FASTEP_INLINE void UpdateMax(const Output& o, const I32x16 (&acc)[4][V]) {
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    int32_t* at = o.epilogue->token_max + v * kLanes;
    const I32x16 first = _mm512_max_epi32(acc[0][v], acc[1][v]), last = _mm512_max_epi32(acc[2][v], acc[3][v]);
    Store(at, _mm512_max_epi32(Load(at), _mm512_max_epi32(first, last)));
  }
}

// Zero points of values are all the same: their products with token_sum need be taken once per call. True if so, which
// writes `shift`.
template <int V>
FASTEP_INLINE bool FindShift(const Output& o, int32_t rows, int32_t (&shift)[kLanes * V]) {
  const I32x16 first = Broadcast32(o.rhs_zero_point);
  for (int32_t row = 0; row < rows; row += kRowStep) {
    if (_mm512_cmpneq_epi32_mask(first, _mm512_loadu_si512(o.rhs_zero_point + row)) != 0) return false;
  }
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    Store(shift + v * kLanes, _mm512_mullo_epi32(first, _mm512_loadu_si512(o.token_sum + v * kLanes)));
  }
  return true;
}

template <int V>
FASTEP_INLINE void SubtractShift(const Output& o, I32x16 (&acc)[4][V]) {
  FASTEP_UNROLL
  for (int i = 0; i < 4 * V; ++i)
    acc[i / V][i % V] = _mm512_sub_epi32(acc[i / V][i % V], Load(o.shift + i % V * kLanes));
}

template <int V>
FASTEP_INLINE void SubtractZeroPoints(const Output& o, int32_t row, I32x16 (&acc)[4][V]) {
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) {
    const I32x16 sum = _mm512_loadu_si512(o.token_sum + v * kLanes);
    FASTEP_UNROLL
    for (int r = 0; r < 4; ++r) {
      acc[r][v] = _mm512_sub_epi32(acc[r][v], _mm512_mullo_epi32(Broadcast32(o.rhs_zero_point + row + r), sum));
    }
  }
}

// Start values of R rows.
template <int R, int V>
FASTEP_INLINE void Begin(const Output& o, int32_t row, I32x16 (&acc)[R][V]) {
  if (!o.start_is_partial) {
    FASTEP_UNROLL
    for (int i = 0; i < R * V; ++i) acc[i / V][i % V] = Broadcast32(o.start + row + i / V);
  } else {
    const int32_t* partial = o.start + static_cast<size_t>(row) * (kLanes * V);
    FASTEP_UNROLL
    for (int i = 0; i < R * V; ++i) acc[i / V][i % V] = Load(partial + i * kLanes);
  }
}

// Four rows, `row` (a multiple of 4) and the next, of which this K-block is done.
template <bool kDense, int V>
FASTEP_INLINE void Finish(const Output& o, int32_t row, I32x16 (&acc)[4][V]) {
  if (kDense && o.rhs_zero_point != nullptr) {
    o.shift != nullptr ? SubtractShift<V>(o, acc) : SubtractZeroPoints<V>(o, row, acc);
  }
  switch (o.ending) {
    case Ending::kPartial:
    case Ending::kI32:
      return StoreI32<V>(o.out, row, acc);
    case Ending::kI32Max:
      if constexpr (kDense) UpdateMax<V>(o, acc);
      return StoreI32<V>(o.out, row, acc);
    case Ending::kU8:
      return StoreQuads<Form::kByRow, false>(o, row, acc);
    case Ending::kPlanarU8:
      return StorePlanar<Form::kByRow>(o, row, acc);
    case Ending::kS8:
      return StoreQuads<Form::kByRow, true>(o, row, acc);
    case Ending::kF32:
      return StoreF32<V>(o, row, acc);
    case Ending::kResidual:
      return StoreResidual<V>(o, row, acc);
    case Ending::kTokenU8:
      if constexpr (kDense) return StoreQuads<Form::kByToken, false>(o, row, acc);
      return;
    case Ending::kPlanarTokenU8:
      if constexpr (kDense) return StorePlanar<Form::kByToken>(o, row, acc);
      return;
    case Ending::kGeluU8:
      return StoreQuads<Form::kGelu, false>(o, row, acc);
    case Ending::kPlanarGeluU8:
      return StorePlanar<Form::kGelu>(o, row, acc);
    case Ending::kRare: {
      alignas(64) uint8_t memory[4 * 64 * V];
      StoreI32<V>(memory, 0, acc);
      return FinishRare(o, kLanes * V, row, reinterpret_cast<const int32_t*>(memory));
    }
  }
}

}  // namespace
}  // namespace fastep::avx512vnni
