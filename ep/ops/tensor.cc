#include "ops/tensor.h"

namespace fastep {

std::string DataTypeName(DataType type) {
  static const char* const kNames[] = {"undefined", "float32", "uint8",     "int8",       "uint16",  "int16",
                                       "int32",     "int64",   "string",    "bool",       "float16", "float64",
                                       "uint32",    "uint64",  "complex64", "complex128", "bfloat16"};
  const auto index = static_cast<size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "type " + std::to_string(index);
}

std::string ShapeText(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += shape[i] < 0 ? "?" : std::to_string(shape[i]);
  }
  return text + "]";
}

int64_t ElementCount(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

size_t ElementBytes(DataType type) {
  switch (type) {
    case DataType::kInt64:
      return 8;
    case DataType::kFloat:
    case DataType::kInt32:
      return 4;
    case DataType::kUint16:
      return 2;
    default:
      return 1;
  }
}

}  // namespace fastep
