// Tells plans apart by what they are made of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ops/graph_plan.h"
#include "ops/op.h"

namespace fastep {

// 128 bits, so that two that differ are equal by chance only in theory. Not against an adversary.
using PlanKey = std::pair<uint64_t, uint64_t>;

// Of all that the ops read of these nodes when they put them into a plan: names, types, attributes, constants to the
// last byte; and of what MakeGraphPlan is given beside. Throws Error, as that does.
PlanKey KeyOf(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
              const GraphPlanOptions& options);

}  // namespace fastep
