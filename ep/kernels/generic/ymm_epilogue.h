// From int32 sums to outputs, four rows x eight tokens at a time (256-bit tiers).
#pragma once

#include "kernels/generic/ymm_ops.h"

namespace fastep {
namespace {

constexpr int kEpilogueRows = 4;

template <Activation kActivation>
FASTEP_INLINE F32x8 Activate(F32x8 v) {
  switch (kActivation) {
    case Activation::kRelu:
      return _mm256_max_ps(v, _mm256_setzero_ps());
    case Activation::kGelu:
      return GeluErf<YmmOps>(v);
    case Activation::kGeluTanh:
      return GeluTanh<YmmOps>(v);
    case Activation::kNone:
      return v;
  }
}

// The scale of fma(float(acc), scale, bias): one of each row, or one of each token.
enum class ScaleBy { kRow, kToken };

// What is the same for all tokens of one row. Stores may, for all that a compiler knows, change what it is read from.
template <ScaleBy kScale, bool kZeroPoints>
struct RowEpilogue {
  F32x8 scale, bias;
  I32x8 zero_point;
  const float* token_scale;
  const int32_t* token_sum;
  const int32_t* acc;

  // `sums` are those of this row.
  FASTEP_INLINE RowEpilogue(const Epilogue& e, int32_t row, const int32_t* sums)
      : scale(_mm256_setzero_ps()),
        bias(_mm256_broadcast_ss(e.bias + row)),
        zero_point(_mm256_setzero_si256()),
        token_scale(e.token_scale),
        token_sum(e.token_sum),
        acc(sums) {
    if constexpr (kScale == ScaleBy::kRow) scale = _mm256_broadcast_ss(e.scale + row);
    if constexpr (kZeroPoints) zero_point = _mm256_set1_epi32(e.rhs_zero_point[row]);
  }

  // At token t.
  FASTEP_INLINE F32x8 Dequantized(int32_t t) const {
    I32x8 sums = LoadYmm(acc + t);
    if constexpr (kZeroPoints) sums = _mm256_sub_epi32(sums, _mm256_mullo_epi32(zero_point, LoadYmm(token_sum + t)));
    const F32x8 factor = kScale == ScaleBy::kRow ? scale : _mm256_loadu_ps(token_scale + t);
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), factor, bias);
  }
};

// GELU of what becomes a byte.
template <Activation kActivation, bool kCoarse>
FASTEP_INLINE F32x8 ActivateForBytes(F32x8 v) {
  if constexpr (!kCoarse) return Activate<kActivation>(v);
  return kActivation == Activation::kGelu ? CoarseGeluErf<YmmOps>(v) : CoarseGeluTanh<YmmOps>(v);
}

// The clamp comes before the rounding, so that any float has an integer. Relu is in the clamp. Without it the packing
// to bytes, which saturates, is all that is needed.
template <Activation kActivation, bool kCoarse, bool kClamp>
FASTEP_INLINE I32x8 Quantize(const Epilogue& e, F32x8 v) {
  if constexpr (kActivation == Activation::kGelu || kActivation == Activation::kGeluTanh) {
    v = ActivateForBytes<kActivation, kCoarse>(v);
    v = _mm256_fmadd_ps(v, _mm256_set1_ps(e.out_scale), _mm256_set1_ps(e.out_zero_point));
  }
  if constexpr (kClamp) {
    v = _mm256_max_ps(v, _mm256_set1_ps(static_cast<float>(e.lo)));
    v = _mm256_min_ps(v, _mm256_set1_ps(static_cast<float>(e.hi)));
  }
  return _mm256_cvtps_epi32(v);
}

// Four rows of eight values to the bytes of one quad; what is beyond [0, 255] or [-128, 127] becomes their ends.
FASTEP_INLINE __m256i InterleaveRows(const I32x8 (&q)[kEpilogueRows], bool is_signed) {
  const __m256i words01 = _mm256_packs_epi32(q[0], q[1]);
  const __m256i words23 = _mm256_packs_epi32(q[2], q[3]);
  const __m256i bytes = is_signed ? _mm256_packs_epi16(words01, words23) : _mm256_packus_epi16(words01, words23);
  const __m256i by_token = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                                            0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm256_shuffle_epi8(bytes, by_token);
}

// One row of 32 tokens, saturated likewise: packing inside of 128-bit lanes leaves the order of a long PlanarRun.
FASTEP_INLINE __m256i PackLongRun(I32x8 a, I32x8 b, I32x8 c, I32x8 d, bool is_signed) {
  const __m256i ab = _mm256_packs_epi32(a, b), cd = _mm256_packs_epi32(c, d);
  return is_signed ? _mm256_packs_epi16(ab, cd) : _mm256_packus_epi16(ab, cd);
}

// The same of 16 tokens.
FASTEP_INLINE __m128i PackShortRun(I32x8 a, I32x8 b, bool is_signed) {
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(PackLongRun(a, b, a, b, is_signed), 0b1000));
}

// Rows [row, row + 4) of the layer; `acc` [4][tokens]; `out` is where their output starts.
template <Activation kActivation, bool kCoarse, ScaleBy kScale, bool kClamp, bool kZeroPoints>
FASTEP_INLINE void QuantizeRows(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, uint8_t* out) {
  using Row = RowEpilogue<kScale, kZeroPoints>;
  const bool is_signed = e.kind == OutputKind::kQuantS8;
  const Row rows[kEpilogueRows] = {
      {e, row, acc}, {e, row + 1, acc + tokens}, {e, row + 2, acc + 2 * tokens}, {e, row + 3, acc + 3 * tokens}};
  for (int32_t t = 0; t < tokens; t += kLanes) {
    I32x8 q[kEpilogueRows];
#pragma GCC unroll 4
    for (int r = 0; r < kEpilogueRows; ++r) {
      q[r] = Quantize<kActivation, kCoarse, kClamp>(e, rows[r].Dequantized(t));
    }
    StoreYmm(out + t * kEpilogueRows, InterleaveRows(q, is_signed));
  }
}

// The same, to a planar tile.
template <Activation kActivation, bool kCoarse, ScaleBy kScale, bool kClamp, bool kZeroPoints>
FASTEP_INLINE void QuantizePlanarRows(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens,
                                      uint8_t* out) {
  const bool is_signed = e.kind == OutputKind::kQuantS8;
  for (int r = 0; r < kEpilogueRows; ++r, out += tokens) {
    const RowEpilogue<kScale, kZeroPoints> of_row(e, row + r, acc + r * tokens);
    const auto q = [&](int32_t t) __attribute__((always_inline)) {
      return Quantize<kActivation, kCoarse, kClamp>(e, of_row.Dequantized(t));
    };
    int32_t t = 0;
    for (; t + kLongRun <= tokens; t += kLongRun) {
      StoreYmm(out + t, PackLongRun(q(t), q(t + 8), q(t + 16), q(t + 24), is_signed));
    }
    if (t < tokens) StoreXmm(out + t, PackShortRun(q(t), q(t + 8), is_signed));
  }
}

template <Activation kActivation, bool kCoarse, ScaleBy kScale, bool kClamp, bool kZeroPoints>
FASTEP_INLINE void StoreBytes(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, uint8_t* out) {
  if (e.planar) {
    QuantizePlanarRows<kActivation, kCoarse, kScale, kClamp, kZeroPoints>(e, acc, row, tokens, out);
  } else {
    QuantizeRows<kActivation, kCoarse, kScale, kClamp, kZeroPoints>(e, acc, row, tokens, out);
  }
}

template <Activation kActivation, bool kCoarse, ScaleBy kScale, bool kClamp>
void StoreQuantized(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, void* out) {
  uint8_t* bytes = static_cast<uint8_t*>(out);
  if (e.rhs_zero_point == nullptr) {
    StoreBytes<kActivation, kCoarse, kScale, kClamp, false>(e, acc, row, tokens, bytes);
  } else {
    StoreBytes<kActivation, kCoarse, kScale, kClamp, true>(e, acc, row, tokens, bytes);
  }
}

template <Activation kActivation, ScaleBy kScale, bool kZeroPoints, bool kAdd>
FASTEP_INLINE void StoreFloatRows(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, float* out) {
  for (int r = 0; r < kEpilogueRows; ++r) {
    const RowEpilogue<kScale, kZeroPoints> of_row(e, row + r, acc + r * tokens);
    for (int32_t t = 0; t < tokens; t += kLanes) {
      float* to = out + r * tokens + t;
      const F32x8 y = Activate<kActivation>(of_row.Dequantized(t));
      _mm256_storeu_ps(to, kAdd ? _mm256_add_ps(_mm256_loadu_ps(to), y) : y);
    }
  }
}

template <Activation kActivation, ScaleBy kScale = ScaleBy::kRow, bool kAdd = false>
void StoreFloat(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, void* out) {
  float* values = static_cast<float*>(out);
  if (e.rhs_zero_point == nullptr) {
    StoreFloatRows<kActivation, kScale, false, kAdd>(e, acc, row, tokens, values);
  } else {
    StoreFloatRows<kActivation, kScale, true, kAdd>(e, acc, row, tokens, values);
  }
}

// Only where the weights have zero points; `acc` may be `out` itself.
void StoreInt32(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, void* out) {
  int32_t* values = static_cast<int32_t*>(out);
  for (int r = 0; r < kEpilogueRows; ++r) {
    const I32x8 zero_point = _mm256_set1_epi32(e.rhs_zero_point[row + r]);
    for (int32_t t = 0; t < tokens; t += kLanes) {
      const I32x8 correction = _mm256_mullo_epi32(zero_point, LoadYmm(e.token_sum + t));
      StoreYmm(values + r * tokens + t, _mm256_sub_epi32(LoadYmm(acc + r * tokens + t), correction));
    }
  }
}

using StoreRowsFn = void (*)(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, void* out);

template <Activation kActivation, bool kCoarse = false, ScaleBy kScale = ScaleBy::kRow>
StoreRowsFn ChooseStoreQuantized(const Epilogue& e) {
  const int32_t lowest = e.kind == OutputKind::kQuantS8 ? -128 : 0;
  const bool clamp = !e.bounded || e.lo != lowest || e.hi != lowest + 255;
  return clamp ? StoreQuantized<kActivation, kCoarse, kScale, true>
               : StoreQuantized<kActivation, kCoarse, kScale, false>;
}

template <Activation kActivation>
StoreRowsFn ChooseStoreGelu(const Epilogue& e) {
  if (e.kind == OutputKind::kFloat) return StoreFloat<kActivation>;
  return e.out_scale <= kCoarseGeluScale ? ChooseStoreQuantized<kActivation, true>(e)
                                         : ChooseStoreQuantized<kActivation>(e);
}

StoreRowsFn ChooseStoreRows(const Epilogue& e) {
  if (e.kind == OutputKind::kInt32) return StoreInt32;
  if (e.kind == OutputKind::kResidual) return StoreFloat<Activation::kNone, ScaleBy::kRow, true>;
  const bool is_float = e.kind == OutputKind::kFloat;
  if (e.token_scale != nullptr) {
    constexpr auto kToken = ScaleBy::kToken;
    return is_float ? StoreFloat<Activation::kNone, kToken> : ChooseStoreQuantized<Activation::kNone, false, kToken>(e);
  }
  switch (e.activation) {
    case Activation::kRelu:
      return is_float ? StoreFloat<Activation::kRelu> : ChooseStoreQuantized<Activation::kNone>(e);
    case Activation::kGelu:
      return ChooseStoreGelu<Activation::kGelu>(e);
    case Activation::kGeluTanh:
      return ChooseStoreGelu<Activation::kGeluTanh>(e);
    case Activation::kNone:
      break;
  }
  return is_float ? StoreFloat<Activation::kNone> : ChooseStoreQuantized<Activation::kNone>(e);
}

constexpr size_t OutputBytes(OutputKind kind) {
  return kind == OutputKind::kQuantU8 || kind == OutputKind::kQuantS8 ? 1 : 4;
}

}  // namespace
}  // namespace fastep
