// Tells plans apart by what they are made of.
#pragma once

#include <string>
#include <vector>

#include "core/hash.h"
#include "ops/graph_plan.h"
#include "ops/op.h"

namespace fastep {

using PlanKey = HashValue;

// Of all that the ops read of these nodes when they put them into a plan: names, types, attributes, constants to the
// last byte; and of what MakeGraphPlan is given beside. Throws Error, as that does.
PlanKey KeyOf(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
              const GraphPlanOptions& options);

}  // namespace fastep
