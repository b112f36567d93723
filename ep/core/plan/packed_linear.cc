#include "core/plan/packed_linear.h"

#include <string>
#include <utility>

#include "core/check.h"
#include "core/cost_model.h"
#include "core/rhs_profile.h"

namespace fastep {
namespace {

RhsKind ChooseKind(const Weights& weights, const RhsProfile& profile, const KernelTable& kernels) {
  return weights.zero_point.empty() ? ChooseRhsKind(profile, weights.n, kernels) : RhsKind::kDense;
}

// Rows of `next` below those of `all`.
void AppendRows(Weights& all, Weights next) {
  if (all.values.empty()) {
    all = std::move(next);
    return;
  }
  if (!all.zero_point.empty() || !next.zero_point.empty()) {
    all.zero_point.resize(static_cast<size_t>(all.n));
    next.zero_point.resize(static_cast<size_t>(next.n));
    all.zero_point.insert(all.zero_point.end(), next.zero_point.begin(), next.zero_point.end());
  }
  all.values.insert(all.values.end(), next.values.begin(), next.values.end());
  all.n += next.n;
}

}  // namespace

// The epilogues of several linears, one below the other.
class PackedLinears::Parts {
 public:
  void Append(const Epilogue& part, int64_t n) {
    const size_t rows = RoundUp(static_cast<size_t>(n), kRowStep);
    const size_t before = acc_init_.size();
    const bool bounded = before == 0 || epilogue_.bounded;
    epilogue_ = part;
    epilogue_.bounded = part.bounded && bounded;
    acc_init_.insert(acc_init_.end(), part.acc_init, part.acc_init + rows);
    scale_.insert(scale_.end(), part.scale, part.scale + rows);
    bias_.insert(bias_.end(), part.bias, part.bias + rows);
    if (part.rhs_zero_point == nullptr && rhs_zero_point_.empty()) return;
    rhs_zero_point_.resize(before);
    if (part.rhs_zero_point != nullptr) {
      rhs_zero_point_.insert(rhs_zero_point_.end(), part.rhs_zero_point, part.rhs_zero_point + rows);
    }
    rhs_zero_point_.resize(before + rows);
  }

  void MoveTo(PackedLinears& linears) {
    linears.epilogue_ = epilogue_;
    linears.acc_init_ = SharedArray<int32_t>(std::move(acc_init_));
    linears.scale_ = SharedArray<float>(std::move(scale_));
    linears.bias_ = SharedArray<float>(std::move(bias_));
    linears.rhs_zero_point_ = SharedArray<int32_t>(std::move(rhs_zero_point_));
  }

 private:
  Epilogue epilogue_{};
  AlignedVector<int32_t> acc_init_, rhs_zero_point_;
  AlignedVector<float> scale_, bias_;
};

PackedLinears::PackedLinears(const std::vector<const LinearSpec*>& specs, const KernelTable& kernels) {
  Weights all;
  Parts parts;
  for (const LinearSpec* spec : specs) {
    Weights weights = DecodeWeights(*spec);
    fastep::Check(FitsInt32(*spec, weights), spec->name, "sums of products over K = ", weights.k,
                  " do not fit int32; such a layer has no place in a plan");
    const EpilogueParams params(*spec, weights);
    x_zero_point_ = params.x_zero_point();
    parts.Append(params.View(), weights.n);
    AppendRows(all, std::move(weights));
  }
  parts.MoveTo(*this);
  n_ = static_cast<int32_t>(all.n);
  k_ = static_cast<int32_t>(all.k);
  const RhsProfile profile = ProfileRhs(all);
  const RhsKind kind = ChooseKind(all, profile, kernels);
  rhs_ = PackedRhs(all, kind, kernels);
  const double products = static_cast<double>(all.n) * static_cast<double>(all.k);
  info_.kind = kind;
  info_.density = static_cast<double>(profile.non_zeros) / products;
  info_.work_density = static_cast<double>(rhs_.blocks()) * BlockProducts(kind) / products;
  info_.kind_density = profile.Densities(all.n, all.k);
  info_.packed_bytes = rhs_.bytes();
  info_.predicted_cycles_per_token = PredictCyclesPerToken(kind, profile, all.n, static_cast<Tier>(kernels.tier));
}

void PackedLinears::MoveInto(PagePool& pool) {
  rhs_.MoveInto(pool);
  pool.Take(acc_init_);
  pool.Take(scale_);
  pool.Take(bias_);
  pool.Take(rhs_zero_point_);
}

Epilogue PackedLinears::View() const {
  Epilogue view = epilogue_;
  view.acc_init = acc_init_.data();
  view.scale = scale_.data();
  view.bias = bias_.data();
  view.rhs_zero_point = rhs_zero_point_.empty() ? nullptr : rhs_zero_point_.data();
  return view;
}

void PackedLinears::Check(const std::vector<const LinearSpec*>& specs, const KernelTable& kernels) const {
  int64_t n = 0;
  for (const LinearSpec* spec : specs) n += spec->weight.n;
  const LinearSpec& first = *specs.front();
  const std::string& name = first.name;
  fastep::Check(n == n_ && first.weight.k == k_, name, "expected a packed product of ", n, " x ", first.weight.k,
                ", found one of ", n_, " x ", k_);
  const OutputKind kind = first.y_type == ElementType::kU8   ? OutputKind::kQuantU8
                          : first.y_type == ElementType::kS8 ? OutputKind::kQuantS8
                                                             : OutputKind::kFloat;
  fastep::Check(epilogue_.kind == kind && epilogue_.activation == first.activation && info_.kind == rhs_.kind(), name,
                "the packed product is of another kind");
  const size_t rows = RoundUp(static_cast<size_t>(n), kRowStep);
  const bool arrays = acc_init_.size() == rows && scale_.size() == rows && bias_.size() == rows &&
                      (rhs_zero_point_.empty() || rhs_zero_point_.size() == rows);
  fastep::Check(arrays, name, "expected scales and biases of ", rows, " rows");
  // Only dense products subtract zero points.
  fastep::Check(rhs_zero_point_.empty() || rhs_.kind() == RhsKind::kDense, name, "zero points need dense weights");
  rhs_.Check(n, k_, kernels);
}

bool CanMerge(const LinearSpec& first, const LinearSpec& next) {
  return first.activation == Activation::kNone && next.activation == Activation::kNone && first.y_type == next.y_type &&
         first.x_type == next.x_type && first.x_scale == next.x_scale && first.x_zero_point == next.x_zero_point &&
         first.weight.k == next.weight.k && first.weight.n % kRowStep == 0;
}

}  // namespace fastep
