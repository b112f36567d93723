#include "core/linear.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "core/check.h"
#include "core/cost_model.h"
#include "core/epilogue_params.h"
#include "core/linear_run.h"
#include "core/packed_rhs.h"
#include "core/wide_linear.h"

namespace fastep {
namespace {

class PackedLinear final : public Linear {
 public:
  PackedLinear(const LinearSpec& spec, const Weights& weights, const KernelTable& kernels, RhsKind kind,
               const RhsProfile& profile)
      : n_(weights.n),
        k_(weights.k),
        flip_(spec.x_type == ElementType::kS8 ? 0x80 : 0),
        kernels_(kernels),
        epilogue_(spec, weights),
        rhs_(weights, kind, kernels) {
    const double all = static_cast<double>(n_) * static_cast<double>(k_);
    info_.kind = kind;
    info_.density = static_cast<double>(profile.non_zeros) / all;
    info_.work_density = static_cast<double>(rhs_.blocks()) * BlockProducts(kind) / all;
    info_.kind_density = profile.Densities(n_, k_);
    info_.packed_bytes = rhs_.bytes();
    info_.predicted_cycles_per_token = PredictCyclesPerToken(kind, profile, n_, static_cast<Tier>(kernels.tier));
  }

  int64_t n() const override { return n_; }
  int64_t k() const override { return k_; }
  const LinearInfo& info() const override { return info_; }

  void Run(const void* x, int64_t m, void* y, Parallel& parallel, Arena& arena) const override {
    RunWith(epilogue_.View(), x, m, y, parallel, arena);
  }

  void RunAccumulators(const void* x, int64_t m, int32_t* acc, Parallel& parallel, Arena& arena) const override {
    RunWith(epilogue_.AccumulatorView(), x, m, acc, parallel, arena);
  }

 private:
  void RunWith(const Epilogue& epilogue, const void* x, int64_t m, void* y, Parallel& parallel, Arena& arena) const {
    const LinearRun run{kernels_,
                        rhs_,
                        epilogue,
                        n_,
                        k_,
                        m,
                        static_cast<const uint8_t*>(x),
                        flip_,
                        epilogue_.x_zero_point(),
                        static_cast<uint8_t*>(y)};
    RunLinear(run, parallel, arena);
  }

  int64_t n_, k_;
  uint8_t flip_;
  const KernelTable& kernels_;
  EpilogueParams epilogue_;
  PackedRhs rhs_;
  LinearInfo info_;
};

// The cost model's choice, or the forced kind where the tier has it. Weights with zero points are not sparse: dense.
RhsKind KindFor(const Weights& weights, const RhsProfile& profile, const KernelTable& kernels, const RhsKind* forced) {
  const auto offered = [&](RhsKind kind) { return kernels.product[static_cast<int>(kind)] != nullptr; };
  if (!weights.zero_point.empty() && offered(RhsKind::kDense)) return RhsKind::kDense;
  if (forced != nullptr && offered(*forced)) return *forced;
  return ChooseRhsKind(profile, weights.n, kernels);
}

}  // namespace

const char* RhsKindName(RhsKind kind) {
  static const char* const kNames[kRhsKinds] = {"dense", "1x4", "2x4", "4x4", "8x4", "4x1"};
  return kNames[static_cast<int>(kind)];
}

std::string DescribeProduct(int64_t n, int64_t k, const LinearInfo& info) {
  char text[160];
  std::snprintf(text, sizeof text, "N %lld, K %lld, kernel %s, density %.3f (computed %.3f), packed %zu bytes",
                static_cast<long long>(n), static_cast<long long>(k), RhsKindName(info.kind), info.density,
                info.work_density, info.packed_bytes);
  return text;
}

std::shared_ptr<const Linear> Linear::Create(const LinearSpec& spec, Tier tier, const RhsKind* forced) {
  const std::vector<Tier> supported = SupportedTiers();
  Check(std::find(supported.begin(), supported.end(), tier) != supported.end(), spec.name, "tier '", TierName(tier),
        "' was not built or does not run on this CPU; take one of SupportedTiers()");
  const KernelTable& kernels = KernelsOf(tier);
  const Weights weights = DecodeWeights(spec);
  const RhsProfile profile = ProfileRhs(weights);
  if (!FitsInt32(spec, weights)) return CreateWideLinear(spec, weights, profile);
  return std::make_shared<PackedLinear>(spec, weights, kernels, KindFor(weights, profile, kernels, forced), profile);
}

}  // namespace fastep
