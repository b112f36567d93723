// The weights of one layer in the one form that everything is packed from.
#pragma once

#include <cstdint>
#include <vector>

#include "core/linear.h"

namespace fastep {

// W [n, k] row-major. u8 sources are shifted: value - 128, zero_point - 128.
struct Weights {
  int64_t n = 0;
  int64_t k = 0;
  std::vector<int8_t> values;
  std::vector<int32_t> zero_point;  // [n]; empty: all are 0

  const int8_t* Row(int64_t n_index) const { return values.data() + n_index * k; }
};

// Checks the whole spec (shapes, gaps, scales, bias, zero points; docs/op-contract.md) and decodes its weight.
// Throws fastep::Error that names the node, what was expected and what was found.
Weights DecodeWeights(const LinearSpec& spec);

}  // namespace fastep
