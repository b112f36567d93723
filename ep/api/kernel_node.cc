#include "api/kernel_node.h"

#include <utility>

#include "api/tensor_view.h"
#include "core/error.h"

namespace fastep {

KernelNode::KernelNode(const OrtKernelInfo* info, std::string op_type)
    : info_(info), name_(Ort::ConstKernelInfo(info).GetNodeName()), op_type_(std::move(op_type)) {}

size_t KernelNode::InputCount() const { return Ort::ConstKernelInfo(info_).GetInputCount(); }

InputInfo KernelNode::Input(size_t index) const {
  const Ort::ConstKernelInfo info(info_);
  const Ort::TypeInfo type_info = info.GetInputTypeInfo(index);
  auto [type, shape] = ReadTypeInfo(type_info);
  return {true, info.GetInputName(index), type, std::move(shape), ConstantValue(index) != nullptr};
}

TensorView KernelNode::Constant(size_t index) const {
  const OrtValue* value = ConstantValue(index);
  if (value == nullptr) throw Error(Where() + ": input " + std::to_string(index) + ": expected a constant");
  return ViewTensor(value);
}

std::string KernelNode::OutputName(size_t index) const { return Ort::ConstKernelInfo(info_).GetOutputName(index); }

std::optional<std::vector<int64_t>> KernelNode::Ints(const std::string& attribute) const {
  size_t size = 0;
  const Ort::Status sized(Api().KernelInfoGetAttributeArray_int64(info_, attribute.c_str(), nullptr, &size));
  if (!sized.IsOK()) return std::nullopt;
  std::vector<int64_t> ints(size);
  Ort::ThrowOnError(Api().KernelInfoGetAttributeArray_int64(info_, attribute.c_str(), ints.data(), &size));
  return ints;
}

std::optional<int64_t> KernelNode::Int(const std::string& attribute) const {
  int64_t value = 0;
  const Ort::Status status(Api().KernelInfoGetAttribute_int64(info_, attribute.c_str(), &value));
  return status.IsOK() ? std::optional<int64_t>(value) : std::nullopt;
}

std::optional<float> KernelNode::Float(const std::string& attribute) const {
  float value = 0;
  const Ort::Status status(Api().KernelInfoGetAttribute_float(info_, attribute.c_str(), &value));
  return status.IsOK() ? std::optional<float>(value) : std::nullopt;
}

const OrtLogger* KernelNode::logger() const {
  const OrtLogger* logger = nullptr;
  Ort::ThrowOnError(Api().KernelInfo_GetLogger(info_, &logger));
  return logger;
}

const OrtValue* KernelNode::ConstantValue(size_t index) const {
  int constant = 0;
  const OrtValue* value = nullptr;
  Ort::ThrowOnError(Api().KernelInfoGetConstantInput_tensor(info_, index, &constant, &value));
  return constant != 0 ? value : nullptr;
}

}  // namespace fastep
