#include "api/tensor_view.h"

namespace fastep {
namespace {

static_assert(static_cast<int>(DataType::kFloat) == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
static_assert(static_cast<int>(DataType::kUint8) == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
static_assert(static_cast<int>(DataType::kInt8) == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8);
static_assert(static_cast<int>(DataType::kUint16) == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16);

TypeAndShape ReadTensorInfo(const OrtTensorTypeAndShapeInfo* info) {
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  Ort::ThrowOnError(Api().GetTensorElementType(info, &type));
  size_t rank = 0;
  Ort::ThrowOnError(Api().GetDimensionsCount(info, &rank));
  Shape shape(rank);
  Ort::ThrowOnError(Api().GetDimensions(info, shape.data(), rank));
  return {static_cast<DataType>(type), std::move(shape)};
}

}  // namespace

TensorView ViewTensor(const OrtValue* value) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Ort::ThrowOnError(Api().GetTensorTypeAndShape(value, &info));
  const Ort::TensorTypeAndShapeInfo owner(info);
  TypeAndShape read = ReadTensorInfo(info);
  TensorView view{read.type, std::move(read.shape), nullptr};
  Ort::ThrowOnError(Api().GetTensorData(value, &view.data));
  return view;
}

TypeAndShape ReadTypeInfo(const OrtTypeInfo* info) {
  const OrtTensorTypeAndShapeInfo* tensor = nullptr;
  if (info != nullptr) Ort::ThrowOnError(Api().CastTypeInfoToTensorInfo(info, &tensor));
  return tensor == nullptr ? TypeAndShape{} : ReadTensorInfo(tensor);
}

TypeAndShape ReadTypeInfo(Ort::ConstValueInfo value) {
  const OrtTypeInfo* info = nullptr;
  Ort::ThrowOnError(Api().GetValueInfoTypeInfo(value, &info));
  return ReadTypeInfo(info);
}

}  // namespace fastep
