// A file as memory, read only: pages come when they are touched, and all processes that map the file share them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace fastep {

class MappedFile {
 public:
  // Throws Error: not there, not readable, no regular file, empty.
  static std::shared_ptr<const MappedFile> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

  // The pages that lie in [data, data + bytes) need not stay in memory: they come again when they are touched.
  void Release(const void* data, size_t bytes) const;

 private:
  MappedFile(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  const uint8_t* data_;
  size_t size_;
};

}  // namespace fastep
