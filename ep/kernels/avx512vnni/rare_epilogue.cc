// Epilogues that are called once per four rows instead of being part of every loop: GELU (24 operations per element,
// what 96 products cost) and values that may not fit int32 before the clamp.
#include "kernels/avx512vnni/epilogue.h"

namespace fastep::avx512vnni {
namespace {

// Relu is in the lower clamp of a quantized output; here it is never a float's.
template <Activation kActivation, bool kCoarse>
FASTEP_INLINE F32x16 Activate(F32x16 v) {
  if constexpr (kActivation == Activation::kGelu) return kCoarse ? CoarseGeluErf<ZmmOps>(v) : GeluErf<ZmmOps>(v);
  if constexpr (kActivation == Activation::kGeluTanh) return kCoarse ? CoarseGeluTanh<ZmmOps>(v) : GeluTanh<ZmmOps>(v);
  return v;
}

// fma(acc, scale, bias), the scale of the row or of the tokens.
FASTEP_INLINE F32x16 Scaled(const Output& o, int32_t row, int32_t token, const int32_t* acc) {
  if (o.epilogue->token_scale != nullptr) return RequantizeByToken(o, row, token, Load(acc));
  return Requantize(o, row, Load(acc));
}

template <Activation kActivation>
void FinishFloat(const Output& o, int32_t tokens, int32_t row, const int32_t* acc) {
  float* out = reinterpret_cast<float*>(o.out) + static_cast<size_t>(row) * tokens;
  for (int r = 0; r < 4; ++r) {
    for (int32_t t = 0; t < tokens; t += kLanes, acc += kLanes, out += kLanes) {
      _mm512_store_ps(out, Activate<kActivation, false>(Scaled(o, row + r, t, acc)));
    }
  }
}

// The conversion would turn what is too large into the lowest integer. What is too small may become just that.
template <Activation kActivation, bool kCoarse>
FASTEP_INLINE F32x16 BelowInt32(const Output& o, int32_t row, int32_t token, const int32_t* acc) {
  const Epilogue& e = *o.epilogue;
  F32x16 y = Scaled(o, row, token, acc);
  if constexpr (kActivation != Activation::kNone) {
    y = _mm512_fmadd_ps(Activate<kActivation, kCoarse>(y), _mm512_set1_ps(e.out_scale),
                        _mm512_set1_ps(e.out_zero_point));
  }
  return _mm512_min_ps(y, _mm512_set1_ps(static_cast<float>(e.hi)));
}

template <Activation kActivation, bool kCoarse, bool kSigned>
void FinishQuads(const Output& o, int32_t tokens, int32_t row, const int32_t* acc) {
  const __m512i lo = _mm512_set1_epi8(static_cast<char>(o.lo));
  uint8_t* out = o.out + static_cast<size_t>(row) * tokens;
  for (int32_t t = 0; t < tokens; t += kLanes) {
    F32x16 y[4];
    FASTEP_UNROLL
    for (int r = 0; r < 4; ++r) y[r] = BelowInt32<kActivation, kCoarse>(o, row + r, t, acc + r * tokens + t);
    Store(out + t * 4, Quantize<kSigned>(y, lo));
  }
}

template <Activation kActivation, bool kCoarse, bool kSigned>
void FinishPlanar(const Output& o, int32_t tokens, int32_t row, const int32_t* acc) {
  const __m512i lo = _mm512_set1_epi8(static_cast<char>(o.lo));
  for (int r = 0; r < 4; ++r, ++row) {
    I32x16 q[kMaxTileTokens / kLanes];
    FASTEP_UNROLL
    for (int32_t t = 0; t < kMaxTileTokens; t += kLanes) {
      q[t / kLanes] = _mm512_setzero_si512();
      if (t >= tokens) continue;
      q[t / kLanes] = _mm512_cvtps_epi32(BelowInt32<kActivation, kCoarse>(o, row, t, acc + r * tokens + t));
    }
    Store(o.out + static_cast<size_t>(row) * kPlanarRowBytes, ClampBelow<kSigned>(PackPlanarRow<kSigned>(q), lo));
  }
}

template <Activation kActivation, bool kCoarse, bool kSigned>
void FinishBytes(const Output& o, int32_t tokens, int32_t row, const int32_t* acc) {
  if (o.epilogue->planar) return FinishPlanar<kActivation, kCoarse, kSigned>(o, tokens, row, acc);
  FinishQuads<kActivation, kCoarse, kSigned>(o, tokens, row, acc);
}

template <Activation kActivation, bool kCoarse>
void FinishQuantized(const Output& o, int32_t tokens, int32_t row, const int32_t* acc) {
  if (o.epilogue->kind == OutputKind::kQuantU8) return FinishBytes<kActivation, kCoarse, false>(o, tokens, row, acc);
  FinishBytes<kActivation, kCoarse, true>(o, tokens, row, acc);
}

template <Activation kActivation>
void FinishAny(const Output& o, int32_t tokens, int32_t row, const int32_t* acc) {
  if (o.epilogue->kind == OutputKind::kFloat) return FinishFloat<kActivation>(o, tokens, row, acc);
  const bool coarse = kActivation != Activation::kNone && o.epilogue->out_scale <= kCoarseGeluScale;
  if (coarse) return FinishQuantized<kActivation, true>(o, tokens, row, acc);
  FinishQuantized<kActivation, false>(o, tokens, row, acc);
}

}  // namespace

void FinishRare(const Output& output, int32_t tokens, int32_t row, const int32_t* acc) {
  switch (output.epilogue->activation) {
    case Activation::kGelu:
      return FinishAny<Activation::kGelu>(output, tokens, row, acc);
    case Activation::kGeluTanh:
      return FinishAny<Activation::kGeluTanh>(output, tokens, row, acc);
    case Activation::kNone:
    case Activation::kRelu:
      return FinishAny<Activation::kNone>(output, tokens, row, acc);
  }
}

}  // namespace fastep::avx512vnni
