// Initializers that stand in files beside the model, read where they stand: ONNX Runtime would map or copy them whole,
// and keep that as long as the session is created.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "api/ort_api.h"
#include "core/mapped_file.h"
#include "ops/tensor.h"

namespace fastep {

class ExternalData {
 public:
  explicit ExternalData(Ort::ConstGraph graph);
  // What was read need not stay in memory.
  ~ExternalData();
  ExternalData(const ExternalData&) = delete;
  ExternalData& operator=(const ExternalData&) = delete;

  // The value of an initializer, kept alive by its `owner`. nullopt: it stands in no file, or not in the way that it
  // should; ONNX Runtime has it, or says what is wrong. What was found before may leave memory, to come back when it is
  // touched: constants are first looked at one by one, as a whole.
  std::optional<TensorView> Find(const OrtValueInfo* value, DataType type, const Shape& shape);

 private:
  std::shared_ptr<const MappedFile> Map(const std::string& location);

  std::string folder_;  // with a slash at the end; empty: unknown
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
  const MappedFile* last_file_ = nullptr;
  const void* last_data_ = nullptr;
  size_t last_bytes_ = 0;
};

}  // namespace fastep
