// Nodes compiled to one EncoderPlan, as the doors run it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/plan/packer.h"
#include "ops/op.h"

namespace fastep {

struct GraphPlan {
  std::unique_ptr<const Plan> plan;
  std::vector<std::string> inputs;  // names of the plan's runtime inputs, in the order that Run takes them
};

// Whether tokens are computed that the one mask of all attention nodes marks as right padding; if not, outputs are 0
// there. Where they do not share one mask, all tokens are computed.
enum class SkipPadding {
  kNever,
  kAlways,
  kMarked,  // if every attention node says skip_padding
};

struct GraphPlanOptions {
  Tier tier = Tier::kScalar;
  SkipPadding skip_padding = SkipPadding::kNever;
};

// `nodes` in an order in which they can run; `outputs`: names of the values that leave the plan, in the order that Run
// writes them. Throws Error.
GraphPlan MakeGraphPlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                        const GraphPlanOptions& options);
GraphPlan MakeGraphPlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                        const GraphPlanOptions& options, Packer& packer);

// As MakeGraphPlan, but a single node gets its op's own form where it has one and all of its outputs are wanted.
GraphPlan MakePlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                   const GraphPlanOptions& options);

// A single node; Run takes the op's runtime inputs in order.
std::unique_ptr<const Plan> MakeNodePlan(const Op& op, const NodeView& node, Tier tier);

}  // namespace fastep
