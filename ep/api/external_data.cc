#include "api/external_data.h"

#include "api/model_folder.h"
#include "core/error.h"

namespace fastep {

ExternalData::ExternalData(Ort::ConstGraph graph) {
  const std::string path = ModelPath(graph);
  if (!path.empty()) folder_ = FolderOf(path);
}

ExternalData::~ExternalData() {
  for (const auto& [location, file] : files_) {
    if (file != nullptr) file->Release(file->data(), file->size());
  }
}

// Null: not to be read from here.
std::shared_ptr<const MappedFile> ExternalData::Map(const std::string& location) {
  const auto known = files_.find(location);
  if (known != files_.end()) return known->second;
  std::shared_ptr<const MappedFile> file;
  if (!folder_.empty() && StaysInside(location)) {
    try {
      file = MappedFile::Open(folder_ + location);
    } catch (const Error&) {
      // ONNX Runtime says what it thinks of it.
    }
  }
  return files_[location] = file;
}

std::optional<TensorView> ExternalData::Find(const OrtValueInfo* value, DataType type, const Shape& shape) {
  OrtExternalInitializerInfo* info = nullptr;
  Ort::ThrowOnError(Api().ValueInfo_GetExternalInitializerInfo(value, &info));
  if (info == nullptr) return std::nullopt;
  const std::string location = Api().ExternalInitializerInfo_GetFilePath(info);
  const int64_t offset = Api().ExternalInitializerInfo_GetFileOffset(info);
  const size_t bytes = Api().ExternalInitializerInfo_GetByteSize(info);
  Api().ReleaseExternalInitializerInfo(info);
  const std::shared_ptr<const MappedFile> file = Map(location);
  if (file == nullptr || offset < 0 || static_cast<uint64_t>(offset) > file->size()) return std::nullopt;
  const bool inside = bytes <= file->size() - static_cast<size_t>(offset);
  const size_t element_bytes = ElementBytes(type);
  const bool whole = bytes == static_cast<size_t>(ElementCount(shape)) * element_bytes;
  if (!inside || !whole || static_cast<size_t>(offset) % element_bytes != 0) return std::nullopt;
  if (last_file_ != nullptr) last_file_->Release(last_data_, last_bytes_);
  last_file_ = file.get();
  last_data_ = file->data() + offset;
  last_bytes_ = bytes;
  return TensorView{type, shape, last_data_, file};
}

}  // namespace fastep
