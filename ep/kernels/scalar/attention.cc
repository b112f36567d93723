// What attention needs beside the dense product, plainly.

#include "kernels/generic/exp2.h"
#include "kernels/generic/gelu.h"
#include "kernels/scalar/encoder.h"
#include "kernels/scalar/scalar_ops.h"

namespace fastep::scalar {
namespace {

constexpr int32_t kGroupRows = RowsPerGroup(RhsKind::kDense);
constexpr float kHidden = -1e30f;

// Element (row, k) of a dense rhs of k_quads quads.
void StoreDense(void* values, int32_t k_quads, int32_t row, int32_t k, int8_t value) {
  const size_t quad = static_cast<size_t>(row / kGroupRows) * k_quads + k / 4;
  static_cast<int8_t*>(values)[(quad * kGroupRows + row % kGroupRows) * 4 + k % 4] = value;
}

int8_t HeadValue(const KeyRun& run, int32_t key, int32_t feature) {
  const size_t quad = static_cast<size_t>(feature / 4) * run.tokens + run.lane + key;
  return static_cast<int8_t>(run.tile[quad * 4 + feature % 4] ^ 0x80);
}

int32_t Round(float x) { return static_cast<int32_t>((x + kRoundToInt) - kRoundToInt); }

// e of one score whose distance below the largest is `below` <= 0, in powers of two, plus log2(255).
int32_t Probability(float below) { return Round(Exp2<ScalarOps>(ScalarOps::Max(below, kExp2Lowest))); }

// Words of [keys][tokens] at lane t, as the type that stands there by now.
template <class T>
T Load(const int32_t* words, const SoftmaxArgs& a, int32_t key, int32_t t) {
  T value;
  __builtin_memcpy(&value, words + static_cast<size_t>(key) * a.tokens + t, sizeof value);
  return value;
}

void Store(const SoftmaxArgs& a, int32_t key, int32_t t, float x) {
  __builtin_memcpy(a.scores + static_cast<size_t>(key) * a.tokens + t, &x, sizeof x);
}

// The scores of lane t become arguments of Exp2, in place.
void Distances(const SoftmaxArgs& a, int32_t t) {
  int32_t largest = INT32_MIN;
  for (int32_t j = 0; j < a.keys; ++j) {
    const int32_t s = Load<int32_t>(a.scores, a, j, t);
    largest = s > largest ? s : largest;
  }
  for (int32_t j = 0; j < a.keys; ++j) {
    const int32_t below = Load<int32_t>(a.scores, a, j, t) - largest;
    Store(a, j, t, __builtin_fmaf(static_cast<float>(below), a.scale, kLog2Of255));
  }
}

void BiasedDistances(const SoftmaxArgs& a, int32_t t) {
  float largest = kHidden;
  for (int32_t j = 0; j < a.keys; ++j) {
    const float bias = a.bias[static_cast<size_t>(j) * a.tokens + t];
    const float s = __builtin_fmaf(static_cast<float>(Load<int32_t>(a.scores, a, j, t)), a.scale, bias);
    Store(a, j, t, s);
    largest = ScalarOps::Max(s, largest);
  }
  for (int32_t j = 0; j < a.keys; ++j) Store(a, j, t, (Load<float>(a.scores, a, j, t) - largest) + kLog2Of255);
}

}  // namespace

void PackKeys(const KeyRun* run) {
  for (int32_t i = 0; i < run->count; ++i) {
    int32_t sum = 0;
    for (int32_t f = 0; f < run->head_quads * 4; ++f) {
      const int8_t value = HeadValue(*run, i, f);
      StoreDense(run->values, run->head_quads, run->key + i, f, value);
      sum += value;
    }
    run->acc_init[run->key + i] = -run->zero_point * sum;
  }
}

void PackValues(const KeyRun* run) {
  for (int32_t i = 0; i < run->count; ++i) {
    for (int32_t f = 0; f < run->head_quads * 4; ++f) {
      StoreDense(run->values, run->key_quads, f, run->key + i, HeadValue(*run, i, f));
    }
  }
}

void Softmax(const SoftmaxArgs* args) {
  const SoftmaxArgs& a = *args;
  for (size_t i = 0; i < static_cast<size_t>(a.key_quads) * a.tokens * 4; ++i) a.e[i] = 0;
  for (int32_t t = a.lane_begin; t < a.lane_end; ++t) {
    int32_t sum = 0;
    if (a.bias == nullptr) {
      Distances(a, t);
    } else {
      BiasedDistances(a, t);
    }
    for (int32_t j = 0; j < a.keys; ++j) {
      const int32_t e = Probability(Load<float>(a.scores, a, j, t));
      a.e[(static_cast<size_t>(j / 4) * a.tokens + t) * 4 + j % 4] = static_cast<uint8_t>(e);
      sum += e;
    }
    a.row_sum[t] = sum;
    a.token_scale[t] = sum == 0 ? 0.0f : a.out_scale / static_cast<float>(sum);
  }
}

// The order of this tier's planar tiles is the natural one.
void PlanarFromQuad(const uint8_t* tile, int32_t quads, int32_t tokens, uint8_t* out) {
  for (int32_t input = 0; input < quads * 4; ++input) {
    for (int32_t t = 0; t < tokens; ++t) *out++ = tile[(static_cast<size_t>(input / 4) * tokens + t) * 4 + input % 4];
  }
}

}  // namespace fastep::scalar
