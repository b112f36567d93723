// C ABI for tests: the instruction tiers.

#include "capi/status.h"
#include "core/tier.h"

namespace fastep::capi {
namespace {

int CopyTiers(const std::vector<Tier>& tiers, int* out) {
  int count = 0;
  for (const Tier tier : tiers) out[count++] = static_cast<int>(tier);
  return count;
}

}  // namespace

std::string& LastError() {
  thread_local std::string message;
  return message;
}

FASTEP_CAPI const char* fastep_last_error() { return LastError().c_str(); }

// `out` has room for 8; returns how many were written.
FASTEP_CAPI int fastep_built_tiers(int* out) { return CopyTiers(BuiltTiers(), out); }
FASTEP_CAPI int fastep_supported_tiers(int* out) { return CopyTiers(SupportedTiers(), out); }

FASTEP_CAPI int fastep_choose_tier(const char* max_tier, int* out) {
  return Guard([&] { *out = static_cast<int>(ChooseTier(max_tier)); });
}

FASTEP_CAPI int fastep_parse_tier(const char* name) {
  const std::optional<Tier> tier = ParseTier(name);
  return tier ? static_cast<int>(*tier) : -1;
}

}  // namespace fastep::capi
