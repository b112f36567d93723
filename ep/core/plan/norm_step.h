// LayerNorm, with or without a sum before it, and embeddings.
#pragma once

#include <string>

#include "core/aligned.h"
#include "core/plan/plan_graph.h"
#include "core/plan/step.h"
#include "core/shared_array.h"

namespace fastep {

// Storages of one LayerNorm: z and its statistics come from the step before.
struct NormViews {
  StorageId z = kNoStorage;
  StorageId stats = kNoStorage;
  bool wants_float = false;  // to z, in place
  StorageId quantized = kNoStorage;
};

// to = from, tile by tile, so that `to` can be changed.
class CopyStep final : public Step {
 public:
  CopyStep(StorageId from, StorageId to) : from_(from), to_(to) {}
  const char* Op() const override { return "copy"; }
  std::vector<StorageId> Touches() const override { return {from_, to_}; }
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;

 private:
  StorageId from_, to_;
};

// z += x, and the statistics of the sum.
class SumStep final : public Step {
 public:
  SumStep(StorageId x, StorageId z, StorageId stats, int32_t features)
      : x_(x), z_(z), stats_(stats), features_(features) {}
  const char* Op() const override { return "sum"; }
  std::vector<StorageId> Touches() const override { return {x_, z_, stats_}; }
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;

 private:
  StorageId x_, z_, stats_;
  int32_t features_;
};

class NormStep final : public Step {
 public:
  NormStep(const NormSpec& spec, const NormViews& views);
  const char* Op() const override { return "norm"; }
  std::vector<StorageId> Touches() const override;
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;

 private:
  RowRanges Ranges(const RunContext& run) const;

  NormViews views_;
  LayerNormArgs args_{};  // all that does not depend on the tile
  AlignedVector<float> gamma_, beta_;
};

// The sum of embeddings and its statistics.
class EmbedStep final : public Step {
 public:
  EmbedStep(const EmbedSpec& spec, StorageId z, StorageId stats);
  const char* Op() const override { return "embed"; }
  std::vector<StorageId> Touches() const override { return {z_, stats_}; }
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;
  StepWork Work(const RunContext& run) const override;

  // Throws fastep::Error if an id of the batch, or a position of its `length` tokens, is outside of its table. Before
  // anything is computed. `names`: the inputs of the plan.
  void CheckIds(const std::vector<PlanInput>& names, const std::vector<PlanTensor>& inputs, int64_t length) const;

 private:
  struct Table {
    EmbedTable kernel;  // without rows
    int64_t rows;
    InputId ids;
    SharedArray<uint8_t> data;
  };
  void FindRows(const RunContext& run, const TileTurn& turn) const;
  void Embed(const RunContext& run, const TileTurn& turn, const RowRanges::Range& rows) const;

  std::string name_;
  int32_t features_;
  std::vector<Table> tables_;
  StorageId z_, stats_;
};

}  // namespace fastep
