// A plan as it was asked for: values and nodes, before anything is fused or packed.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "core/plan/types.h"

namespace fastep {

struct PlanInput {
  enum class Kind { kActivation, kIds, kMask, kBias };
  std::string name;
  Kind kind;
  std::vector<TensorType> types;  // any of these
  int64_t features = 0;           // kActivation; kBias: heads
};

struct LinearNode {
  LinearSpec spec;
  ValueId x, y;
};

struct SkipNormNode {
  NormSpec spec;
  ValueId x, residual;
  NormValues y;
};

struct EmbedNode {
  EmbedSpec spec;
  NormValues y;
};

struct AttentionNode {
  AttentionSpec spec;
  ValueId q, k, v, y;
};

using PlanNode = std::variant<LinearNode, SkipNormNode, EmbedNode, AttentionNode>;

struct PlanValue {
  ElementType type;
  int64_t features;
  InputId input = kNoInput;  // of a value that enters the plan
  int32_t producer = -1;     // node, of any other
  std::vector<int32_t> consumers;
};

struct PlanGraph {
  std::vector<PlanInput> inputs;
  std::vector<PlanNode> nodes;  // in an order in which they can run
  std::vector<PlanValue> values;
  std::vector<ValueId> outputs;
  InputId padding_mask = kNoInput;
};

}  // namespace fastep
