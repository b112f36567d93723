// Require(condition, "QAttention 'name'", message parts...): throws fastep::Error "QAttention 'name': message".
#pragma once

#include <sstream>
#include <string>

#include "core/error.h"

namespace fastep {

template <class... Parts>
void Require(bool condition, const std::string& where, const Parts&... parts) {
  if (condition) return;
  std::ostringstream message;
  message << where << ": ";
  (message << ... << parts);
  throw Error(message.str());
}

}  // namespace fastep
