// Messages of the library.
//
// FASTEP_LOG=error|warning|info|debug prints them to standard error, from that level up:
//   error     bad options; a profile that can no longer be written
//   warning   a fastep node is left to ONNX Runtime, with the reason
//   info      per graph: how many fastep nodes are taken, and the tier
//   debug     per node: which kernel, how dense, how many bytes
// Without it they go to ONNX Runtime's own logger, filtered by the session's log severity.
#pragma once

#include <string>

#include "api/ort_api.h"

namespace fastep {

enum class LogLevel : int { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

// Throws Error if FASTEP_LOG holds an unknown level.
void CheckLogEnvironment();

// `logger` may be null: then only FASTEP_LOG shows the message.
void Log(const OrtLogger* logger, LogLevel level, const std::string& message) noexcept;

}  // namespace fastep
