// What this core can do at this moment: the yardstick of every figure, measured between the timings of the kernels.
#pragma once

#include <cstdint>
#include <string>

#include "core/tier.h"

namespace fastep::bench {

double NowSeconds();

// Core cycles per second, from a chain of dependent additions (one per cycle).
double MeasureHertz();

// Products per second of the tier's product instruction on registers alone: vpdpbusd zmm or ymm. 0 for tiers without
// one.
double MeasurePeak(Tier tier);

// As /proc/cpuinfo names it.
std::string CpuModel();

}  // namespace fastep::bench
