#include "api/log.h"

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "core/error.h"

namespace fastep {
namespace {

constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
constexpr OrtLoggingLevel kOrtLevels[] = {ORT_LOGGING_LEVEL_VERBOSE, ORT_LOGGING_LEVEL_INFO, ORT_LOGGING_LEVEL_WARNING,
                                          ORT_LOGGING_LEVEL_ERROR};

std::string_view Environment() {
  const char* value = std::getenv("FASTEP_LOG");
  return value == nullptr ? "" : value;
}

std::optional<LogLevel> ParseLevel(std::string_view name) {
  for (int i = 0; i < 4; ++i) {
    if (name == kNames[i]) return static_cast<LogLevel>(i);
  }
  return std::nullopt;
}

}  // namespace

void CheckLogEnvironment() {
  const std::string_view value = Environment();
  if (value.empty() || ParseLevel(value)) return;
  throw Error("FASTEP_LOG: expected one of error, warning, info, debug, found '" + std::string(value) +
              "'; set one of these or unset it");
}

void Log(const OrtLogger* logger, LogLevel level, const std::string& message) noexcept {
  const int index = static_cast<int>(level);
  if (!Environment().empty()) {
    const auto threshold = ParseLevel(Environment());
    if (threshold && level >= *threshold) std::fprintf(stderr, "[fastep] %s: %s\n", kNames[index], message.c_str());
  } else if (logger != nullptr) {
    OrtStatus* status =
        Api().Logger_LogMessage(logger, kOrtLevels[index], message.c_str(), ORT_FILE, __LINE__, "FastEP");
    if (status != nullptr) Api().ReleaseStatus(status);
  }
}

}  // namespace fastep
