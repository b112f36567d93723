#include "core/epilogue_params.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "core/check.h"

namespace fastep {
namespace {

constexpr double kLargestConvertible = 2e9;  // to int32, with room for roundings

bool IsGelu(Activation activation) { return activation == Activation::kGelu || activation == Activation::kGeluTanh; }

int32_t UnsignedZeroPoint(const LinearSpec& spec) {
  return spec.x_zero_point + (spec.x_type == ElementType::kS8 ? 128 : 0);
}

OutputKind KindOf(ElementType type) {
  return type == ElementType::kU8 ? OutputKind::kQuantU8
                                  : (type == ElementType::kS8 ? OutputKind::kQuantS8 : OutputKind::kFloat);
}

// Of sum_k (x - x_zero_point) w: the largest magnitude it can have.
double LargestSum(const Weights& weights, int64_t n) {
  int64_t magnitude = 0;
  for (int64_t k = 0; k < weights.k; ++k) magnitude += std::abs(int{weights.Row(n)[k]});
  return 255.0 * static_cast<double>(magnitude);
}

int64_t RowSum(const Weights& weights, int64_t n) {
  int64_t sum = 0;
  for (int64_t k = 0; k < weights.k; ++k) sum += weights.Row(n)[k];
  return sum;
}

}  // namespace

bool FitsInt32(const LinearSpec& spec, const Weights& weights) {
  const int64_t zero_point = UnsignedZeroPoint(spec);
  for (int64_t n = 0; n < weights.n; ++n) {
    int64_t magnitude = 0;
    for (int64_t k = 0; k < weights.k; ++k) magnitude += std::abs(int{weights.Row(n)[k]});
    int64_t bound = 255 * magnitude + zero_point * std::abs(RowSum(weights, n));
    if (!weights.zero_point.empty()) bound += 255 * weights.k * std::abs(weights.zero_point[n]);
    if (bound > std::numeric_limits<int32_t>::max()) return false;
  }
  return true;
}

EpilogueParams::EpilogueParams(const LinearSpec& spec, const Weights& weights)
    : x_zero_point_(UnsignedZeroPoint(spec)), kind_(KindOf(spec.y_type)), activation_(spec.activation) {
  const size_t rows = RoundUp(weights.n, kRowStep);
  acc_init_.resize(rows);
  scale_.resize(rows);
  bias_.resize(rows);
  if (!weights.zero_point.empty()) {
    rhs_zero_point_.resize(rows);
    std::copy(weights.zero_point.begin(), weights.zero_point.end(), rhs_zero_point_.begin());
  }
  const bool quantized = kind_ != OutputKind::kFloat;
  const bool folded = quantized && !IsGelu(activation_);  // the output's scale is part of scale and bias
  for (int64_t n = 0; n < weights.n; ++n) {
    const double product_scale = double(spec.x_scale) * spec.w_scale[spec.w_scale_count == 1 ? 0 : n];
    scale_[n] = static_cast<float>(folded ? product_scale / spec.y_scale : product_scale);
    bias_[n] = folded ? static_cast<float>(double(spec.bias[n]) / spec.y_scale + spec.y_zero_point) : spec.bias[n];
    Check(std::isfinite(scale_[n]) && std::isfinite(bias_[n]), spec.name, "output ", n,
          ": x_scale * w_scale / y_scale and bias / y_scale must be finite in float32, found ", scale_[n], " and ",
          bias_[n]);
    // In steps of the output; |gelu(v)| <= |v|.
    const double steps = folded || !quantized ? 1 : 1 / double(spec.y_scale);
    const double largest = (LargestSum(weights, n) * scale_[n] + std::fabs(bias_[n])) * steps + 256;
    bounded_ = bounded_ && weights.zero_point.empty() && largest < kLargestConvertible;
    // Modulo 2^32; where it matters (FitsInt32) nothing is lost.
    acc_init_[n] = static_cast<int32_t>(-int64_t{x_zero_point_} * RowSum(weights, n));
  }
  if (!quantized) return;
  lo_ = kind_ == OutputKind::kQuantU8 ? 0 : -128;
  hi_ = lo_ + 255;
  if (activation_ == Activation::kRelu) lo_ = std::max(lo_, spec.y_zero_point);
  out_scale_ = static_cast<float>(1.0 / spec.y_scale);
  out_zero_point_ = static_cast<float>(spec.y_zero_point);
  Check(std::isfinite(out_scale_), spec.name, "1 / y_scale must be finite, found y_scale = ", spec.y_scale);
}

Epilogue EpilogueParams::View() const {
  Epilogue view;
  view.kind = kind_;
  view.activation = activation_;
  view.acc_init = acc_init_.data();
  view.scale = scale_.data();
  view.bias = bias_.data();
  view.out_scale = out_scale_;
  view.out_zero_point = out_zero_point_;
  view.lo = lo_;
  view.hi = hi_;
  view.bounded = bounded_;
  view.rhs_zero_point = rhs_zero_point_.empty() ? nullptr : rhs_zero_point_.data();
  view.token_sum = nullptr;
  return view;
}

Epilogue EpilogueParams::AccumulatorView() const {
  Epilogue view = View();
  view.kind = OutputKind::kInt32;
  view.activation = Activation::kNone;
  return view;
}

}  // namespace fastep
