// The file of compiled plans beside a compiled model: written whole, or not at all.
#pragma once

#include <string>

#include "ops/plan_blob.h"

namespace fastep {

class ContextFile {
 public:
  explicit ContextFile(std::string path);
  // Without Commit nothing is left behind.
  ~ContextFile();
  ContextFile(const ContextFile&) = delete;
  ContextFile& operator=(const ContextFile&) = delete;

  const std::string& path() const { return path_; }
  // Behind those that are there. Throws Error.
  void Append(const PlanBlob& blob);
  // Takes the place of what was at `path`. More may be appended and committed after it. Throws Error.
  void Commit();

 private:
  void Open();
  [[noreturn]] void Fail(const char* what) const;

  std::string path_, draft_;
  int descriptor_ = -1;
  bool committed_ = false;
};

}  // namespace fastep
