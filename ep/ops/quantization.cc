#include "ops/quantization.h"

#include "ops/input_rules.h"

namespace fastep {

DataType DataTypeOf(ElementType type) {
  return type == ElementType::kU8 ? DataType::kUint8 : type == ElementType::kS8 ? DataType::kInt8 : DataType::kFloat;
}

Quantization ReadQuantization(const NodeView& node, const std::vector<InputDef>& inputs, size_t scale) {
  const std::vector<Shape> scalar = {{}, {1}};
  const TensorView zero_point = ReadConstant(node, inputs, scale + 1, scalar);
  const bool is_signed = zero_point.type == DataType::kInt8;
  return {is_signed ? ElementType::kS8 : ElementType::kU8, *ReadConstant(node, inputs, scale, scalar).As<float>(),
          is_signed ? int32_t{*zero_point.As<int8_t>()} : int32_t{*zero_point.As<uint8_t>()}};
}

}  // namespace fastep
