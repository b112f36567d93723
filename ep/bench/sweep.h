// The benchmark proper: layers of DistilBERT and MiniLM, patterns, token counts, outputs; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/layer.h"
#include "bench/stats.h"
#include "core/tier.h"

namespace fastep::bench {

struct Options {
  Tier tier;
  int rounds = 15;
  bool json = false;
  bool fit = false;
  bool plan = false;
  bool float_attention = false;
  std::string pattern;          // only patterns whose name contains this
  std::vector<int64_t> tokens;  // only these counts
};

struct Cell {
  Pattern pattern;
  Shape shape;
  int64_t tokens;
  bool accumulators;      // int32 output, else u8
  Spread micros;          // one product
  Spread share_of_peak;   // non-zero products per second / peak; 0 where the tier has no peak
  Spread macs_per_cycle;  // non-zero products per cycle
};

std::vector<Pattern> Patterns();
// Seconds of one product: the median of a few measurements, each of as many products as make the clock's resolution
// vanish.
double TimeOne(BenchLayer& layer, int64_t tokens, bool accumulators);
std::vector<Cell> RunSweep(const Options& options);

}  // namespace fastep::bench
