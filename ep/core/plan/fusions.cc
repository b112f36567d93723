#include "core/plan/fusions.h"

#include <algorithm>

#include "core/plan/packed_linear.h"

namespace fastep {
namespace {

const PlanValue& Value(const PlanGraph& graph, ValueId id) { return graph.values[static_cast<size_t>(id)]; }

const LinearNode* ProducerLinear(const PlanGraph& graph, ValueId id) {
  const int32_t producer = Value(graph, id).producer;
  return producer < 0 ? nullptr : std::get_if<LinearNode>(&graph.nodes[static_cast<size_t>(producer)]);
}

bool IsOutput(const PlanGraph& graph, ValueId id) {
  return std::find(graph.outputs.begin(), graph.outputs.end(), id) != graph.outputs.end();
}

// A product that nothing but its SkipLayerNorm reads can be added to the residual by its own epilogue.
void FuseResidual(const PlanGraph& graph, int32_t node, const SkipNormNode& norm, Fusions& fusions) {
  if (norm.x == norm.residual) return;
  for (const ValueId x : {norm.x, norm.residual}) {
    const LinearNode* linear = ProducerLinear(graph, x);
    if (linear == nullptr || linear->spec.activation != Activation::kNone) continue;
    if (Value(graph, x).consumers.size() != 1 || IsOutput(graph, x)) continue;
    const int32_t producer = Value(graph, x).producer;
    fusions.residual_linear[static_cast<size_t>(node)] = producer;
    fusions.runs_with[static_cast<size_t>(producer)] = node;
    return;
  }
}

// A part of a product's storage is no place for sums with a residual: those are whole storages.
bool FeedsAttentionOnly(const PlanGraph& graph, ValueId id) {
  const std::vector<int32_t>& consumers = Value(graph, id).consumers;
  return std::all_of(consumers.begin(), consumers.end(), [&](int32_t node) {
    return std::holds_alternative<AttentionNode>(graph.nodes[static_cast<size_t>(node)]);
  });
}

void MergeProjections(const PlanGraph& graph, const AttentionNode& attention, Fusions& fusions) {
  std::vector<int32_t> nodes;
  const LinearNode* previous = nullptr;
  for (const ValueId value : {attention.q, attention.k, attention.v}) {
    const LinearNode* linear = ProducerLinear(graph, value);
    if (linear == nullptr) return;
    if (linear->spec.y_type == ElementType::kF32 && !FeedsAttentionOnly(graph, value)) return;
    if (previous != nullptr && (linear->x != previous->x || !CanMerge(previous->spec, linear->spec))) return;
    const int32_t node = Value(graph, value).producer;
    const bool taken =
        fusions.runs_with[static_cast<size_t>(node)] != node || !fusions.merged[static_cast<size_t>(node)].empty();
    if (taken || std::find(nodes.begin(), nodes.end(), node) != nodes.end()) return;
    nodes.push_back(node);
    previous = linear;
  }
  const int32_t first = *std::min_element(nodes.begin(), nodes.end());
  for (const int32_t node : nodes) fusions.runs_with[static_cast<size_t>(node)] = first;
  fusions.merged[static_cast<size_t>(first)] = nodes;
}

}  // namespace

Fusions FindFusions(const PlanGraph& graph) {
  Fusions fusions;
  const size_t count = graph.nodes.size();
  fusions.residual_linear.assign(count, -1);
  fusions.merged.resize(count);
  for (size_t i = 0; i < count; ++i) fusions.runs_with.push_back(static_cast<int32_t>(i));
  for (size_t i = 0; i < count; ++i) {
    if (const auto* norm = std::get_if<SkipNormNode>(&graph.nodes[i])) {
      FuseResidual(graph, static_cast<int32_t>(i), *norm, fusions);
    } else if (const auto* attention = std::get_if<AttentionNode>(&graph.nodes[i])) {
      MergeProjections(graph, *attention, fusions);
    }
  }
  return fusions;
}

}  // namespace fastep
