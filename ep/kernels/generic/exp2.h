// The one 2^x of softmax and GELU, so that every tier gives the same bits. Two forms: one for what becomes a byte, one
// for what stays float.
//
// Exp2: QAttention wants e = rne(255 * 2^x) for x <= 0, an integer from 0 to 255. Its argument here is x + log2(255),
// in
// [-2, log2(255)]: at -2 and below e is 0 anyway, so nothing underflows and infinities and hidden keys need no branch.
//
//   x = n + f, n = floor(x);  2^f: polynomial of degree 3, minimax in relative error;  n goes into the exponent
//
// Floor, because that is how AVX-512 takes n out of an exponent: one operation less than with |f| <= 1/2.
//
// Relative error: at most 7.5e-5 by the fit, and 2e-7 by roundings; e is then off the exact 255 * 2^x by at most
// 1/2 + 0.0192.
//
// FineExp2: any x in [-127, 127]; |f| <= 1/2 and a polynomial of degree 5 whose lowest coefficient is 1, so that -127
// gives exactly 0. Relative error for x >= -126: at most 9.4e-8 by the fit; half an ulp of the result, 6.0e-8; what the
// steps before round, 2.3e-8 (half an ulp of their results, halved with every f between them and the end). FAttention
// drops what is below 2^kFineExp2Lowest: 32768 of these together are less than a rounding of the row's sum, which is at
// least 1.
//
// No product meets a sum outside of Fma, so that a compiler that contracts changes nothing. `Ops` as in gelu.h.
#pragma once

namespace fastep {

constexpr float kExp2ErrorBound = 7.6e-5f;

constexpr float kLog2Of255 = 7.9943534f;
constexpr float kExp2Lowest = -2.0f;
constexpr float kExp2Fit[] = {0.999925196f, 0.695833564f, 0.226067141f, 0.0780245289f};

constexpr float kFineExp2ErrorBound = 1.8e-7f;
constexpr float kFineExp2Lowest = -64.0f;
constexpr float kFineExp2Fit[] = {1.0f, 0.693147004f, 0.240222469f, 0.0555071086f, 0.00967129134f, 0.00132695213f};

// Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits of the sum.
constexpr float kRoundToInt = 12582912.0f;

template <class Ops, int kTerms>
[[gnu::always_inline]] static inline typename Ops::F32 Exp2OfFraction(typename Ops::F32 f, const float (&fit)[kTerms]) {
  typename Ops::F32 e = Ops::Set(fit[kTerms - 1]);
#pragma GCC unroll 16
  for (int i = kTerms - 2; i >= 0; --i) e = Ops::Fma(e, f, Ops::Set(fit[i]));
  return e;
}

// x in [kExp2Lowest, kLog2Of255]. Besides what gelu.h lists, Ops::Floor(x).
template <class Ops>
[[gnu::always_inline]] static inline typename Ops::F32 Exp2(typename Ops::F32 x) {
  const typename Ops::F32 n = Ops::Floor(x);
  return Ops::AddExponent(Exp2OfFraction<Ops>(Ops::Sub(x, n), kExp2Fit), Ops::Add(n, Ops::Set(kRoundToInt)));
}

template <class Ops>
[[gnu::always_inline]] static inline typename Ops::F32 FineExp2(typename Ops::F32 x) {
  using F32 = typename Ops::F32;
  const F32 shifted = Ops::Add(x, Ops::Set(kRoundToInt));
  const F32 f = Ops::Sub(x, Ops::Sub(shifted, Ops::Set(kRoundToInt)));
  return Ops::AddExponent(Exp2OfFraction<Ops>(f, kFineExp2Fit), shifted);
}

}  // namespace fastep
