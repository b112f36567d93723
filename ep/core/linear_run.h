// One Run of a packed linear on row-major activations: pack lhs tiles, multiply, unpack; all in parallel tasks.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "core/epilogue_params.h"
#include "core/packed_rhs.h"
#include "core/parallel.h"

namespace fastep {

struct LinearRun {
  const KernelTable& kernels;
  const PackedRhs& rhs;
  Epilogue epilogue;  // without token_sum
  int64_t n, k, m;
  const uint8_t* x;      // [m, k]
  uint8_t flip;          // 0x80: x is s8
  int32_t x_zero_point;  // after flip
  uint8_t* y;            // [m, n], elements of epilogue.kind
};

void RunLinear(const LinearRun& run, Parallel& parallel, Arena& arena);

}  // namespace fastep
