// LayerNorm and embeddings, plainly.

#include "kernels/generic/gelu.h"
#include "kernels/scalar/encoder.h"
#include "kernels/scalar/scalar_ops.h"

namespace fastep::scalar {
namespace {

struct Moments {
  float mean, m2;
};

// Of `count` features from `z` on, `stride` floats apart.
Moments MomentsOfRun(const float* z, int32_t count, int32_t stride) {
  float sum = z[0];
  for (int32_t i = 1; i < count; ++i) sum += z[static_cast<size_t>(i) * stride];
  const float mean = sum / static_cast<float>(count);
  float m2 = 0;
  for (int32_t i = 0; i < count; ++i) {
    const float d = z[static_cast<size_t>(i) * stride] - mean;
    m2 = __builtin_fmaf(d, d, m2);
  }
  return {mean, m2};
}

// `stats` at token t.
Moments Merge(const float* stats, int32_t features, int32_t tokens) {
  Moments all = {stats[0], stats[tokens]};
  for (int32_t n = kNormRun; n < features; n += kNormRun) {
    stats += 2 * static_cast<size_t>(tokens);
    const int32_t m = n + kNormRun <= features ? kNormRun : features - n;
    const float r = static_cast<float>(m) / static_cast<float>(n + m);
    const float delta = stats[0] - all.mean;
    all.mean = __builtin_fmaf(delta, r, all.mean);
    all.m2 = __builtin_fmaf(delta * delta, static_cast<float>(n) * r, all.m2 + stats[tokens]);
  }
  return all;
}

uint8_t Quantize(const LayerNormArgs& a, float y) {
  float v = __builtin_fmaf(y, a.out_scale, a.out_zero_point);
  v = ScalarOps::Min(ScalarOps::Max(v, static_cast<float>(a.lo)), static_cast<float>(a.hi));
  return static_cast<uint8_t>(static_cast<int32_t>((v + kRoundToInt) - kRoundToInt) ^ a.flip);
}

float Value(const EmbedTable& table, int32_t token, int32_t features, int32_t feature) {
  const size_t at = static_cast<size_t>(table.rows[token]) * features + feature;
  if (table.element == TableElement::kF32) return static_cast<const float*>(table.data)[at];
  const int32_t q = table.element == TableElement::kU8 ? static_cast<const uint8_t*>(table.data)[at]
                                                       : static_cast<const int8_t*>(table.data)[at];
  return static_cast<float>(q - table.zero_point) * table.scale;
}

}  // namespace

void LayerNormStats(const float* x, float* z, int32_t rows, int32_t tokens, float* stats) {
  if (x != nullptr) {
    for (size_t i = 0; i < static_cast<size_t>(rows) * tokens; ++i) z[i] += x[i];
  }
  for (int32_t row = 0; row < rows; row += kNormRun) {
    const int32_t count = row + kNormRun <= rows ? kNormRun : rows - row;
    for (int32_t t = 0; t < tokens; ++t) {
      const Moments run = MomentsOfRun(z + static_cast<size_t>(row) * tokens + t, count, tokens);
      stats[t] = run.mean;
      stats[tokens + t] = run.m2;
    }
    stats += 2 * static_cast<size_t>(tokens);
  }
}

void LayerNorm(const LayerNormArgs* args) {
  const LayerNormArgs& a = *args;
  for (int32_t t = 0; t < a.tokens; ++t) {
    const Moments all = Merge(a.stats + t, a.features, a.tokens);
    const float rstd = 1.0f / __builtin_sqrtf(all.m2 / static_cast<float>(a.features) + a.epsilon);
    for (int32_t row = a.row_begin; row < a.row_end; ++row) {
      const size_t at = static_cast<size_t>(row) * a.tokens + t;
      const float y = __builtin_fmaf((a.z[at] - all.mean) * rstd, a.gamma[row], a.beta[row]);
      if (a.y != nullptr) a.y[at] = y;
      if (a.q != nullptr) a.q[(static_cast<size_t>(row / 4) * a.tokens + t) * 4 + row % 4] = Quantize(a, y);
    }
  }
}

void Embed(const EmbedArgs* args) {
  const EmbedArgs& a = *args;
  for (int32_t t = 0; t < a.tokens; ++t) {
    const bool real = a.tables[0].rows[t] >= 0;
    for (int32_t row = a.row_begin; row < a.row_end; ++row) {
      float z = real ? Value(a.tables[0], t, a.features, row) : 0.0f;
      for (int32_t i = 1; real && i < a.table_count; ++i) z += Value(a.tables[i], t, a.features, row);
      a.z[static_cast<size_t>(row) * a.tokens + t] = z;
    }
  }
}

void PackF32(const float* x, size_t stride_bytes, int32_t rows, int32_t m, int32_t tokens, float* tile) {
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t t = 0; t < tokens; ++t) {
      float value = 0;
      if (t < m) __builtin_memcpy(&value, reinterpret_cast<const uint8_t*>(x + row) + t * stride_bytes, sizeof value);
      tile[static_cast<size_t>(row) * tokens + t] = value;
    }
  }
}

}  // namespace fastep::scalar
