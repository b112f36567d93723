// A whole encoder with random weights, as a plan.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/layer.h"
#include "core/plan/plan_builder.h"

namespace fastep::bench {

struct EncoderShape {
  std::string name;
  int64_t layers, hidden, heads, intermediate;
  bool float_attention = false;  // attention is not quantized
};

struct EncoderModel {
  std::shared_ptr<const EncoderPlan> plan;
  EncoderShape shape;
  double non_zeros;  // of all linears

  // Products of non-zero weights and of attention's matrices, without padding; one in float counts as the four of int8
  // that take as long.
  double Products(int64_t batch, int64_t length) const;
};

// Ids [B, S] in; the last LayerNorm's float output.
EncoderModel BuildEncoder(const EncoderShape& shape, const Pattern& pattern, const KernelTable& kernels);

// Inputs of BuildEncoder's plan and room for its output.
class EncoderRun {
 public:
  EncoderRun(const EncoderModel& model, int64_t batch, int64_t length);
  void Run();

 private:
  const EncoderModel& model_;
  std::vector<int64_t> ids_, positions_;
  std::vector<float> output_;
  std::vector<PlanTensor> inputs_;
  SerialParallel parallel_;
  Arena arena_;
};

}  // namespace fastep::bench
