// The numbers of core/cost_model.cc.
#pragma once

#include "bench/sweep.h"

namespace fastep::bench {

// Prints, per kind, the cycles per token of a row group and of a block: the line through the times of several
// densities.
void PrintCostTable(const Options& options);

}  // namespace fastep::bench
