// What attention has in common, quantized or in float.
#pragma once

#include "core/plan/step.h"

namespace fastep {

constexpr double kLog2E = 1.4426950408889634;

// Scores and weighted sums. Hidden keys count as zeros of a dense product.
StepWork AttentionWork(const RunContext& run, const KeyMap& keys, int64_t features);

// Keys are packed by tile and head, then queries attended to by tile and head; every head reads the keys of all tiles.
StepNeeds AttentionNeeds(int32_t heads, size_t shared_bytes, size_t worker_bytes);

// What is added to the scores of one sequence and head: a part of bias [B, heads, S, S], where any of the sizes may
// be 1.
class AttentionBias {
 public:
  AttentionBias(const RunContext& run, InputId bias, const KeyMap& keys, size_t sequence, int32_t head);

  // Times log2(e), to out [visible keys][width]: `count` queries from `position` on stand from `lane` on, the other
  // lanes get 0.
  void Fill(int64_t position, int32_t count, int32_t lane, int32_t width, float* out) const;

 private:
  const float* data_;
  int64_t query_stride_, key_stride_;
  const KeyMap& keys_;
  size_t sequence_;
};

}  // namespace fastep
