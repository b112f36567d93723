// Which nodes of a graph run as one step.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/plan_graph.h"

namespace fastep {

struct Fusions {
  // Per node: the node whose turn it runs in, usually itself. A linear that only feeds a SkipLayerNorm runs with that;
  // linears that read one value and feed one attention run with the first of them.
  std::vector<int32_t> runs_with;
  // Per SkipLayerNorm: the linear that adds to the residual, or -1.
  std::vector<int32_t> residual_linear;
  // Per linear that is the first of several: all of them.
  std::vector<std::vector<int32_t>> merged;
};

Fusions FindFusions(const PlanGraph& graph);

}  // namespace fastep
