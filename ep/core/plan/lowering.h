// From a graph of nodes to steps on storages: what is fused, what shares memory, what happens in place.
#pragma once

#include <memory>

#include "core/kernel_table.h"
#include "core/plan/encoder_plan.h"
#include "core/plan/packer.h"
#include "core/plan/plan_graph.h"

namespace fastep {

std::shared_ptr<const EncoderPlan> Lower(const PlanGraph& graph, const KernelTable& kernels, Packer& packer);

}  // namespace fastep
