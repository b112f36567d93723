// Messages of the library.
//
// FASTEP_LOG=error|warning|info|debug prints them to standard error, from that level up:
//   error     a session or a Run fails
//   warning   a fastep node is left to ONNX Runtime, with the reason
//   info      one line per session and graph: the tier, how many fastep nodes were taken
//   debug     one line per node: which kernel, how dense, how many bytes
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
