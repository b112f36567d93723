#include "core/plan/planar_values.h"

#include <algorithm>

#include "core/plan/attention_step.h"

namespace fastep {
namespace {

bool CanProduce(const PlanGraph& graph, const PlanValue& value, const KernelTable& kernels) {
  if ((kernels.extras & kPlanarEpilogue) == 0) return false;
  if (value.producer < 0) return true;
  const auto* attention = std::get_if<AttentionNode>(&graph.nodes[static_cast<size_t>(value.producer)]);
  if (attention == nullptr) return true;
  // Heads of whole quads: others are computed padded.
  return !attention->spec.IsFloat() && value.features / attention->spec.num_heads % 4 == 0 &&
         AttentionStep::CanWritePlanar(kernels);
}

}  // namespace

std::vector<bool> FindPlanarValues(const PlanGraph& graph, const std::vector<RhsKind>& kinds,
                                   const KernelTable& kernels) {
  const auto gathers = [&](int32_t node) {
    const auto i = static_cast<size_t>(node);
    return std::holds_alternative<LinearNode>(graph.nodes[i]) && kinds[i] == RhsKind::k4x1;
  };
  std::vector<bool> planar;
  for (const PlanValue& value : graph.values) {
    const std::vector<int32_t>& readers = value.consumers;
    planar.push_back(value.type != ElementType::kF32 && !readers.empty() && CanProduce(graph, value, kernels) &&
                     std::all_of(readers.begin(), readers.end(), gathers));
  }
  for (const ValueId id : graph.outputs) planar[static_cast<size_t>(id)] = false;
  return planar;
}

}  // namespace fastep
