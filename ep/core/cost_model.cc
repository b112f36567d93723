#include "core/cost_model.h"

#include "core/aligned.h"

namespace fastep {
namespace {

// time of a tile = groups * group + blocks * block, in cycles per token, measured by `fastep_bench --fit`.
// A group costs the start and end of its loop, and its share of the output; a block its products and its loads.
struct Cost {
  double group;
  double block;
};

//                                       dense           1x4             2x4             4x4             8x4 4x1
constexpr Cost kVnni512[kRhsKinds] = {{0.40, 0.28},  {0.20, 0.060}, {0.25, 0.080},
                                      {0.30, 0.140}, {0.40, 0.280}, {0.30, 0.20}};

}  // namespace

double PredictCyclesPerToken(RhsKind kind, const RhsProfile& profile, int64_t n, Tier) {
  const Cost& cost = kVnni512[static_cast<int>(kind)];
  const double groups = static_cast<double>(CeilDiv(n, RowsPerGroup(kind)));
  return groups * cost.group + static_cast<double>(profile.blocks[static_cast<int>(kind)]) * cost.block;
}

RhsKind ChooseRhsKind(const RhsProfile& profile, int64_t n, const KernelTable& kernels) {
  const Tier tier = static_cast<Tier>(kernels.tier);
  RhsKind best = RhsKind::kDense;
  double best_cycles = 0;
  bool found = false;
  for (int i = 0; i < kRhsKinds; ++i) {
    const RhsKind kind = static_cast<RhsKind>(i);
    if (kernels.product[i] == nullptr) continue;
    const double cycles = PredictCyclesPerToken(kind, profile, n, tier);
    if (!found || cycles < best_cycles) {
      best = kind;
      best_cycles = cycles;
      found = true;
    }
  }
  return best;
}

}  // namespace fastep
