// Puts a plan together, node by node in an order in which they can run, then compiles it for a tier.
#pragma once

#include <memory>
#include <string>

#include "core/plan/encoder_plan.h"
#include "core/plan/packer.h"
#include "core/plan/plan_graph.h"
#include "core/tier.h"

namespace fastep {

class PlanBuilder {
 public:
  // Tensors that every Run is given, in the order of these calls.
  ValueId Activation(const std::string& name, ElementType type, int64_t features);  // [..., features]
  InputId Ids(const std::string& name);                                             // i64 [B, S] or [1, S]
  InputId Mask(const std::string& name);                                            // [B, S], i64, i32, bool or f32
  // f32, broadcastable to [B, heads, S, S]; for attentions of as many heads.
  InputId Bias(const std::string& name, int64_t heads);

  // Each throws fastep::Error, naming the node, if a spec breaks docs/op-contract*.md.
  ValueId Linear(ValueId x, const LinearSpec& spec);
  NormValues SkipLayerNorm(ValueId x, ValueId residual, const NormSpec& spec);
  NormValues EmbedLayerNorm(const EmbedSpec& spec);
  ValueId QAttention(ValueId q, ValueId k, ValueId v, const AttentionSpec& spec);
  // As QAttention, with q, k and v in float.
  ValueId FAttention(ValueId q, ValueId k, ValueId v, const AttentionSpec& spec);

  // In the order of these calls.
  void Output(ValueId value);

  // Tokens that this mask marks as right padding are not computed, but for the first one of a sequence; every output is
  // 0 there.
  void SkipPadding(InputId mask) { graph_.padding_mask = mask; }
  // The one mask of all attention nodes so far; kNoInput: there is none, or they differ. `only_if_marked`: or one of
  // them does not say skip_padding.
  InputId SharedMask(bool only_if_marked) const;

  // Packs the weights, or lets `packer` do it. `tier` is one of SupportedTiers().
  std::shared_ptr<const EncoderPlan> Build(Tier tier) const;
  std::shared_ptr<const EncoderPlan> Build(Tier tier, Packer& packer) const;
  // With kernels that outlive the plan (benchmarks).
  std::shared_ptr<const EncoderPlan> Build(const KernelTable& kernels) const;

 private:
  ValueId AddValue(ElementType type, int64_t features);
  InputId AddInput(const PlanInput& input);
  NormValues AddNormValues(const NormSpec& spec);
  ValueId AddAttention(const std::string& where, ValueId q, ValueId k, ValueId v, const AttentionSpec& spec);
  void Consume(ValueId value);
  const PlanInput& Input(InputId id) const { return graph_.inputs.at(static_cast<size_t>(id)); }
  PlanValue& Value(ValueId id) { return graph_.values.at(static_cast<size_t>(id)); }

  PlanGraph graph_;
};

}  // namespace fastep
