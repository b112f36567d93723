#include "core/wide_linear.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "core/check.h"
#include "core/epilogue_params.h"
#include "kernels/generic/gelu.h"

namespace fastep {
namespace {

// GELU on single floats, with the operations of every tier.
struct ScalarOps {
  using F32 = float;
  static float Set(float x) { return x; }
  static float MinAbs(float x, float y) { return Min(std::fabs(x), y); }
  static float Add(float x, float y) { return x + y; }
  static float Sub(float x, float y) { return x - y; }
  static float Min(float x, float y) { return x < y ? x : y; }
  static float Max(float x, float y) { return x > y ? x : y; }
  static float Fma(float x, float y, float z) { return std::fma(x, y, z); }
  static float FnMadd(float x, float y, float z) { return std::fma(-x, y, z); }
  static float AddExponent(float e, float t) {
    uint32_t bits, shift;
    std::memcpy(&bits, &e, sizeof bits);
    std::memcpy(&shift, &t, sizeof shift);
    bits += shift << 23;
    std::memcpy(&e, &bits, sizeof e);
    return e;
  }
};

float Activate(Activation activation, float v) {
  switch (activation) {
    case Activation::kRelu:
      return v > 0 ? v : 0;
    case Activation::kGelu:
      return GeluErf<ScalarOps>(v);
    case Activation::kGeluTanh:
      return GeluTanh<ScalarOps>(v);
    case Activation::kNone:
      break;
  }
  return v;
}

// GELU of what becomes a byte.
float ActivateForBytes(const Epilogue& e, float v) {
  if (e.out_scale > kCoarseGeluScale) return Activate(e.activation, v);
  return e.activation == Activation::kGelu ? CoarseGeluErf<ScalarOps>(v) : CoarseGeluTanh<ScalarOps>(v);
}

class WideLinear final : public Linear {
 public:
  WideLinear(const LinearSpec& spec, Weights weights, const RhsProfile& profile)
      : name_(spec.name),
        flip_(spec.x_type == ElementType::kS8 ? 0x80 : 0),
        params_(spec, weights),
        epilogue_(params_.View()),
        weights_(std::move(weights)) {
    const double all = static_cast<double>(weights_.n) * static_cast<double>(weights_.k);
    info_.density = static_cast<double>(profile.non_zeros) / all;
    info_.kind_density = profile.Densities(weights_.n, weights_.k);
    info_.packed_bytes = weights_.values.size();
    info_.predicted_cycles_per_token = all;  // about one product per cycle
  }

  int64_t n() const override { return weights_.n; }
  int64_t k() const override { return weights_.k; }
  const LinearInfo& info() const override { return info_; }

  void Run(const void* x, int64_t m, void* y, Parallel& parallel, Arena&) const override {
    ForEachOutput(x, m, parallel, [this, y](int64_t at, int64_t n, int64_t acc) { Store(y, at, n, acc); });
  }

  void RunAccumulators(const void* x, int64_t m, int32_t* acc, Parallel& parallel, Arena&) const override {
    std::atomic<bool> fits{true};
    ForEachOutput(x, m, parallel, [acc, &fits](int64_t at, int64_t, int64_t sum) {
      if (sum != static_cast<int32_t>(sum)) fits = false;
      acc[at] = static_cast<int32_t>(sum);
    });
    Check(fits, name_, "an accumulator does not fit int32; run the layer instead, its sums have 64 bits");
  }

 private:
  // store(index in y, output, accumulator) for every element of [m, n]; one task per token.
  template <class Store>
  void ForEachOutput(const void* x, int64_t m, Parallel& parallel, const Store& store) const {
    struct Context {
      const WideLinear& self;
      const uint8_t* x;
      const Store& store;
    } context{*this, static_cast<const uint8_t*>(x), store};
    const auto task = [](void* opaque, size_t token) {
      const auto& c = *static_cast<Context*>(opaque);
      const int64_t n_end = c.self.n();
      for (int64_t n = 0; n < n_end; ++n) {
        c.store(token * n_end + n, n, c.self.Accumulate(c.x + token * c.self.k(), n));
      }
    };
    parallel.For(m, task, &context);
  }

  int64_t Accumulate(const uint8_t* x, int64_t n) const {
    const int8_t* w = weights_.Row(n);
    const int64_t w_zero = weights_.zero_point.empty() ? 0 : weights_.zero_point[n];
    const int64_t x_zero = params_.x_zero_point();
    int64_t sum = 0;
    for (int64_t k = 0; k < weights_.k; ++k) sum += (static_cast<uint8_t>(x[k] ^ flip_) - x_zero) * (w[k] - w_zero);
    return sum;
  }

  void Store(void* y, int64_t at, int64_t n, int64_t acc) const {
    const float v = std::fma(static_cast<float>(acc), epilogue_.scale[n], epilogue_.bias[n]);
    if (epilogue_.kind == OutputKind::kFloat) {
      static_cast<float*>(y)[at] = Activate(epilogue_.activation, v);
      return;
    }
    const bool gelu = epilogue_.activation == Activation::kGelu || epilogue_.activation == Activation::kGeluTanh;
    const float q = gelu ? std::fma(ActivateForBytes(epilogue_, v), epilogue_.out_scale, epilogue_.out_zero_point) : v;
    const float clamped = std::min(std::max(q, static_cast<float>(epilogue_.lo)), static_cast<float>(epilogue_.hi));
    static_cast<uint8_t*>(y)[at] = static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(clamped)));
  }

  std::string name_;
  uint8_t flip_;
  EpilogueParams params_;
  Epilogue epilogue_;
  Weights weights_;
  LinearInfo info_;
};

}  // namespace

std::shared_ptr<const Linear> CreateWideLinear(const LinearSpec& spec, Weights weights, const RhsProfile& profile) {
  return std::make_shared<WideLinear>(spec, std::move(weights), profile);
}

}  // namespace fastep
