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

InputId GraphBuilder::Tensor(const NodeView& node, size_t index, AddInput add) {
  const std::string name = node.Input(index).name;
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second;
  inputs_.push_back(name);
  return tensors_[name] = (plan_.*add)(name);
}

InputId GraphBuilder::Ids(const NodeView& node, size_t index) { return Tensor(node, index, &PlanBuilder::Ids); }
InputId GraphBuilder::Bias(const NodeView& node, size_t index) { return Tensor(node, index, &PlanBuilder::Bias); }
InputId GraphBuilder::Mask(const NodeView& node, size_t index) { return Tensor(node, index, &PlanBuilder::Mask); }

void GraphBuilder::Define(const NodeView& node, size_t index, ValueId value) {
  values_[node.OutputName(index)] = value;
}

void GraphBuilder::Output(const std::string& name) {
  const auto found = values_.find(name);
  if (found == values_.end()) throw Error("no node of the plan computes its output '" + name + "'");
  plan_.Output(found->second);
}

}  // namespace fastep
