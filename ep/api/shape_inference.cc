#include "api/shape_inference.h"

#include <atomic>
#include <string>
#include <vector>

namespace fastep {
namespace {

std::vector<Dimension> InputDimensions(OrtShapeInferContext* context, size_t index) {
  OrtTensorTypeAndShapeInfo* info = nullptr;  // owned by the context
  const Ort::Status status(Api().ShapeInferContext_GetInputTypeShape(context, index, &info));
  if (!status.IsOK() || info == nullptr) return {};
  size_t rank = 0;
  Ort::ThrowOnError(Api().GetDimensionsCount(info, &rank));
  std::vector<int64_t> values(rank);
  std::vector<const char*> symbols(rank);
  Ort::ThrowOnError(Api().GetDimensions(info, values.data(), rank));
  Ort::ThrowOnError(Api().GetSymbolicDimensions(info, symbols.data(), rank));
  std::vector<Dimension> dimensions(rank);
  for (size_t i = 0; i < rank; ++i) dimensions[i] = {values[i], symbols[i] == nullptr ? "" : symbols[i]};
  return dimensions;
}

std::vector<int64_t> IntsAttribute(OrtShapeInferContext* context, const char* name) {
  const OrtOpAttr* attribute = nullptr;
  const Ort::Status status(Api().ShapeInferContext_GetAttribute(context, name, &attribute));
  if (!status.IsOK() || attribute == nullptr) return {};
  size_t bytes = 0;  // a call without room tells the size
  const Ort::Status sized(Api().ReadOpAttr(attribute, ORT_OP_ATTR_INTS, nullptr, 0, &bytes));
  std::vector<int64_t> values(bytes / sizeof(int64_t));
  const Ort::Status read(Api().ReadOpAttr(attribute, ORT_OP_ATTR_INTS, values.data(), bytes, &bytes));
  return read.IsOK() ? values : std::vector<int64_t>{};
}

// Two unknown dimensions without names would count as equal, so each gets a name of its own.
std::string FreshSymbol() {
  static std::atomic<uint64_t> count{0};
  return "fastep_dim_" + std::to_string(count++);
}

}  // namespace

void InferOutputShape(const Op& op, OrtShapeInferContext* context) {
  std::vector<Dimension> y = op.InferShape(InputDimensions(context, 0), IntsAttribute(context, op.shape_attribute()));
  if (y.empty()) return;
  std::vector<int64_t> values;
  std::vector<const char*> symbols;
  for (Dimension& dimension : y) {
    if (dimension.value < 0 && dimension.symbol.empty()) dimension.symbol = FreshSymbol();
    values.push_back(dimension.symbol.empty() ? dimension.value : -1);
    symbols.push_back(dimension.symbol.c_str());
  }
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Ort::ThrowOnError(Api().CreateTensorTypeAndShapeInfo(&info));
  const Ort::TensorTypeAndShapeInfo owner(info);
  Ort::ThrowOnError(Api().SetTensorElementType(info, static_cast<ONNXTensorElementDataType>(op.output_type())));
  Ort::ThrowOnError(Api().SetDimensions(info, values.data(), values.size()));
  Ort::ThrowOnError(Api().SetSymbolicDimensions(info, symbols.data(), symbols.size()));
  Ort::ThrowOnError(Api().ShapeInferContext_SetOutputTypeShape(context, 0, info));
}

}  // namespace fastep
