// Which values stand in planar storages: those that only 4x1 products read, so that their producer, not every product,
// brings them into the layout that those gather from.
#pragma once

#include <vector>

#include "core/plan/plan_graph.h"

namespace fastep {

// Per value. kinds: per node, how a linear's weights are packed.
std::vector<bool> FindPlanarValues(const PlanGraph& graph, const std::vector<RhsKind>& kinds,
                                   const KernelTable& kernels);

}  // namespace fastep
