// Quantized tiles times packed weights, to quantized tiles, float tiles, or added to a residual.
#pragma once

#include "core/plan/packed_linear.h"
#include "core/plan/step.h"

namespace fastep {

class LinearStep final : public Step {
 public:
  // The result goes to `y`. stats other than kNoStorage: y holds a residual to which the result is added, and the
  // LayerNorm statistics of the sum go to stats.
  LinearStep(PackedLinears linears, View x, View y, StorageId stats);

  const char* Op() const override { return "linear"; }
  std::vector<StorageId> Touches() const override;
  size_t ScratchBytes(const RunContext& run) const override;
  void Run(const RunContext& run, Parallel& parallel) const override;
  StepWork Work(const RunContext& run) const override;

  const PackedLinears& linears() const { return linears_; }

 private:
  struct Scratch;
  Scratch LayOut(const RunContext& run) const;
  void PrepareTile(const RunContext& run, const Scratch& scratch, int64_t index) const;
  void Multiply(const RunContext& run, const Scratch& scratch, const TaskGrid::Task& task, size_t worker) const;
  void AddToResidual(const RunContext& run, const TokenTile& tile, const uint8_t* lhs, Epilogue epilogue,
                     const TaskGrid::Task& task, uint8_t* slot) const;

  PackedLinears linears_;
  View x_, y_;
  StorageId stats_;
};

}  // namespace fastep
