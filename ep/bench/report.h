// Tables and JSON of the benchmark's results.
#pragma once

#include <vector>

#include "bench/sweep.h"

namespace fastep::bench {

void PrintTable(const Options& options, const std::vector<Cell>& cells);
void PrintJson(const Options& options, const std::vector<Cell>& cells);

}  // namespace fastep::bench
