// The op contract's arithmetic (docs/op-contract.md), written as it stands there: no tiles, no tables, no shared code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fuzz/case.h"

namespace fastep::fuzz {

// sum_k (x - x_zero_point)(W - w_zero_point), [m, n].
std::vector<int64_t> Accumulators(const Case& c);

// Compares an output [m, n] of the case's y type, as bytes, with the contract. Exact without activation and with ReLU;
// GELU within the bound that its kernel states. Returns what is wrong; empty: nothing.
std::string CheckOutput(const Case& c, const std::vector<int64_t>& accumulators, const std::vector<uint8_t>& y);

}  // namespace fastep::fuzz
