// Multi-head attention on float tiles.
//
//   phase 1, per (tile of keys, head): the visible keys of k and v move into blocks
//   phase 2, per (tile of queries, head): for every sequence of the tile, and a chunk of its queries at a time so that
//            scores stay in the nearest caches: scores = k q^T, softmax, y = v^T e, all with queries in lanes
#pragma once

#include "core/plan/attention_step.h"
#include "core/plan/step.h"

namespace fastep {

class FloatAttentionStep final : public Step {
 public:
  // q, k and v are float.
  FloatAttentionStep(const AttentionSpec& spec, const AttentionViews& views);

  const char* Op() const override { return "attention"; }
  std::vector<StorageId> Touches() const override;
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;
  StepWork Work(const RunContext& run) const override;

 private:
  struct Layout;
  struct Slot;
  struct Chunk;
  Layout LayOut(const RunContext& run) const;
  Slot SlotOf(const Layout& layout, const TileTurn& turn) const;
  void Pack(const RunContext& run, const Layout& layout, const TileTurn& turn, int32_t head) const;
  void AttendSegment(const RunContext& run, const Layout& layout, const TileTurn& turn, const Segment& segment,
                     int32_t head) const;
  void Attend(const RunContext& run, const Layout& layout, const Chunk& chunk, const Slot& slot) const;
  void FillBias(const RunContext& run, const KeyMap& keys, const Chunk& chunk, float* bias) const;
  void Finish(const RunContext& run, const Chunk& chunk, const Slot& slot) const;

  AttentionViews views_;
  int32_t heads_, head_size_;
  int32_t head_rows_;  // padded to kFloatRows
  int32_t y_size_;     // of a head of y, which may be padded
  InputId bias_;
  float scale_;      // of the softmax argument, in powers of two per unit of score
  float out_scale_;  // 1 / y_scale
  Quantization y_;
};

}  // namespace fastep
