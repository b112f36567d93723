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
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;
  StepWork Work(const RunContext& run) const override;

  const PackedLinears& linears() const { return linears_; }

 private:
  struct Layout;
  Layout LayOut(const RunContext& run) const;
  void PrepareTile(const RunContext& run, const Layout& layout, const TileTurn& turn) const;
  void Multiply(const RunContext& run, const Layout& layout, const TileTurn& turn, const RowRanges::Range& rows) const;
  void AddToResidual(const RunContext& run, const TileTurn& turn, const uint8_t* lhs, Epilogue epilogue,
                     const RowRanges::Range& rows) const;

  PackedLinears linears_;
  View x_, y_;
  StorageId stats_;
};

}  // namespace fastep
