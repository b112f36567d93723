// Whole encoders in one thread: their time, its parts, and the share of what products alone would take.
#pragma once

#include "bench/sweep.h"

namespace fastep::bench {

void PrintPlans(const Options& options);

}  // namespace fastep::bench
