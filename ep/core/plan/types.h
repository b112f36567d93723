// What the builder of a plan takes and what a plan runs on.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/linear.h"

namespace fastep {

// kOther: of a tensor that no plan reads.
enum class TensorType { kU8, kS8, kF32, kI32, kI64, kBool, kOther };

// A row-major tensor, borrowed for one call.
struct PlanTensor {
  TensorType type = TensorType::kF32;
  std::vector<int64_t> shape;
  const void* data = nullptr;
};

// A value of a plan while it is built: one row of `features` per token.
using ValueId = int32_t;
constexpr ValueId kNoValue = -1;
// A tensor that every Run is given.
using InputId = int32_t;
constexpr InputId kNoInput = -1;

// Whatever a spec points to is borrowed until Build returns.

struct Quantization {
  ElementType type = ElementType::kF32;  // kF32: not quantized
  float scale = 1;
  int32_t zero_point = 0;
};

// LayerNorm and the forms in which its result is wanted, at least one.
struct NormSpec {
  std::string name;  // of the node, for messages
  int64_t features = 0;
  const float* gamma = nullptr;  // [features]
  const float* beta = nullptr;
  float epsilon = 0;
  bool wants_float = false;
  Quantization quantized;
};

struct NormValues {
  ValueId as_float = kNoValue;
  ValueId quantized = kNoValue;
};

struct TableSpec {
  const void* data = nullptr;  // [rows, features] of quantization.type
  int64_t rows = 0;
  Quantization quantization;
  InputId ids = kNoInput;                       // i64 [B, S] or [1, S]; none: 0, 1, ..., S - 1
  std::shared_ptr<const void> owner = nullptr;  // keeps `data` alive for the plan, too; null: the plan copies it
};

struct EmbedSpec {
  NormSpec norm;
  std::vector<TableSpec> tables;  // one to three, added in this order; the first has ids
};

struct AttentionSpec {
  std::string name;
  int64_t num_heads = 0;
  float scale = 1;
  Quantization q, k, v, y;  // y may be float; q, k and v all are, or none
  InputId mask = kNoInput;  // [B, S], 0: hidden
  InputId bias = kNoInput;  // f32, broadcastable to [B, num_heads, S, S]
  // Nothing outside of the model sees what is computed at right padding of the mask.
  bool skip_padding = false;

  bool IsFloat() const { return q.type == ElementType::kF32; }
};

}  // namespace fastep
