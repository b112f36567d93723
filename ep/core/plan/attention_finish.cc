#include "core/plan/attention_finish.h"

#include <algorithm>
#include <cmath>

namespace fastep {

void ScaleTokens(const int32_t* acc, int32_t rows, int32_t tokens, const float* token_scale, OutputKind kind,
                 float zero_point, uint8_t* y) {
  const float lo = kind == OutputKind::kQuantS8 ? -128.0f : 0.0f;
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t t = 0; t < tokens; ++t) {
      const size_t at = static_cast<size_t>(row) * static_cast<size_t>(tokens) + static_cast<size_t>(t);
      const float v = std::fma(static_cast<float>(acc[at]), token_scale[t], zero_point);
      if (kind == OutputKind::kFloat) {
        reinterpret_cast<float*>(y)[at] = v;
        continue;
      }
      const float rounded = std::nearbyint(std::min(std::max(v, lo), lo + 255.0f));
      const size_t quad = static_cast<size_t>(row / 4) * static_cast<size_t>(tokens) + static_cast<size_t>(t);
      y[quad * 4 + static_cast<size_t>(row % 4)] = static_cast<uint8_t>(static_cast<int32_t>(rounded));
    }
  }
}

void FillZeroPoint(OutputKind kind, float zero_point, size_t bytes, uint8_t* y) {
  if (kind == OutputKind::kFloat) {
    std::fill_n(reinterpret_cast<float*>(y), bytes / sizeof(float), zero_point);
  } else {
    std::fill_n(y, bytes, static_cast<uint8_t>(static_cast<int32_t>(zero_point)));
  }
}

}  // namespace fastep
