#include "api/shape_inference.h"

#include <atomic>
#include <string>
#include <vector>

namespace fastep {
namespace {

class OrtShapeContext final : public ShapeContext {
 public:
  explicit OrtShapeContext(OrtShapeInferContext* context) : context_(context) {}

  std::vector<Dimension> InputShape(size_t index) const override {
    OrtTensorTypeAndShapeInfo* info = nullptr;  // owned by the context
    const Ort::Status status(Api().ShapeInferContext_GetInputTypeShape(context_, index, &info));
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

  std::vector<int64_t> Ints(const char* name) const override {
    const OrtOpAttr* attribute = nullptr;
    const Ort::Status status(Api().ShapeInferContext_GetAttribute(context_, name, &attribute));
    if (!status.IsOK() || attribute == nullptr) return {};
    size_t bytes = 0;  // a call without room tells the size
    const Ort::Status sized(Api().ReadOpAttr(attribute, ORT_OP_ATTR_INTS, nullptr, 0, &bytes));
    std::vector<int64_t> values(bytes / sizeof(int64_t));
    const Ort::Status read(Api().ReadOpAttr(attribute, ORT_OP_ATTR_INTS, values.data(), bytes, &bytes));
    return read.IsOK() ? values : std::vector<int64_t>{};
  }

 private:
  OrtShapeInferContext* context_;
};

// Two unknown dimensions without names would count as equal, so each gets a name of its own.
std::string FreshSymbol() {
  static std::atomic<uint64_t> count{0};
  return "fastep_dim_" + std::to_string(count++);
}

void SetOutputShape(OrtShapeInferContext* context, size_t index, DataType type, std::vector<Dimension> shape) {
  std::vector<int64_t> values;
  std::vector<const char*> symbols;
  for (Dimension& dimension : shape) {
    if (dimension.value < 0 && dimension.symbol.empty()) dimension.symbol = FreshSymbol();
    values.push_back(dimension.symbol.empty() ? dimension.value : -1);
    symbols.push_back(dimension.symbol.c_str());
  }
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Ort::ThrowOnError(Api().CreateTensorTypeAndShapeInfo(&info));
  const Ort::TensorTypeAndShapeInfo owner(info);
  Ort::ThrowOnError(Api().SetTensorElementType(info, static_cast<ONNXTensorElementDataType>(type)));
  Ort::ThrowOnError(Api().SetDimensions(info, values.data(), values.size()));
  Ort::ThrowOnError(Api().SetSymbolicDimensions(info, symbols.data(), symbols.size()));
  Ort::ThrowOnError(Api().ShapeInferContext_SetOutputTypeShape(context, index, info));
}

}  // namespace

void InferOutputShapes(const Op& op, OrtShapeInferContext* context) {
  const auto shapes = op.InferShapes(OrtShapeContext(context));
  for (size_t i = 0; i < shapes.size(); ++i) {
    if (!shapes[i].empty()) SetOutputShape(context, i, op.outputs()[i], shapes[i]);
  }
}

}  // namespace fastep
