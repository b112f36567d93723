// What this core can do at this moment: the yardstick of every figure, measured between the timings of the kernels.
#pragma once

#include <cstdint>
#include <string>

#include "core/tier.h"

namespace fastep::bench {

// CPU time of this thread, so that the time slices of other programs do not count.
double ThreadSeconds();

// Core cycles per second, from a chain of dependent multiplications. (Additions of constants vanish in newer CPUs.)
double MeasureHertz();

// Products per second of the tier's product instruction on registers alone: vpdpbusd zmm or ymm. 0 for tiers without
// one.
double MeasurePeak(Tier tier);

// As /proc/cpuinfo names it.
std::string CpuModel();

}  // namespace fastep::bench
