// The one 2^x of softmax, so that every tier gives the same bits.
//
// Softmax wants e = rne(255 * 2^x) for x <= 0, an integer from 0 to 255. Its argument here is x + log2(255), in
// [-2, log2(255)]: at -2 and below e is 0 anyway, so nothing underflows and infinities and hidden keys need no branch.
//
//   x = n + f, |f| <= 1/2;  2^f: polynomial of degree 3, minimax in relative error;  n goes into the exponent
//
// Relative error: at most 7.5e-5 by the fit, and 2e-7 by roundings; e is then off the exact 255 * 2^x by at most
// 1/2 + 0.0192.
//
// No product meets a sum outside of Fma, so that a compiler that contracts changes nothing. `Ops` as in gelu.h.
#pragma once

namespace fastep {

constexpr float kExp2ErrorBound = 7.6e-5f;

constexpr float kLog2Of255 = 7.9943534f;
constexpr float kExp2Lowest = -2.0f;
constexpr float kExp2Fit[] = {0.99992806f, 0.69326097f, 0.24261113f, 0.05517167f};

// x in [kExp2Lowest, kLog2Of255].
template <class Ops>
[[gnu::always_inline]] static inline typename Ops::F32 Exp2(typename Ops::F32 x) {
  using F32 = typename Ops::F32;
  // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits of the sum.
  const F32 to_integer = Ops::Set(12582912.0f);
  const F32 shifted = Ops::Add(x, to_integer);
  const F32 f = Ops::Sub(x, Ops::Sub(shifted, to_integer));
  F32 e = Ops::Fma(Ops::Set(kExp2Fit[3]), f, Ops::Set(kExp2Fit[2]));
  e = Ops::Fma(e, f, Ops::Set(kExp2Fit[1]));
  e = Ops::Fma(e, f, Ops::Set(kExp2Fit[0]));
  return Ops::AddExponent(e, shifted);
}

}  // namespace fastep
