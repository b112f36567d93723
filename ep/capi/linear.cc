// C ABI for tests: create and run a Linear.

#include "core/linear.h"

#include "capi/status.h"
#include "capi/thread_parallel.h"
#include "core/arena.h"

namespace fastep::capi {

// LinearSpec with C types; tests/kernels/capi.py mirrors it. Enumerations as in core/linear.h and core/kernel_table.h.
struct LinearArgs {
  const char* name;
  int64_t n, k;
  const void* dense;
  int32_t dense_is_unsigned;
  const int8_t* blocks;
  const void* block_gaps;
  int32_t gaps_are_u16;
  int64_t n_blocks, block_rows, block_cols;
  int32_t x_type;
  float x_scale;
  int32_t x_zero_point;
  const float* w_scale;
  int64_t w_scale_count;
  const void* w_zero_point;
  int64_t w_zero_point_count;
  const float* bias;
  int32_t activation;
  int32_t y_type;
  float y_scale;
  int32_t y_zero_point;
};

struct LinearInfoOut {
  int32_t kind;
  double density, work_density;
  uint64_t packed_bytes;
  double predicted_cycles_per_token;
};

using Handle = std::shared_ptr<const Linear>;

namespace {

WeightSource ToWeight(const LinearArgs& args) {
  WeightSource weight;
  weight.n = args.n;
  weight.k = args.k;
  weight.dense = args.dense;
  weight.dense_is_unsigned = args.dense_is_unsigned != 0;
  weight.blocks = args.blocks;
  weight.block_gaps = args.block_gaps;
  weight.gaps_are_u16 = args.gaps_are_u16 != 0;
  weight.n_blocks = args.n_blocks;
  weight.block_rows = args.block_rows;
  weight.block_cols = args.block_cols;
  return weight;
}

LinearSpec ToSpec(const LinearArgs& args) {
  LinearSpec spec;
  spec.name = args.name;
  spec.weight = ToWeight(args);
  spec.x_type = static_cast<ElementType>(args.x_type);
  spec.x_scale = args.x_scale;
  spec.x_zero_point = args.x_zero_point;
  spec.w_scale = args.w_scale;
  spec.w_scale_count = args.w_scale_count;
  spec.w_zero_point = args.w_zero_point;
  spec.w_zero_point_count = args.w_zero_point_count;
  spec.bias = args.bias;
  spec.activation = static_cast<Activation>(args.activation);
  spec.y_type = static_cast<ElementType>(args.y_type);
  spec.y_scale = args.y_scale;
  spec.y_zero_point = args.y_zero_point;
  return spec;
}

}  // namespace

// kind < 0: the cost model decides.
FASTEP_CAPI int fastep_linear_create(const LinearArgs* args, int tier, int kind, Handle** out) {
  return Guard([&] {
    const RhsKind forced = static_cast<RhsKind>(kind);
    *out = new Handle(Linear::Create(ToSpec(*args), static_cast<Tier>(tier), kind < 0 ? nullptr : &forced));
  });
}

FASTEP_CAPI void fastep_linear_free(Handle* handle) { delete handle; }

FASTEP_CAPI void fastep_linear_info(const Handle* handle, LinearInfoOut* out) {
  const LinearInfo& info = (*handle)->info();
  *out = {static_cast<int32_t>(info.kind), info.density, info.work_density, info.packed_bytes,
          info.predicted_cycles_per_token};
}

FASTEP_CAPI int fastep_linear_run(const Handle* handle, const void* x, int64_t m, void* y, int threads) {
  return Guard([&] {
    ThreadParallel parallel(static_cast<size_t>(threads));
    Arena arena;
    (*handle)->Run(x, m, y, parallel, arena);
  });
}

FASTEP_CAPI int fastep_linear_accumulate(const Handle* handle, const void* x, int64_t m, int32_t* acc, int threads) {
  return Guard([&] {
    ThreadParallel parallel(static_cast<size_t>(threads));
    Arena arena;
    (*handle)->RunAccumulators(x, m, acc, parallel, arena);
  });
}

}  // namespace fastep::capi
