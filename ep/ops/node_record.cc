#include "ops/node_record.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "ops/registry.h"

namespace fastep {
namespace {

constexpr int32_t kInts = 0, kInt = 1, kFloat = 2;
constexpr int64_t kMostElements = int64_t{1} << 40;

}  // namespace

TensorRecord::TensorRecord(const TensorView& view) : type(view.type), shape(view.shape) {
  bytes = SharedArray<uint8_t>(view.As<uint8_t>(), ByteCount(), view.owner);
}

size_t TensorRecord::ByteCount() const {
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0 || (dim > 0 && count > kMostElements / dim)) throw Error("a constant has no possible shape");
    count *= dim;
  }
  return static_cast<size_t>(count) * ElementBytes(type);
}

TensorView TensorRecord::View() const {
  if (bytes.size() != ByteCount()) throw Error("a constant has not as many bytes as its shape asks for");
  return {type, shape, bytes.data(), bytes.owner()};
}

RecordingNode::RecordingNode(const NodeView& node, bool keep_packed)
    : node_(node), op_(RequireOp(node, kOpVersion)), keep_packed_(keep_packed) {
  record_.op_type = node.op_type();
  record_.name = node.name();
  for (size_t i = 0; i < node.InputCount(); ++i) {
    const InputInfo info = node.Input(i);
    NodeRecord::Input& input = record_.inputs.emplace_back();
    input.present = info.present;
    input.constant = info.constant;
    input.name = info.name;
    input.value.type = info.type;
    input.value.shape = info.shape;
  }
  for (size_t i = 0; i < op_.outputs().size(); ++i) record_.outputs.push_back(node.OutputName(i));
}

TensorView RecordingNode::Constant(size_t index) const {
  TensorView value = node_.Constant(index);
  NodeRecord::Input& input = record_.inputs.at(index);
  input.read = true;
  input.value = TensorRecord(value);
  if (op_.inputs().at(index).packed && !keep_packed_) input.value.bytes = {};
  return value;
}

void RecordingNode::Keep(NodeRecord::Attribute attribute) const {
  std::vector<NodeRecord::Attribute>& all = record_.attributes;
  const auto same = [&](const NodeRecord::Attribute& other) {
    return other.name == attribute.name && other.form == attribute.form;
  };
  if (std::none_of(all.begin(), all.end(), same)) all.push_back(std::move(attribute));
}

std::optional<std::vector<int64_t>> RecordingNode::Ints(const std::string& attribute) const {
  auto value = node_.Ints(attribute);
  if (value) Keep({attribute, kInts, *value, 0});
  return value;
}

std::optional<int64_t> RecordingNode::Int(const std::string& attribute) const {
  const auto value = node_.Int(attribute);
  if (value) Keep({attribute, kInt, {*value}, 0});
  return value;
}

std::optional<float> RecordingNode::Float(const std::string& attribute) const {
  const auto value = node_.Float(attribute);
  if (value) Keep({attribute, kFloat, {}, *value});
  return value;
}

InputInfo RecordedNode::Input(size_t index) const {
  const NodeRecord::Input& input = record_.inputs.at(index);
  return {input.present, input.name, input.value.type, input.value.shape, input.constant};
}

TensorView RecordedNode::Constant(size_t index) const {
  const NodeRecord::Input& input = record_.inputs.at(index);
  if (!input.read) throw Error(Where() + ": it lacks the constant input " + std::to_string(index));
  const bool left_out = input.value.bytes.empty() && RequireOp(*this, kOpVersion).inputs().at(index).packed;
  return left_out ? TensorView{input.value.type, input.value.shape} : input.value.View();
}

std::string RecordedNode::OutputName(size_t index) const {
  return index < record_.outputs.size() ? record_.outputs[index] : "";
}

const NodeRecord::Attribute* RecordedNode::Find(const std::string& attribute, int32_t form) const {
  for (const NodeRecord::Attribute& found : record_.attributes) {
    if (found.name == attribute && found.form == form) return &found;
  }
  return nullptr;
}

std::optional<std::vector<int64_t>> RecordedNode::Ints(const std::string& attribute) const {
  const NodeRecord::Attribute* found = Find(attribute, kInts);
  return found == nullptr ? std::nullopt : std::optional(found->ints);
}

std::optional<int64_t> RecordedNode::Int(const std::string& attribute) const {
  const NodeRecord::Attribute* found = Find(attribute, kInt);
  return found == nullptr || found->ints.size() != 1 ? std::nullopt : std::optional(found->ints[0]);
}

std::optional<float> RecordedNode::Float(const std::string& attribute) const {
  const NodeRecord::Attribute* found = Find(attribute, kFloat);
  return found == nullptr ? std::nullopt : std::optional(found->real);
}

}  // namespace fastep
