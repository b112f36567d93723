#include "ops/norm_rules.h"

#include <cmath>

#include "core/error.h"
#include "ops/input_rules.h"
#include "ops/quantization.h"

namespace fastep {
namespace {

constexpr const char* kEpsilon = "epsilon";

}  // namespace

std::string NormOutputs::Suffix() const {
  std::string suffix = as_float ? "_f32" : "";
  if (quantized != ElementType::kF32) suffix += quantized == ElementType::kU8 ? "_u8" : "_s8";
  return suffix;
}

std::vector<DataType> NormOutputs::Types() const {
  std::vector<DataType> types;
  if (as_float) types.push_back(DataType::kFloat);
  if (quantized != ElementType::kF32) types.push_back(DataTypeOf(quantized));
  return types;
}

const std::vector<NormOutputs>& AllNormOutputs() {
  static const std::vector<NormOutputs> all = {{true, ElementType::kF32},
                                               {false, ElementType::kU8},
                                               {false, ElementType::kS8},
                                               {true, ElementType::kU8},
                                               {true, ElementType::kS8}};
  return all;
}

void AddNormInputs(const NormOutputs& outputs, std::vector<InputDef>& inputs) {
  inputs.push_back({"gamma", {DataType::kFloat}});
  inputs.push_back({"beta", {DataType::kFloat}});
  if (outputs.quantized == ElementType::kF32) return;
  inputs.push_back({"y_scale", {DataType::kFloat}});
  inputs.push_back({"y_zero_point", {DataTypeOf(outputs.quantized)}});
}

void CheckNorm(const NodeView& node) {
  const std::optional<float> epsilon = node.Float(kEpsilon);
  if (epsilon && std::isfinite(*epsilon) && *epsilon >= 0) return;
  throw Error(node.Where() + ": attribute 'epsilon': expected a finite float >= 0, found " +
              (epsilon ? std::to_string(*epsilon) : "no such attribute") +
              "; convert the model again with this version of FastEP");
}

NormSpec ReadNorm(const NodeView& node, const std::vector<InputDef>& inputs, size_t gamma, const NormOutputs& outputs) {
  CheckNorm(node);
  NormSpec spec;
  spec.name = node.name();
  const TensorView values = ReadConstant(node, inputs, gamma, {{-1}});
  spec.features = values.shape[0];
  spec.gamma = values.As<float>();
  spec.beta = ReadConstant(node, inputs, gamma + 1, {{spec.features}}).As<float>();
  spec.epsilon = *node.Float(kEpsilon);
  spec.wants_float = outputs.as_float;
  if (outputs.quantized != ElementType::kF32) spec.quantized = ReadQuantization(node, inputs, gamma + 2);
  return spec;
}

void DefineNorm(GraphBuilder& builder, const NodeView& node, const NormValues& values) {
  size_t index = 0;
  if (values.as_float != kNoValue) builder.Define(node, index++, values.as_float);
  if (values.quantized != kNoValue) builder.Define(node, index, values.quantized);
}

}  // namespace fastep
