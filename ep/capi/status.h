// Calls of the C ABI return 0, or 1 with a message at fastep_last_error(): no exception crosses the boundary.
#pragma once

#include <exception>
#include <string>

#define FASTEP_CAPI extern "C" __attribute__((visibility("default")))

namespace fastep::capi {

// Of the calling thread.
std::string& LastError();

template <class Body>
int Guard(const Body& body) {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    LastError() = error.what();
    return 1;
  }
}

}  // namespace fastep::capi
