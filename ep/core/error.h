// The one exception type of the library; ep/api turns it into an OrtStatus.
#pragma once

#include <stdexcept>
#include <string>

namespace fastep {

// what() says what was expected, what was found, where, and what to do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace fastep
