// A node of the graph that ONNX Runtime shows to the execution provider.
#pragma once

#include "api/external_data.h"
#include "api/ort_api.h"
#include "ops/node_view.h"

namespace fastep {

class GraphNode final : public NodeView {
 public:
  // `data`: where constants outside of the model are found without ONNX Runtime; may be null.
  explicit GraphNode(Ort::ConstNode node, ExternalData* data = nullptr);

  const std::string& name() const override { return name_; }
  const std::string& op_type() const override { return op_type_; }
  size_t InputCount() const override { return inputs_.size(); }
  InputInfo Input(size_t index) const override;
  TensorView Constant(size_t index) const override;
  std::string OutputName(size_t index) const override;
  std::optional<std::vector<int64_t>> Ints(const std::string& attribute) const override;
  std::optional<int64_t> Int(const std::string& attribute) const override;
  std::optional<float> Float(const std::string& attribute) const override;

  int version() const { return node_.GetSinceVersion(); }

 private:
  Ort::ConstNode node_;
  std::string name_;
  std::string op_type_;
  std::vector<Ort::ConstValueInfo> inputs_;
  ExternalData* data_;
};

}  // namespace fastep
