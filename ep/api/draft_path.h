// Where a file is written before it takes the place of another, whole.
#pragma once

#include <string>

namespace fastep {

// In the folder of `path`; no other call has it, of this process or of others.
std::string DraftPath(const std::string& path);

}  // namespace fastep
