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

// Of one row, at token t.
template <ScaleBy kScale = ScaleBy::kRow>
FASTEP_INLINE F32x8 Dequantize(const Epilogue& e, int32_t row, int32_t t, I32x8 acc) {
  const F32x8 scale = kScale == ScaleBy::kRow ? _mm256_broadcast_ss(e.scale + row) : _mm256_loadu_ps(e.token_scale + t);
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc), scale, _mm256_broadcast_ss(e.bias + row));
}

// GELU of what becomes a byte.
template <Activation kActivation, bool kCoarse>
FASTEP_INLINE F32x8 ActivateForBytes(F32x8 v) {
  if constexpr (!kCoarse) return Activate<kActivation>(v);
  return kActivation == Activation::kGelu ? CoarseGeluErf<YmmOps>(v) : CoarseGeluTanh<YmmOps>(v);
}

// The clamp comes before the rounding, so that any float has an integer. Relu is in the clamp. Without it the packing
// to bytes, which saturates, is all that is needed.
template <Activation kActivation, bool kCoarse, ScaleBy kScale, bool kClamp>
FASTEP_INLINE I32x8 Quantize(const Epilogue& e, int32_t row, int32_t t, I32x8 acc) {
  F32x8 v = Dequantize<kScale>(e, row, t, acc);
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

// Sums of one row, with the correction for zero points of the weights.
FASTEP_INLINE I32x8 LoadSums(const Epilogue& e, const int32_t* acc, int32_t row, int32_t t) {
  const I32x8 sums = LoadYmm(acc + t);
  if (e.rhs_zero_point == nullptr) return sums;
  return _mm256_sub_epi32(sums, _mm256_mullo_epi32(_mm256_set1_epi32(e.rhs_zero_point[row]), LoadYmm(e.token_sum + t)));
}

// Rows [row, row + 4) of the layer; `acc` [4][tokens]; `out` is where their output starts.
template <Activation kActivation, bool kCoarse, ScaleBy kScale, bool kClamp>
void StoreQuantized(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, void* out) {
  const bool is_signed = e.kind == OutputKind::kQuantS8;
  uint8_t* bytes = static_cast<uint8_t*>(out);
  for (int32_t t = 0; t < tokens; t += kLanes) {
    I32x8 q[kEpilogueRows];
#pragma GCC unroll 4
    for (int r = 0; r < kEpilogueRows; ++r) {
      q[r] = Quantize<kActivation, kCoarse, kScale, kClamp>(e, row + r, t, LoadSums(e, acc + r * tokens, row + r, t));
    }
    StoreYmm(bytes + t * kEpilogueRows, InterleaveRows(q, is_signed));
  }
}

template <Activation kActivation, ScaleBy kScale = ScaleBy::kRow>
void StoreFloat(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, void* out) {
  float* values = static_cast<float*>(out);
  for (int r = 0; r < kEpilogueRows; ++r) {
    for (int32_t t = 0; t < tokens; t += kLanes) {
      const I32x8 sums = LoadSums(e, acc + r * tokens, row + r, t);
      _mm256_storeu_ps(values + r * tokens + t, Activate<kActivation>(Dequantize<kScale>(e, row + r, t, sums)));
    }
  }
}

// Added to what is there.
void StoreResidual(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, void* out) {
  float* values = static_cast<float*>(out);
  for (int r = 0; r < kEpilogueRows; ++r) {
    for (int32_t t = 0; t < tokens; t += kLanes) {
      float* to = values + r * tokens + t;
      const F32x8 y = Dequantize(e, row + r, t, LoadSums(e, acc + r * tokens, row + r, t));
      _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), y));
    }
  }
}

// `acc` may be `out` itself.
void StoreInt32(const Epilogue& e, const int32_t* acc, int32_t row, int32_t tokens, void* out) {
  int32_t* values = static_cast<int32_t*>(out);
  for (int r = 0; r < kEpilogueRows; ++r) {
    for (int32_t t = 0; t < tokens; t += kLanes) {
      StoreYmm(values + r * tokens + t, LoadSums(e, acc + r * tokens, row + r, t));
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
  if (e.kind == OutputKind::kResidual) return StoreResidual;
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
