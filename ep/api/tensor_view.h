// ONNX Runtime's tensors in the terms of ep/ops. The numbers of DataType are those of ONNXTensorElementDataType.
#pragma once

#include "api/ort_api.h"
#include "ops/tensor.h"

namespace fastep {

TensorView ViewTensor(const OrtValue* value);

struct TypeAndShape {
  DataType type = DataType::kUndefined;
  Shape shape;
};
// Not a tensor, or nothing known: undefined and empty.
TypeAndShape ReadTypeInfo(const OrtTypeInfo* info);
TypeAndShape ReadTypeInfo(Ort::ConstValueInfo value);

}  // namespace fastep
