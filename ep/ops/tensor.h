// Tensors as an op sees them: typed, without any ONNX Runtime type.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fastep {

// The numbers are those of onnx.TensorProto.DataType (and of ONNXTensorElementDataType).
enum class DataType : int {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt32 = 6,
  kInt64 = 7,
  kBool = 9
};

using Shape = std::vector<int64_t>;  // -1: unknown

struct TensorView {
  DataType type = DataType::kUndefined;
  Shape shape;
  const void* data = nullptr;
  std::shared_ptr<const void> owner = nullptr;  // keeps `data` alive; null: somebody else does, for as long as agreed

  template <typename T>
  const T* As() const {
    return static_cast<const T*>(data);
  }
};

std::string DataTypeName(DataType type);    // "float32", "uint8", ...; also for types that no op takes
std::string ShapeText(const Shape& shape);  // "[2, ?, 64]"
int64_t ElementCount(const Shape& shape);   // product of the dimensions
size_t ElementBytes(DataType type);         // of the types above

}  // namespace fastep
