// C ABI for tests: create and run a Linear.

#include "core/linear.h"

#include "capi/linear_args.h"
#include "capi/status.h"
#include "capi/thread_parallel.h"
#include "core/arena.h"

namespace fastep::capi {

struct LinearInfoOut {
  int32_t kind;
  double density, work_density;
  uint64_t packed_bytes;
  double predicted_cycles_per_token;
};

using Handle = std::shared_ptr<const Linear>;

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
