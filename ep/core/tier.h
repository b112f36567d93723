// The instruction tiers: which were built, which this machine can run, which one is used.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fastep {

struct KernelTable;

// Ordered: a later tier is preferred. Spelled the same everywhere: folders, CMake, CLI, JSON, FASTEP_MAX_TIER.
enum class Tier : int { kScalar = 0, kAvx2 = 1, kAvxVnni = 2, kAvx512Vnni = 3, kAmx = 4 };

std::string_view TierName(Tier tier);
std::optional<Tier> ParseTier(std::string_view name);

std::vector<Tier> BuiltTiers();      // compiled into this library
std::vector<Tier> SupportedTiers();  // of those, the ones this CPU and OS run

// built, supported and allowed. `max_tier` (empty: no limit) and the environment variable FASTEP_MAX_TIER only lower.
// Throws fastep::Error for an unknown name, listing the known ones.
Tier ChooseTier(std::string_view max_tier = {});

// The kernels of a built tier; throws fastep::Error for a tier that is not in this library.
const KernelTable& KernelsOf(Tier tier);

}  // namespace fastep
