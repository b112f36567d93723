#include "api/model_folder.h"

#include <filesystem>

namespace fastep {

std::string ModelPath(Ort::ConstGraph graph) {
  const ORTCHAR_T* path = nullptr;
  Ort::ThrowOnError(Api().Graph_GetModelPath(graph, &path));
  return path == nullptr ? "" : path;
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "./" : path.substr(0, slash + 1);
}

bool StaysInside(const std::string& location) {
  const std::filesystem::path path(location);
  if (path.empty() || path.is_absolute() || !path.has_filename()) return false;
  for (const std::filesystem::path& part : path) {
    if (part == "." || part == "..") return false;
  }
  return true;
}

}  // namespace fastep
