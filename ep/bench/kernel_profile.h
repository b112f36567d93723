// Where the time of a plan goes: a tier's kernel table whose entries measure themselves.
#pragma once

#include <array>

#include "core/kernel_table.h"

namespace fastep::bench {

enum class Phase {
  kQuantized,  // products with a quantized output: Q, K, V
  kGelu,       // products with GELU
  kResidual,   // products added to a residual
  kScores,     // q k^T
  kPackKeys,
  kSoftmax,
  kWeightedSum,  // probabilities times values
  kNormStats,
  kNorm,
  kEmbed,
  kTransfer,  // between layouts: import, export, planar
  kCount
};
constexpr int kPhases = static_cast<int>(Phase::kCount);
const char* PhaseName(Phase phase);

// The same kernels, measured. For one thread; the table is one for all.
const KernelTable& ProfiledKernels(const KernelTable& kernels);

// Seconds per phase since the last call.
std::array<double, kPhases> TakeSeconds();

}  // namespace fastep::bench
