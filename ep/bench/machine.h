// What a benchmark needs to know of this machine beside core/machine.h.
#pragma once

#include <string>

#include "core/machine.h"

namespace fastep::bench {

// Core cycles per second, from a chain of dependent multiplications. (Additions of constants vanish in newer CPUs.)
double MeasureHertz();

// As /proc/cpuinfo names it.
std::string CpuModel();

}  // namespace fastep::bench
