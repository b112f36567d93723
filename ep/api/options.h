// The options of the execution provider: session configuration entries ep.fastepexecutionprovider.<key>.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "ops/graph_plan.h"

namespace fastep {

constexpr const char* kEpName = "FastEPExecutionProvider";

using ConfigEntries = std::vector<std::pair<std::string, std::string>>;  // key, value

struct ProviderOptions {
  std::string max_tier;
  size_t threads = 0;
  bool strict = false;
  SkipPadding skip_padding = SkipPadding::kMarked;
  std::string profile;  // file; empty: none
};

struct OptionDoc {
  std::string key;
  std::string default_value;
  std::string description;  // the accepted values, then what they do
  void (*parse)(const std::string& value, ProviderOptions& options);
};

const std::vector<OptionDoc>& OptionDocs();  // the only list of options

// `entries`: all configuration entries of a session; those of other owners are ignored.
// Throws Error for an unknown key (listing the known ones) and for a bad value.
ProviderOptions ParseOptions(const ConfigEntries& entries);

}  // namespace fastep
