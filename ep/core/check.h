// Check(condition, node name, message parts...): throws fastep::Error "QLinear 'name': message".
#pragma once

#include <sstream>
#include <string>

#include "core/error.h"

namespace fastep {

template <class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void Fail(const std::string& name, const Parts&... parts) {
  std::ostringstream message;
  message << "QLinear '" << name << "': ";
  (message << ... << parts);
  throw Error(message.str());
}

template <class... Parts>
void Check(bool condition, const std::string& name, const Parts&... parts) {
  if (!condition) Fail(name, parts...);
}

}  // namespace fastep
