#include "api/context_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "api/draft_path.h"
#include "core/error.h"

namespace fastep {

ContextFile::ContextFile(std::string path) : path_(std::move(path)), draft_(DraftPath(path_)) {}

ContextFile::~ContextFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(draft_.c_str());
}

void ContextFile::Fail(const char* what) const {
  throw Error("compiled plans cannot be written to '" + path_ + "': " + what + ": " + std::strerror(errno) +
              "; set ep.context_file_path to a place that can be written, or ep.context_embed_mode to 1");
}

void ContextFile::Open() {
  if (committed_ && std::rename(path_.c_str(), draft_.c_str()) != 0) Fail("rename");
  const int keep = committed_ ? 0 : O_TRUNC;
  descriptor_ = open(draft_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | keep, 0666);
  if (descriptor_ < 0) Fail("open");
}

void ContextFile::Append(const PlanBlob& blob) {
  if (descriptor_ < 0) Open();
  blob.Write([this](const void* data, size_t bytes) {
    const auto* at = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t written = write(descriptor_, at, bytes);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) Fail("write");
      at += written;
      bytes -= static_cast<size_t>(written);
    }
  });
}

void ContextFile::Commit() {
  if (descriptor_ < 0) return;
  if (close(std::exchange(descriptor_, -1)) != 0 || std::rename(draft_.c_str(), path_.c_str()) != 0) {
    unlink(draft_.c_str());
    Fail("close and rename");
  }
  committed_ = true;
}

}  // namespace fastep
