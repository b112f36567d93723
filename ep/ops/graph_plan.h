// Nodes compiled to one EncoderPlan, as the doors run it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/op.h"

namespace fastep {

struct GraphPlan {
  std::unique_ptr<const Plan> plan;
  std::vector<std::string> inputs;  // names of the plan's runtime inputs, in the order that Run takes them
};

struct GraphPlanOptions {
  Tier tier = Tier::kScalar;
  // Tokens that the one mask of all nodes marks as right padding are not computed, their outputs are 0. Without a mask,
  // or with several, all tokens are computed.
  bool skip_padding = false;
};

// `nodes` in an order in which they can run; `outputs`: names of the values that leave the plan, in the order that Run
// writes them. Throws Error.
GraphPlan MakeGraphPlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                        const GraphPlanOptions& options);

// As MakeGraphPlan, but a single node gets its op's own form where it has one and all of its outputs are wanted.
GraphPlan MakePlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                   const GraphPlanOptions& options);

// A single node; Run takes the op's runtime inputs in order.
std::unique_ptr<const Plan> MakeNodePlan(const Op& op, const NodeView& node, Tier tier);

}  // namespace fastep
