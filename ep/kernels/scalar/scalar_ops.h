// The "vector" of the headers in kernels/generic: one float.
#pragma once

#include <stdint.h>

namespace fastep {
namespace {

struct ScalarOps {
  using F32 = float;
  static F32 Set(float x) { return x; }
  static F32 MinAbs(F32 x, F32 y) { return Min(__builtin_fabsf(x), y); }
  static F32 Add(F32 x, F32 y) { return x + y; }
  static F32 Sub(F32 x, F32 y) { return x - y; }
  static F32 Floor(F32 x) { return __builtin_floorf(x); }
  static F32 Min(F32 x, F32 y) { return x < y ? x : y; }
  static F32 Max(F32 x, F32 y) { return x > y ? x : y; }
  static F32 Fma(F32 x, F32 y, F32 z) { return __builtin_fmaf(x, y, z); }
  static F32 FnMadd(F32 x, F32 y, F32 z) { return __builtin_fmaf(-x, y, z); }
  static F32 AddExponent(F32 e, F32 t) {
    uint32_t e_bits, t_bits;
    __builtin_memcpy(&e_bits, &e, 4);
    __builtin_memcpy(&t_bits, &t, 4);
    e_bits += t_bits << 23;
    __builtin_memcpy(&e, &e_bits, 4);
    return e;
  }
};

}  // namespace
}  // namespace fastep
