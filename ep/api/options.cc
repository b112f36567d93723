#include "api/options.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "core/error.h"
#include "core/tier.h"

namespace fastep {
namespace {

constexpr size_t kMaxThreads = 4096;

[[noreturn]] void BadValue(const std::string& key, const std::string& expected, const std::string& found) {
  throw Error(std::string(kEpName) + ": option '" + key + "': expected " + expected + ", found '" + found + "'");
}

std::string TierNames() {
  std::string names;
  for (int tier = 0; tier <= static_cast<int>(Tier::kAmx); ++tier) {
    names += (tier > 0 ? ", " : "") + std::string(TierName(static_cast<Tier>(tier)));
  }
  return names;
}

void ParseMaxTier(const std::string& value, ProviderOptions& options) {
  if (!value.empty() && !ParseTier(value)) BadValue("max_tier", "one of " + TierNames(), value);
  options.max_tier = value;
}

void ParseThreads(const std::string& value, ProviderOptions& options) {
  const char* end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, options.threads);
  if (error != std::errc() || rest != end || options.threads > kMaxThreads) {
    BadValue("threads", "a whole number from 0 to " + std::to_string(kMaxThreads), value);
  }
}

bool ParseFlag(const std::string& key, const std::string& value, const char* expected = "0 or 1") {
  if (value != "0" && value != "1") BadValue(key, expected, value);
  return value == "1";
}

void ParseStrict(const std::string& value, ProviderOptions& options) { options.strict = ParseFlag("strict", value); }

void ParseSkipPadding(const std::string& value, ProviderOptions& options) {
  options.skip_padding = value == "auto"                                    ? SkipPadding::kMarked
                         : ParseFlag("skip_padding", value, "auto, 0 or 1") ? SkipPadding::kAlways
                                                                            : SkipPadding::kNever;
}

void ParseProfile(const std::string& value, ProviderOptions& options) { options.profile = value; }

// ONNX Runtime writes the EP's name in lower case into the keys.
std::string KeyPrefix() {
  std::string name = kEpName;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return "ep." + name + ".";
}

[[noreturn]] void UnknownOption(const std::string& key) {
  std::string message = std::string(kEpName) + ": unknown option '" + key + "'; the options are:";
  for (const OptionDoc& doc : OptionDocs()) {
    message += "\n  " + doc.key + " (default " + doc.default_value + "): " + doc.description;
  }
  throw Error(message);
}

}  // namespace

const std::vector<OptionDoc>& OptionDocs() {
  static const std::vector<OptionDoc> docs = {
      {"max_tier", std::string(TierName(Tier::kAmx)),
       "one of " + TierNames() + ": the highest instruction tier to use; it only lowers", ParseMaxTier},
      {"threads", "0", "0 to 4096: the session's intra-op threads, a hint for how finely to cut the work; 0 is unknown",
       ParseThreads},
      {"strict", "0",
       "0 or 1: with 1 a fastep node that this provider cannot run fails session creation, naming node and reason",
       ParseStrict},
      {"skip_padding", "auto",
       "auto, 0 or 1: with 1 tokens that the attention mask marks as right padding are not computed, the values there "
       "are 0; auto: where the model says that no output shows them",
       ParseSkipPadding},
      {"profile", "", "a file that tells what every step of every subgraph took, as JSON; empty: none", ParseProfile},
  };
  return docs;
}

ProviderOptions ParseOptions(const ConfigEntries& entries) {
  static const std::string prefix = KeyPrefix();
  ProviderOptions options;
  for (const auto& [entry, value] : entries) {
    if (entry.compare(0, prefix.size(), prefix) != 0) continue;
    const std::string key = entry.substr(prefix.size());
    const auto& docs = OptionDocs();
    const auto doc = std::find_if(docs.begin(), docs.end(), [&](const OptionDoc& d) { return d.key == key; });
    if (doc == docs.end()) UnknownOption(key);
    doc->parse(value, options);
  }
  return options;
}

}  // namespace fastep
