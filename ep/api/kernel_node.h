// A node as the custom-op door gets it, when ONNX Runtime creates its kernel.
#pragma once

#include "api/ort_api.h"
#include "ops/node_view.h"

namespace fastep {

class KernelNode final : public NodeView {
 public:
  KernelNode(const OrtKernelInfo* info, std::string op_type);

  const std::string& name() const override { return name_; }
  const std::string& op_type() const override { return op_type_; }
  size_t InputCount() const override;
  InputInfo Input(size_t index) const override;
  TensorView Constant(size_t index) const override;
  std::string OutputName(size_t index) const override;
  std::optional<std::vector<int64_t>> Ints(const std::string& attribute) const override;
  std::optional<int64_t> Int(const std::string& attribute) const override;
  std::optional<float> Float(const std::string& attribute) const override;

  const OrtLogger* logger() const;

 private:
  const OrtValue* ConstantValue(size_t index) const;  // null: not a constant

  const OrtKernelInfo* info_;
  std::string name_;
  std::string op_type_;
};

}  // namespace fastep
