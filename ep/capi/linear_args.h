// A LinearSpec with C types.
#pragma once

#include "core/linear.h"

namespace fastep::capi {

// tests/kernels/capi.py mirrors it. Enumerations as in core/linear.h and core/kernel_table.h.
struct LinearArgs {
  const char* name;
  int64_t n, k;
  const void* dense;
  int32_t dense_is_unsigned;
  const int8_t* blocks;
  const void* block_gaps;
  int32_t gaps_are_u16;
  int64_t n_blocks, block_rows, block_cols;
  int32_t x_type;
  float x_scale;
  int32_t x_zero_point;
  const float* w_scale;
  int64_t w_scale_count;
  const void* w_zero_point;
  int64_t w_zero_point_count;
  const float* bias;
  int32_t activation;
  int32_t y_type;
  float y_scale;
  int32_t y_zero_point;
};

inline WeightSource ToWeight(const LinearArgs& args) {
  WeightSource weight;
  weight.n = args.n;
  weight.k = args.k;
  weight.dense = args.dense;
  weight.dense_is_unsigned = args.dense_is_unsigned != 0;
  weight.blocks = args.blocks;
  weight.block_gaps = args.block_gaps;
  weight.gaps_are_u16 = args.gaps_are_u16 != 0;
  weight.n_blocks = args.n_blocks;
  weight.block_rows = args.block_rows;
  weight.block_cols = args.block_cols;
  return weight;
}

inline LinearSpec ToSpec(const LinearArgs& args) {
  LinearSpec spec;
  spec.name = args.name;
  spec.weight = ToWeight(args);
  spec.x_type = static_cast<ElementType>(args.x_type);
  spec.x_scale = args.x_scale;
  spec.x_zero_point = args.x_zero_point;
  spec.w_scale = args.w_scale;
  spec.w_scale_count = args.w_scale_count;
  spec.w_zero_point = args.w_zero_point;
  spec.w_zero_point_count = args.w_zero_point_count;
  spec.bias = args.bias;
  spec.activation = static_cast<Activation>(args.activation);
  spec.y_type = static_cast<ElementType>(args.y_type);
  spec.y_scale = args.y_scale;
  spec.y_zero_point = args.y_zero_point;
  return spec;
}

}  // namespace fastep::capi
