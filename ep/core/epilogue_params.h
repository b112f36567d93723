// The arrays behind an Epilogue: the constants of one layer, padded to kRowStep.
#pragma once

#include <cstdint>

#include "core/aligned.h"
#include "core/kernel_table.h"
#include "core/weights.h"

namespace fastep {

class EpilogueParams {
 public:
  // Throws fastep::Error if a scale or bias, on the output's scale, is not finite.
  EpilogueParams(const LinearSpec& spec, const Weights& weights);

  // token_sum is filled in by the driver.
  Epilogue View() const;
  Epilogue AccumulatorView() const;  // kInt32, no activation
  // x_zero_point as u8: s8 activations are shifted by 128.
  int32_t x_zero_point() const { return x_zero_point_; }

 private:
  int32_t x_zero_point_;
  OutputKind kind_;
  Activation activation_;
  float out_scale_ = 0, out_zero_point_ = 0;
  int32_t lo_ = 0, hi_ = 0;
  bool bounded_ = true;
  AlignedVector<int32_t> acc_init_, rhs_zero_point_;
  AlignedVector<float> scale_, bias_;
};

// True if no sum of products of a row can leave int32, in any order, with the corrections of both zero points.
bool FitsInt32(const LinearSpec& spec, const Weights& weights);

}  // namespace fastep
