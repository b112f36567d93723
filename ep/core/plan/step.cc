#include "core/plan/step.h"

namespace fastep {
namespace {

// Threads claim tasks one by one; a few per thread even out their speeds.
constexpr size_t kTasksPerThread = 4;
constexpr size_t kTasksIfThreadsUnknown = 16;
constexpr size_t kWorkersIfThreadsUnknown = 32;

}  // namespace

TaskGrid::TaskGrid(const RunContext& run, int32_t rows, int32_t row_step, int32_t most_rows)
    : tiles_(run.tokens.tile_count()), rows_(rows) {
  const size_t tiles = std::max<size_t>(static_cast<size_t>(tiles_), 1);
  const size_t wanted =
      run.threads == 0 ? kTasksIfThreadsUnknown : (run.threads == 1 ? 1 : run.threads * kTasksPerThread);
  const size_t all = static_cast<size_t>(rows);
  const size_t ranges = std::max(CeilDiv(all, static_cast<size_t>(most_rows)), CeilDiv(wanted, tiles));
  rows_per_task_ = static_cast<int32_t>(RoundUp(CeilDiv(all, ranges), static_cast<size_t>(row_step)));
  ranges_ = static_cast<int64_t>(CeilDiv(all, static_cast<size_t>(rows_per_task_)));
}

size_t Workers(size_t threads, size_t tasks) {
  return std::min(tasks, threads == 0 ? kWorkersIfThreadsUnknown : threads);
}

}  // namespace fastep
