// Order statistics of repeated measurements.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace fastep::bench {

struct Spread {
  double p10, median, p90;
};

inline double Quantile(const std::vector<double>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (at - static_cast<double>(low));
}

inline Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {Quantile(values, 0.1), Quantile(values, 0.5), Quantile(values, 0.9)};
}

inline double GeometricMean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += std::log(v);
  return std::exp(sum / static_cast<double>(values.size()));
}

}  // namespace fastep::bench
