// QLinear as core code knows it: weights are packed once for a tier, then run on any number of tokens.
// The arithmetic is fixed by docs/op-contract.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/kernel_table.h"
#include "core/parallel.h"
#include "core/tier.h"

namespace fastep {

// A dense weight [K, N] (the ONNX MatMul orientation) or a list of blocks (docs/op-contract.md). Borrowed during Create
// only.
struct WeightSource {
  int64_t n = 0;
  int64_t k = 0;
  // dense
  const void* dense = nullptr;  // s8 or u8 [k, n]
  bool dense_is_unsigned = false;
  // sparse
  const int8_t* blocks = nullptr;  // [n_blocks, block_rows, block_cols]
  const void* block_gaps = nullptr;
  bool gaps_are_u16 = false;
  int64_t n_blocks = 0;
  int64_t block_rows = 0;
  int64_t block_cols = 0;
};

enum class ElementType { kU8, kS8, kF32 };

struct LinearSpec {
  std::string name;  // of the node, for messages
  WeightSource weight;
  ElementType x_type = ElementType::kU8;
  float x_scale = 1;
  int32_t x_zero_point = 0;
  const float* w_scale = nullptr;  // [w_scale_count], count 1 or n
  int64_t w_scale_count = 0;
  const void* w_zero_point = nullptr;  // type of the weight, [w_zero_point_count], count 1 or n
  int64_t w_zero_point_count = 0;
  const float* bias = nullptr;  // [n]
  Activation activation = Activation::kNone;
  ElementType y_type = ElementType::kF32;
  float y_scale = 1;
  int32_t y_zero_point = 0;
};

// Which kernel a layer got and why; what `fastep doctor`, the conversion report and tests read.
struct LinearInfo {
  RhsKind kind = RhsKind::kDense;
  double density = 1;                            // non-zero weights / all
  double work_density = 1;                       // products the kernel really does / all
  std::array<double, kRhsKinds> kind_density{};  // those of the kernel of each kind
  size_t packed_bytes = 0;
  double predicted_cycles_per_token = 0;
};

const char* RhsKindName(RhsKind kind);  // "4x4"
// "N 768, K 768, kernel 4x4, ...": one line for the log.
std::string DescribeProduct(int64_t n, int64_t k, const LinearInfo& info);

class Arena;

// Immutable once created; Run is safe from any number of threads at once.
class Linear {
 public:
  // Packs for `tier`; throws fastep::Error if the spec breaks the contract. `forced` overrides the cost model (tests,
  // benchmarks).
  static std::shared_ptr<const Linear> Create(const LinearSpec& spec, Tier tier, const RhsKind* forced = nullptr);
  virtual ~Linear() = default;

  virtual int64_t n() const = 0;
  virtual int64_t k() const = 0;
  virtual const LinearInfo& info() const = 0;

  // x: [m, k] row-major of x_type; y: [m, n] row-major of y_type; m >= 0. `arena` is used by this call alone while it
  // runs.
  virtual void Run(const void* x, int64_t m, void* y, Parallel& parallel, Arena& arena) const = 0;

  // The integer accumulators alone, sum_k (x - zx)(w - zw) as int32 [m, n]: tests compare these bit for bit.
  virtual void RunAccumulators(const void* x, int64_t m, int32_t* acc, Parallel& parallel, Arena& arena) const = 0;
};

}  // namespace fastep
