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

// `nodes` in an order in which they can run; `outputs`: names of the values that leave the plan, in the order that Run
// writes them. Throws Error.
GraphPlan MakeGraphPlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs, Tier tier);

// A single node; Run takes the op's runtime inputs in order.
std::unique_ptr<const Plan> MakeNodePlan(const Op& op, const NodeView& node, Tier tier);

}  // namespace fastep
