#include "ops/graph_builder.h"

#include "core/error.h"

namespace fastep {

ValueId GraphBuilder::Value(const NodeView& node, size_t index, int64_t features) {
  const InputInfo info = node.Input(index);
  const auto found = values_.find(info.name);
  if (found != values_.end()) return found->second;
  const ElementType type = info.type == DataType::kUint8  ? ElementType::kU8
                           : info.type == DataType::kInt8 ? ElementType::kS8
                                                          : ElementType::kF32;
  inputs_.push_back(info.name);
  return values_[info.name] = plan_.Activation(info.name, type, features);
}

InputId GraphBuilder::Tensor(const Role& role, const std::function<InputId(const std::string& name)>& add) {
  const auto found = tensors_.find(role);
  if (found != tensors_.end()) return found->second;
  const std::string& name = std::get<std::string>(role);
  inputs_.push_back(name);
  return tensors_[role] = add(name);
}

InputId GraphBuilder::Ids(const NodeView& node, size_t index) {
  const Role role{node.Input(index).name, PlanInput::Kind::kIds, 0};
  return Tensor(role, [&](const std::string& name) { return plan_.Ids(name); });
}

InputId GraphBuilder::Mask(const NodeView& node, size_t index) {
  const Role role{node.Input(index).name, PlanInput::Kind::kMask, 0};
  return Tensor(role, [&](const std::string& name) { return plan_.Mask(name); });
}

InputId GraphBuilder::Bias(const NodeView& node, size_t index, int64_t heads) {
  const Role role{node.Input(index).name, PlanInput::Kind::kBias, heads};
  return Tensor(role, [&](const std::string& name) { return plan_.Bias(name, heads); });
}

void GraphBuilder::Define(const NodeView& node, size_t index, ValueId value) {
  values_[node.OutputName(index)] = value;
}

void GraphBuilder::Output(const std::string& name) {
  const auto found = values_.find(name);
  if (found == values_.end()) throw Error("no node of the plan computes its output '" + name + "'");
  plan_.Output(found->second);
}

}  // namespace fastep
