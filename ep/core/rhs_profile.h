// The real non-zero structure of a weight matrix, whatever blocks it was stored in.
#pragma once

#include <array>
#include <cstdint>

#include "core/kernel_table.h"
#include "core/weights.h"

namespace fastep {

struct RhsProfile {
  int64_t non_zeros = 0;
  // Blocks that each kind would have to store, without the padding of N.
  std::array<int64_t, kRhsKinds> blocks{};

  // Products in these blocks / products of an [n, k] weight, per kind.
  std::array<double, kRhsKinds> Densities(int64_t n, int64_t k) const;
};

RhsProfile ProfileRhs(const Weights& weights);

// Products per block: outputs x 4 inputs.
constexpr int BlockProducts(RhsKind kind) { return RowsPerGroup(kind) * 4; }

}  // namespace fastep
