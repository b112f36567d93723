#include "api/draft_path.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace fastep {

std::string DraftPath(const std::string& path) {
  static std::atomic<uint64_t> drafts{0};
  return path + ".draft-" + std::to_string(getpid()) + "-" + std::to_string(drafts++);
}

}  // namespace fastep
