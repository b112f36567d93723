// Multi-head attention on quad tiles: scores and weighted sums are dense products whose rhs is packed from k and v.
//
//   phase 1, per (tile of keys, head): the visible keys of k and v become a part of a dense rhs
//   phase 2, per (tile of queries, head): scores = k q^T, softmax, y = v^T e, all with queries in lanes
//
// A tile may hold queries of several sequences. Each takes its turn with all lanes, and those of the others get
// probabilities 0, so that the weighted sums of all add up.
#pragma once

#include <string>

#include "core/aligned.h"
#include "core/plan/step.h"

namespace fastep {

struct AttentionViews {
  View q, k, v, y;     // features: those of all heads, in quad tiles each in whole quads
  size_t key_map = 0;  // index in RunContext::keys
};

class AttentionStep final : public Step {
 public:
  AttentionStep(const AttentionSpec& spec, const AttentionViews& views);

  const char* Op() const override { return "attention"; }
  std::vector<StorageId> Touches() const override;
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;
  StepWork Work(const RunContext& run) const override;

  // Whether y may stand in a planar storage.
  static bool CanWritePlanar(const KernelTable& kernels);

 private:
  struct Layout;
  struct Slot;
  struct PackedHead;
  Layout LayOut(const RunContext& run) const;
  Slot SlotOf(const Layout& layout, const TileTurn& turn) const;
  PackedHead Packed(const Layout& layout, const TileTurn& turn, int32_t sequence, int32_t head) const;
  void Pack(const RunContext& run, const Layout& layout, const TileTurn& turn, int32_t head) const;
  void Pad(const Layout& layout, const KeyMap::Run& keys, const PackedHead& packed) const;
  void Attend(const RunContext& run, const Layout& layout, const TileTurn& turn, int32_t head) const;
  void Score(const RunContext& run, const Layout& layout, const TokenTile& tile, const Segment& segment,
             const PackedHead& packed, int32_t head, const Slot& slot) const;
  Epilogue OutputEpilogue(const RunContext& run, const Slot& slot) const;
  void Finish(const RunContext& run, const TokenTile& tile, int32_t head, const Slot& slot) const;

  int32_t HeadRow(int32_t head) const { return head * head_size_; }
  static bool Fused(const KernelTable& kernels);
  int32_t ScoreOffset(const KernelTable& kernels) const;

  AttentionViews views_;
  int32_t heads_, head_size_, head_rows_;  // head_rows_: padded to kRowStep
  InputId bias_;
  float scale_;      // of the softmax argument, in powers of two per unit of score
  float out_scale_;  // v_scale / y_scale
  int32_t q_zero_point_;
  OutputKind kind_;
  bool is_signed_;
  float out_zero_point_;
  AlignedVector<int32_t> no_init_, v_zero_point_;  // [head_rows_]; v_zero_point_ is empty if it is 0 as s8
  AlignedVector<float> out_bias_;                  // [head_rows_], the zero point of y
};

}  // namespace fastep
