// The file that a session's profile is written to; docs/profile.md describes it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "api/run_totals.h"
#include "core/tier.h"

namespace fastep {

struct SubgraphProfile {
  std::string name;
  SubgraphTotals totals;
};

struct SessionProfile {
  Tier tier = Tier::kScalar;
  size_t threads = 0;                // 0: unknown
  bool complete = false;             // the session has ended
  double peak_macs_per_second = 0;   // of one thread; 0: not known
  double read_bytes_per_second = 0;  // of one thread, of as many bytes as the weights have; 0: not measured
  std::vector<SubgraphProfile> subgraphs;
};

std::string ToJson(const SessionProfile& profile);

}  // namespace fastep
