#include "core/cost_model.h"

#include <algorithm>

#include "core/aligned.h"

namespace fastep {
namespace {

// cycles per token = groups * group + blocks * block. A group costs the start and end of its loop and its outputs, a
// block its products and loads.
struct Cost {
  double group;
  double block;
};

// Measured by `fastep_bench --fit --tier ...` (768 x 768, 384 tokens, quantized output), gcc 12: avx2 on an AMD EPYC of
// which a virtual machine shows AVX2 alone, the others on an Intel Xeon with AVX512-VNNI and AVX-VNNI (48 KB L1, two
// 512-bit vpdpbusd per cycle). Only ratios inside a row matter. On avx2 all kinds but dense are couples
// (RhsView::couple_offset), which full weights should be, too: 4x4 is what they get there.
constexpr Cost kCosts[][kRhsKinds] = {
    //  dense           1x4            2x4             4x4             8x4             4x1
    {{102, 27.7}, {14.4, 4.31}, {30.4, 7.58}, {62.3, 14.0}, {122.6, 28.0}, {56.2, 14.8}},       // scalar
    {{0.0, 1.340}, {0.60, 0.124}, {0.95, 0.216}, {2.17, 0.411}, {5.50, 0.905}, {2.60, 0.490}},  // avx2
    {{2.4, 0.549}, {0.64, 0.083}, {0.85, 0.133}, {1.56, 0.283}, {3.30, 0.566}, {1.98, 0.352}},  // avxvnni
    {{0.8, 0.270}, {0.25, 0.060}, {0.46, 0.083}, {0.78, 0.137}, {1.33, 0.273}, {0.81, 0.205}},  // avx512vnni
};

const Cost& CostOf(RhsKind kind, Tier tier) {
  constexpr size_t kTiers = sizeof(kCosts) / sizeof(kCosts[0]);
  return kCosts[std::min(static_cast<size_t>(tier), kTiers - 1)][static_cast<int>(kind)];
}

}  // namespace

double PredictCyclesPerToken(RhsKind kind, const RhsProfile& profile, int64_t n, Tier tier) {
  const Cost& cost = CostOf(kind, tier);
  const double groups = static_cast<double>(CeilDiv(n, RowsPerGroup(kind)));
  return groups * cost.group + static_cast<double>(profile.blocks[static_cast<int>(kind)]) * cost.block;
}

double PredictFullCyclesPerToken(int64_t n, int64_t k, const KernelTable& kernels) {
  RhsProfile full;
  for (int i = 0; i < kRhsKinds; ++i) {
    full.blocks[i] = static_cast<int64_t>(CeilDiv(n, RowsPerGroup(static_cast<RhsKind>(i))) * CeilDiv(k, 4));
  }
  return PredictCyclesPerToken(ChooseRhsKind(full, n, kernels), full, n, static_cast<Tier>(kernels.tier));
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
