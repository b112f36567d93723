// Puts the nodes of a graph into a PlanBuilder, value by name.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "core/plan/plan_builder.h"
#include "ops/node_view.h"

namespace fastep {

class GraphBuilder {
 public:
  // What input `index` of the node is in the plan: a value that an earlier node defined, or a tensor of every Run.
  ValueId Value(const NodeView& node, size_t index, int64_t features);
  InputId Ids(const NodeView& node, size_t index);
  InputId Mask(const NodeView& node, size_t index);
  InputId Bias(const NodeView& node, size_t index, int64_t heads);

  // Output `index` of the node.
  void Define(const NodeView& node, size_t index, ValueId value);
  // The plan's next output. Throws Error if no node defined it.
  void Output(const std::string& name);

  PlanBuilder& plan() { return plan_; }
  // Names of the tensors that every Run is given, in order; more than once where a tensor has several roles.
  const std::vector<std::string>& inputs() const { return inputs_; }

 private:
  // A tensor has rules of its own in every role: it is an input of the plan for each.
  using Role = std::tuple<std::string, PlanInput::Kind, int64_t>;  // name, kind, heads of a bias
  InputId Tensor(const Role& role, const std::function<InputId(const std::string& name)>& add);

  PlanBuilder plan_;
  std::map<std::string, ValueId> values_;
  std::map<Role, InputId> tensors_;
  std::vector<std::string> inputs_;
};

}  // namespace fastep
