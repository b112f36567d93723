// One random layer with its activations, and the rule of the op contract that it breaks, if any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/linear.h"
#include "fuzz/random.h"

namespace fastep::fuzz {

// Owns what a LinearSpec points to, and the dense weight that the stored form stands for.
struct Case {
  LinearSpec spec;  // without its pointers: Spec() sets them
  int64_t m = 0;
  std::vector<uint8_t> x;       // [m, k], bytes of x_type
  std::vector<int32_t> weight;  // [n, k], values as the contract's W - w_zero_point
  std::vector<uint8_t> dense;   // [k, n], bytes; empty: sparse
  std::vector<int8_t> blocks;   // [n_blocks, block_rows, block_cols]
  std::vector<uint16_t> gaps;   // [n_blocks], narrowed to u8 by Spec() where gaps_are_u16 is false
  std::vector<uint8_t> gaps_u8;
  std::vector<float> w_scale;
  std::vector<uint8_t> w_zero_point;  // bytes of the weight's type
  std::vector<float> bias;
  std::string broken;  // the rule that the case breaks; empty: a legal case

  LinearSpec Spec() const;
  std::string Describe() const;
};

Case MakeCase(Random& random);

}  // namespace fastep::fuzz
