#include "api/graph_node.h"

#include "api/tensor_view.h"
#include "core/error.h"

namespace fastep {
namespace {

// Models may leave nodes unnamed; the first output is unique.
std::string NameOf(Ort::ConstNode node) {
  const std::string name = node.GetName();
  if (!name.empty()) return name;
  const auto outputs = node.GetOutputs();
  return outputs.empty() || !outputs[0] ? "" : "producing " + outputs[0].GetName();
}

template <class T>
std::optional<T> Single(Ort::ConstNode node, const std::string& attribute, OrtOpAttrType type) {
  Ort::ConstOpAttr value;
  const Ort::Status status = node.GetAttributeByName(attribute, value);
  if (!status.IsOK() || !value || value.GetType() != type) return std::nullopt;
  T single{};
  Ort::ThrowOnError(value.GetValue(single).release());
  return single;
}

}  // namespace

GraphNode::GraphNode(Ort::ConstNode node, ExternalData* data)
    : node_(node), name_(NameOf(node)), op_type_(node.GetOperatorType()), inputs_(node.GetInputs()), data_(data) {}

InputInfo GraphNode::Input(size_t index) const {
  InputInfo info;
  const Ort::ConstValueInfo& input = inputs_.at(index);
  if (!input) return info;  // an absent optional input
  auto [type, shape] = ReadTypeInfo(input);
  return {true, input.GetName(), type, std::move(shape), input.IsConstantInitializer()};
}

TensorView GraphNode::Constant(size_t index) const {
  if (data_ != nullptr) {
    const InputInfo info = Input(index);
    if (std::optional<TensorView> found = data_->Find(inputs_.at(index), info.type, info.shape)) return *found;
  }
  const OrtValue* value = nullptr;
  Ort::ThrowOnError(Api().ValueInfo_GetInitializerValue(inputs_.at(index), &value));
  if (value == nullptr) throw Error(Where() + ": input " + std::to_string(index) + ": expected a constant");
  return ViewTensor(value);
}

std::string GraphNode::OutputName(size_t index) const {
  const auto outputs = node_.GetOutputs();
  return index < outputs.size() && outputs[index] ? outputs[index].GetName() : "";
}

std::optional<std::vector<int64_t>> GraphNode::Ints(const std::string& attribute) const {
  Ort::ConstOpAttr value;
  const Ort::Status status = node_.GetAttributeByName(attribute, value);
  if (!status.IsOK() || !value || value.GetType() != ORT_OP_ATTR_INTS) return std::nullopt;
  std::vector<int64_t> ints;
  Ort::ThrowOnError(value.GetValueArray(ints).release());
  return ints;
}

std::optional<int64_t> GraphNode::Int(const std::string& attribute) const {
  return Single<int64_t>(node_, attribute, ORT_OP_ATTR_INT);
}

std::optional<float> GraphNode::Float(const std::string& attribute) const {
  return Single<float>(node_, attribute, ORT_OP_ATTR_FLOAT);
}

}  // namespace fastep
