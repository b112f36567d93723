#include "fuzz/oracle.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>

namespace fastep::fuzz {
namespace {

// |gelu(v) - exact| <= kGeluError * max(|v|, 1), see kernels/generic/gelu.h.
constexpr double kGeluError = 0x1p-23;
constexpr double kCoarseGeluError = 1.34e-4;  // where the output is quantized
constexpr double kHalfUlp = 0x1p-24;          // relative error of one rounding to float

double ExactGelu(Activation activation, double v) {
  if (activation == Activation::kGelu) return 0.5 * v * std::erfc(-v / std::sqrt(2.0));
  const double u = std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v);
  return v / (1 + std::exp(-2 * u));  // (1 + tanh u) / 2, without its cancellation
}

// The value before quantization and how far a kernel may be from it.
struct Value {
  double exact;
  double tolerance;
};

class Contract {
 public:
  explicit Contract(const Case& c) : case_(c), spec_(c.spec) {
    lo_ = spec_.y_type == ElementType::kU8 ? 0 : -128;
    hi_ = lo_ + 255;
    if (spec_.activation == Activation::kRelu) lo_ = std::max(lo_, spec_.y_zero_point);
  }

  Value Expected(int64_t acc, int64_t n) const {
    const double product_scale = double(spec_.x_scale) * case_.w_scale[case_.w_scale.size() == 1 ? 0 : n];
    const bool gelu = spec_.activation == Activation::kGelu || spec_.activation == Activation::kGeluTanh;
    const bool quantized = spec_.y_type != ElementType::kF32;
    if (quantized && !gelu) {
      const float scale = static_cast<float>(product_scale / spec_.y_scale);
      const float bias = static_cast<float>(double(case_.bias[n]) / spec_.y_scale + spec_.y_zero_point);
      return {Clamp(std::nearbyint(std::fma(static_cast<float>(acc), scale, bias))), 0};
    }
    const float v = std::fma(static_cast<float>(acc), static_cast<float>(product_scale), case_.bias[n]);
    if (!gelu) return {spec_.activation == Activation::kRelu ? std::max(v, 0.0f) : v, 0};
    const double g = ExactGelu(spec_.activation, v);
    const bool coarse = quantized && static_cast<float>(1.0 / spec_.y_scale) <= 512.0f;
    const double error = (coarse ? kCoarseGeluError : kGeluError) * std::max(std::fabs(double{v}), 1.0);
    if (!quantized) return {g, error};
    // Half a step of rounding; the error of g; 1 / y_scale and the fma round once each.
    const double y = g / spec_.y_scale + spec_.y_zero_point;
    return {Clamp(y), 0.5 + error / spec_.y_scale + kHalfUlp * (std::fabs(g) / spec_.y_scale + std::fabs(y))};
  }

  double Actual(const std::vector<uint8_t>& y, size_t i) const {
    if (spec_.y_type == ElementType::kU8) return y[i];
    if (spec_.y_type == ElementType::kS8) return static_cast<int8_t>(y[i]);
    float value;
    std::memcpy(&value, y.data() + 4 * i, 4);
    return value;
  }

 private:
  double Clamp(double y) const { return std::min<double>(hi_, std::max<double>(lo_, y)); }

  const Case& case_;
  const LinearSpec& spec_;
  int32_t lo_, hi_;
};

}  // namespace

std::vector<int64_t> Accumulators(const Case& c) {
  const int64_t n = c.spec.weight.n, k = c.spec.weight.k;
  std::vector<int64_t> acc(c.m * n);
  for (int64_t row = 0; row < c.m; ++row) {
    for (int64_t col = 0; col < n; ++col) {
      int64_t sum = 0;
      for (int64_t i = 0; i < k; ++i) {
        const uint8_t byte = c.x[row * k + i];
        const int32_t x = c.spec.x_type == ElementType::kU8 ? byte : static_cast<int8_t>(byte);
        sum += int64_t{x - c.spec.x_zero_point} * c.weight[col * k + i];
      }
      acc[row * n + col] = sum;
    }
  }
  return acc;
}

std::string CheckOutput(const Case& c, const std::vector<int64_t>& accumulators, const std::vector<uint8_t>& y) {
  const Contract contract(c);
  for (size_t i = 0; i < accumulators.size(); ++i) {
    const Value expected = contract.Expected(accumulators[i], static_cast<int64_t>(i) % c.spec.weight.n);
    const double actual = contract.Actual(y, i);
    if (std::fabs(actual - expected.exact) <= expected.tolerance) continue;
    std::ostringstream text;
    text.precision(9);
    text << "output " << i << " is " << actual << ", expected " << expected.exact << " +- " << expected.tolerance
         << " (accumulator " << accumulators[i] << ")";
    return text.str();
  }
  return "";
}

}  // namespace fastep::fuzz
