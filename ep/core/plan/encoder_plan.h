// A connected part of an encoder, compiled: weights packed, values in tiles from step to step.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/parallel.h"
#include "core/plan/norm_step.h"
#include "core/plan/plan_graph.h"
#include "core/plan/step.h"
#include "core/tier.h"

namespace fastep {

// One product of the plan and the linears that it computes.
struct PlanProduct {
  std::vector<std::string> nodes;
  int64_t n, k;
  LinearInfo info;
};

// What lowering made of a graph.
struct PlanParts {
  std::vector<std::unique_ptr<const Step>> steps;
  std::vector<StepLabel> labels;         // of the steps
  std::vector<const EmbedStep*> embeds;  // of the steps
  StorageLayout layout;
  std::vector<InputId> masks;  // of the key maps that attention steps refer to; kNoInput: all keys are visible
  std::vector<PlanProduct> products;
  int32_t widest_tile = kTileTokenStep;
};

// Immutable: Run is safe from any number of threads at once, each with an arena of its own.
class EncoderPlan {
 public:
  EncoderPlan(const PlanGraph& graph, const KernelTable& kernels, PlanParts parts);

  // Of the outputs, in the order they were asked for. Throws fastep::Error if inputs do not fit the plan or each other.
  std::vector<std::vector<int64_t>> OutputShapes(const std::vector<PlanTensor>& inputs) const;

  std::vector<ElementType> OutputTypes() const;

  // outputs: row-major, of OutputTypes() and OutputShapes(inputs). Throws fastep::Error, with outputs untouched, if
  // inputs do not fit or an id is outside of its table.
  // `record` (null: nobody wants it) has an entry per label.
  void Run(const std::vector<PlanTensor>& inputs, const std::vector<void*>& outputs, Parallel& parallel, Arena& arena,
           RunRecord* record = nullptr) const;

  const std::vector<StepLabel>& labels() const { return parts_.labels; }
  std::string Summary() const;
  // How the node of this name runs: its product if it has one, else the plan that it is part of.
  std::string NodeSummary(const std::string& name) const;

 private:
  struct Shape;
  struct Output {
    ElementType type;
    int64_t features;
  };
  Shape FindShape(const std::vector<PlanTensor>& inputs) const;
  static void CheckType(const PlanInput& input, TensorType found);
  void CheckInput(const PlanInput& input, const PlanTensor& tensor, const Shape& shape) const;
  int64_t RunApart(const std::vector<PlanTensor>& inputs, const std::vector<void*>& outputs, const Shape& shape,
                   Parallel& parallel, Arena& arena) const;
  void RunGroup(const std::vector<PlanTensor>& inputs, const std::vector<void*>& outputs, const Shape& shape,
                int64_t begin, int64_t end, Parallel& parallel, Arena& arena, RunRecord* record) const;
  void CountWork(const RunContext& run, RunRecord& record) const;
  void ClearOutputs(const std::vector<void*>& outputs, const Shape& shape) const;

  std::vector<PlanInput> inputs_;
  std::vector<Output> outputs_;
  InputId padding_mask_;
  bool has_sequences_ = false;  // attention or embeddings: inputs are [B, S, ...]
  const KernelTable& kernels_;
  EncoderKernels encoder_;
  PlanParts parts_;
};

}  // namespace fastep
