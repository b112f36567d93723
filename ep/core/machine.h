// What this core can do at this moment: the yardstick of profiles and benchmarks, measured between what they time.
#pragma once

#include <cstddef>

#include "core/tier.h"

namespace fastep {

// CPU time of this thread, so that the time slices of other programs do not count.
double ThreadSeconds();

// Products per second that the instructions of the tier's kernels reach on registers alone: vpdpbusd, or vpmaddwd and
// vpaddd. 0 for tiers without such an instruction. Takes some 50 microseconds.
double MeasurePeak(Tier tier);

// Bytes per second that one thread reads of a buffer of this size, again and again: from memory, or from the cache that
// holds so much.
double MeasureReadRate(size_t bytes);

}  // namespace fastep
