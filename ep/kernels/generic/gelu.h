// The one GELU of all tiers, so that every tier gives the same bits.
//
//   gelu(x)      = x/2 (1 + erf(x / sqrt 2))                              (Hendrycks, Gimpel: arXiv 1606.08415)
//   gelu_tanh(x) = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
//
// Both have the form gelu(x) = max(x, 0) - a p(a), a = |x|, where p(a) is the tail: 1 - Phi(a) in the first case and
// 1 / (1 + exp(2 sqrt(2/pi) (a + 0.044715 a^3))) in the second. -log2 p is smooth and close to a parabola, so
//
//   r = -Q(a)            Q: polynomial, a weighted minimax fit of -log2 p
//   p = 2^r              FineExp2 of exp2.h
//
// The forms differ only in the coefficients of Q. No division, no table, no branch: 24 (erf) or 25 (tanh) operations.
//
// Error, against double, for every finite float x: |gelu(x) - exact| <= kGeluErrorBound * max(|x|, 1). Its parts: the
// fit of Q (erf 0.7e-8, tanh 3.1e-8), 2^f (9.4e-8 relative, and p <= 1/2), the roundings of r, of p and of the result.
// Largest error found over all floats: erf 8.1e-8, tanh 9.9e-8. gelu(0) = 0, gelu(inf) = inf, and 0 for every x <= -14.
// x is never NaN.
//
// Where the result becomes a byte and a step of that is at least 1 / kCoarseGeluScale, p itself is a polynomial of
// degree 6 on [0, kCoarse..Clamp], fitted such that a p(a) has the smallest largest error: 14 operations. The whole of
// GELU was a fifth of the time of an encoder with 4x4 weights, 80 % sparse. Error, for every finite x: at most
// kCoarseGeluErrorBound (erf 1.32e-4, tanh 1.10e-4), relative to max(|x|, 1), so 7 % of a step.
//
// No product meets a sum outside of Fma, so that a compiler that contracts changes nothing. Rounding mode: to nearest
// even.
#pragma once

#include "kernels/generic/exp2.h"

namespace fastep {

constexpr float kGeluErrorBound = 1.1920929e-7f;  // 2^-23

// Coefficients of -Q, lowest first.
constexpr float kGeluErfTail[] = {-1.0f,           -1.15110993f,     -0.459170043f,    -0.0526079237f,
                                  0.00722277258f,  -0.000259190769f, -0.000134896429f, 2.83540339e-05f,
                                  -1.88941408e-06f};
constexpr float kGeluTanhTail[] = {-1.0f,          -1.15107334f,    -0.459534496f,   -0.0503141843f,  0.00554041564f,
                                   0.00204342278f, -0.00144340622f, 0.000108368804f, 3.28968345e-05f, -4.38375309e-06f};

// Q(64) > 127 already, and both polynomials rise from 0 to there.
constexpr float kGeluClamp = 64.0f;
constexpr float kLowestExponent = -127.0f;

constexpr float kCoarseGeluErrorBound = 1.34e-4f;
constexpr float kCoarseGeluScale = 512.0f;  // the largest out_scale, 1 / y_scale, for which the coarse form is used
constexpr float kCoarseGeluErf[] = {0.498741269f,   -0.382411748f, -0.056794405f,   0.150873244f,
                                    -0.0619048811f, 0.0107750567f, -0.000708657724f};
constexpr float kCoarseGeluErfClamp = 3.85f;
constexpr float kCoarseGeluTanh[] = {0.498635054f,   -0.382617861f, -0.0552558303f,  0.149325505f,
                                     -0.0613268688f, 0.0106870523f, -0.000704425795f};
constexpr float kCoarseGeluTanhClamp = 3.8f;

// `Ops` is private to the tier (in its anonymous namespace, so that nothing instantiated here has a linker symbol to
// share):
//   F32                 a vector of floats
//   Set(float)          all lanes
//   MinAbs(x, y)        Min(|x|, y), y >= 0
//   Add, Sub(x, y)
//   Min, Max(x, y)      as x86 does it: x < y ? x : y and x > y ? x : y
//   Fma(x, y, z)        x * y + z, one rounding
//   FnMadd(x, y, z)     z - x * y, one rounding
//   AddExponent(e, t)   the float whose bits are bits(e) + (bits(t) << 23), modulo 2^32
template <class Ops, int kTerms>
[[gnu::always_inline]] static inline typename Ops::F32 GeluWithTail(typename Ops::F32 x, const float (&tail)[kTerms]) {
  using F32 = typename Ops::F32;
  const F32 a = Ops::MinAbs(x, Ops::Set(kGeluClamp));

  F32 r = Ops::Set(tail[kTerms - 1]);
#pragma GCC unroll 16
  for (int i = kTerms - 2; i >= 0; --i) r = Ops::Fma(r, a, Ops::Set(tail[i]));
  r = Ops::Max(r, Ops::Set(kLowestExponent));

  const F32 p = FineExp2<Ops>(r);

  return Ops::FnMadd(a, p, Ops::Max(x, Ops::Set(0.0f)));
}

template <class Ops, int kTerms>
[[gnu::always_inline]] static inline typename Ops::F32 CoarseGelu(typename Ops::F32 x, const float (&tail)[kTerms],
                                                                  float clamp) {
  using F32 = typename Ops::F32;
  const F32 a = Ops::MinAbs(x, Ops::Set(clamp));
  F32 p = Ops::Set(tail[kTerms - 1]);
#pragma GCC unroll 16
  for (int i = kTerms - 2; i >= 0; --i) p = Ops::Fma(p, a, Ops::Set(tail[i]));
  return Ops::FnMadd(a, p, Ops::Max(x, Ops::Set(0.0f)));
}

template <class Ops>
[[gnu::always_inline]] static inline typename Ops::F32 CoarseGeluErf(typename Ops::F32 x) {
  return CoarseGelu<Ops>(x, kCoarseGeluErf, kCoarseGeluErfClamp);
}

template <class Ops>
[[gnu::always_inline]] static inline typename Ops::F32 CoarseGeluTanh(typename Ops::F32 x) {
  return CoarseGelu<Ops>(x, kCoarseGeluTanh, kCoarseGeluTanhClamp);
}

template <class Ops>
[[gnu::always_inline]] static inline typename Ops::F32 GeluErf(typename Ops::F32 x) {
  return GeluWithTail<Ops>(x, kGeluErfTail);
}

template <class Ops>
[[gnu::always_inline]] static inline typename Ops::F32 GeluTanh(typename Ops::F32 x) {
  return GeluWithTail<Ops>(x, kGeluTanhTail);
}

}  // namespace fastep
