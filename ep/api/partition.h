// Which nodes of a graph run together as one subgraph.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace fastep {

struct PartitionNode {
  struct Input {
    std::string name;
    bool joins = false;  // may be computed by a node of the same group
  };
  std::vector<Input> inputs;  // all that the node reads, what its subgraphs read included
  std::vector<std::string> outputs;
  bool claimed = false;   // in a group
  bool can_join = false;  // in a group with others
};

// The groups of claimed nodes, each ascending. Nodes that can join, connected by values that join, are one group as
// long as the group is convex: no path leaves it and comes back. `nodes` stand in topological order.
std::vector<std::vector<size_t>> Partition(const std::vector<PartitionNode>& nodes);

}  // namespace fastep
