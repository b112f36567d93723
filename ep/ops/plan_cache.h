// Plans that are alive in this process, so that two sessions of one model share packed weights.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/graph_plan.h"
#include "ops/plan_key.h"

namespace fastep {

struct SharedPlan {
  std::shared_ptr<const Plan> plan;
  std::vector<std::string> inputs;  // as GraphPlan::inputs
  bool shared = false;              // somebody else uses it, too

  std::string NodeSummary(const std::string& node) const {
    return plan->NodeSummary(node) + (shared ? ", shared with another session" : "");
  }
};

// The plan of this key: that of somebody who uses it, else what `make` makes.
SharedPlan SharePlan(const PlanKey& key, const std::function<GraphPlan()>& make);

// As MakePlan, unless somebody already uses the plan of nodes that are equal to the last bit of their constants.
SharedPlan MakeOrSharePlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                           const GraphPlanOptions& options);

}  // namespace fastep
