#include "api/partition.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

namespace fastep {
namespace {

struct Edge {
  size_t from, to;
  bool fuses;  // both ends may be in one group
};

std::vector<Edge> FindEdges(const std::vector<PartitionNode>& nodes) {
  std::unordered_map<std::string, size_t> producers;
  std::vector<Edge> edges;
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const PartitionNode::Input& input : nodes[i].inputs) {
      const auto producer = producers.find(input.name);
      if (producer == producers.end()) continue;
      const bool fuses = input.joins && nodes[i].can_join && nodes[producer->second].can_join;
      edges.push_back({producer->second, i, fuses});
    }
    for (const std::string& output : nodes[i].outputs) {
      if (!output.empty()) producers[output] = i;
    }
  }
  return edges;
}

// A number per node that never falls along an edge, and rises where a path leaves nodes that can join by an edge that
// does not fuse. So what has left the groups of one stage cannot come back to them.
std::vector<size_t> FindStages(const std::vector<PartitionNode>& nodes, const std::vector<Edge>& edges) {
  std::vector<size_t> stages(nodes.size(), 0);
  for (const Edge& edge : edges) {  // in the order of `to`: the stage of `from` is final
    const size_t rise = nodes[edge.from].can_join && !edge.fuses ? 1 : 0;
    stages[edge.to] = std::max(stages[edge.to], stages[edge.from] + rise);
  }
  return stages;
}

size_t Root(std::vector<size_t>& parents, size_t i) {
  while (parents[i] != i) i = parents[i] = parents[parents[i]];
  return i;
}

}  // namespace

std::vector<std::vector<size_t>> Partition(const std::vector<PartitionNode>& nodes) {
  const std::vector<Edge> edges = FindEdges(nodes);
  const std::vector<size_t> stages = FindStages(nodes, edges);
  std::vector<size_t> parents(nodes.size());
  std::iota(parents.begin(), parents.end(), size_t{0});
  for (const Edge& edge : edges) {
    if (!edge.fuses || stages[edge.from] != stages[edge.to]) continue;
    const auto [first, second] = std::minmax({Root(parents, edge.from), Root(parents, edge.to)});
    parents[second] = first;
  }
  std::vector<std::vector<size_t>> groups;
  std::unordered_map<size_t, size_t> group_of_root;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].claimed) continue;
    const auto [group, added] = group_of_root.emplace(Root(parents, i), groups.size());
    if (added) groups.emplace_back();
    groups[group->second].push_back(i);
  }
  return groups;
}

}  // namespace fastep
