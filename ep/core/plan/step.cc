#include "core/plan/step.h"

namespace fastep {
namespace {

// Workers claim tasks one by one; a few per worker even out their speeds.
constexpr size_t kTasksPerWorker = 4;

}  // namespace

RowRanges::RowRanges(const RunContext& run, int32_t rows, int32_t row_step, int32_t most_rows) : rows_(rows) {
  const size_t tiles = std::max<size_t>(static_cast<size_t>(run.tokens.tile_count()), 1);
  const size_t wanted = run.workers == 1 ? 1 : run.workers * kTasksPerWorker;
  const size_t all = static_cast<size_t>(rows);
  const size_t ranges = std::max(CeilDiv(all, static_cast<size_t>(most_rows)), CeilDiv(wanted, tiles));
  rows_per_range_ = static_cast<int32_t>(RoundUp(CeilDiv(all, ranges), static_cast<size_t>(row_step)));
}

}  // namespace fastep
