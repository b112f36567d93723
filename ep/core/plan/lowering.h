// From a graph of nodes to steps on storages: what is fused, what shares memory, what happens in place.
#pragma once

#include <memory>

#include "core/plan/encoder_plan.h"
#include "core/plan/plan_graph.h"
#include "core/tier.h"

namespace fastep {

std::shared_ptr<const EncoderPlan> Lower(const PlanGraph& graph, Tier tier);

}  // namespace fastep
