// One step of a plan, and what it runs on.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "core/kernel_table.h"
#include "core/plan/step_profile.h"
#include "core/plan/storage.h"
#include "core/plan/token_map.h"
#include "core/plan/types.h"

namespace fastep {

// Rows of a storage that hold one value.
struct View {
  StorageId storage = kNoStorage;
  int32_t row = 0;  // a multiple of 4
  int32_t features = 0;
};

// One group of sequences on its way through the plan.
struct RunContext {
  const KernelTable& kernels;
  const EncoderKernels& encoder;  // complete
  const TokenMap& tokens;
  const std::vector<KeyMap>& keys;
  const std::vector<PlanTensor>& inputs;
  const std::vector<void*>& outputs;
  const StorageLayout& layout;
  int64_t length;  // of the row-major sequences
  size_t workers;  // that take part
  uint8_t* storages;

  // Computed, without those that fill up tiles.
  int64_t TokenCount() const {
    int64_t count = 0;
    for (const Sequence& sequence : tokens.sequences()) count += sequence.count;
    return count;
  }

  bool IsPlanar(StorageId id) const { return layout[id].planar; }
  // Bytes of a row of a tile.
  size_t RowBytes(StorageId id, const TokenTile& tile) const {
    if (IsPlanar(id) && kernels.planar_row_bytes != 0) return static_cast<size_t>(kernels.planar_row_bytes);
    return static_cast<size_t>(tile.tokens) * layout[id].element_bytes;
  }
  // Row `row` of a tile of a storage.
  uint8_t* Tile(StorageId id, const TokenTile& tile, int32_t row = 0) const {
    return storages + layout.Offset(id, tile, kernels.planar_row_bytes) + static_cast<size_t>(row) * RowBytes(id, tile);
  }
  uint8_t* Tile(const View& view, const TokenTile& tile, int32_t row = 0) const {
    return Tile(view.storage, tile, view.row + row);
  }
  float* FloatTile(StorageId id, const TokenTile& tile, int32_t row = 0) const {
    return reinterpret_cast<float*>(Tile(id, tile, row));
  }
};

// What a step asks of a run. Its work on a tile comes in phases of tasks that may run at the same time; a phase begins
// when the one before it is done on the same tile.
struct StepNeeds {
  static constexpr int kPhases = 2;
  size_t tasks[kPhases] = {0, 0};  // per tile; 0: there is no such phase
  bool joins = false;              // the last phase begins when the one before it is done on every tile
  // Scratch, each rounded up to cache lines.
  size_t shared_bytes = 0;  // what a phase that joins reads of other tiles
  size_t tile_bytes = 0;    // of a tile, from phase to phase
  size_t worker_bytes = 0;  // of a worker, during a task
};

// One worker's part in one phase of a step on one tile.
class TileTurn {
 public:
  // Tasks in as many shares as workers have the tile at home: each begins with its own, wherever it was in the phase
  // before.
  struct Tasks {
    std::atomic<uint32_t>* next;  // claimed of each share
    size_t count, shares;
  };
  struct Scratch {
    uint8_t* shared;
    uint8_t* tile;
    uint8_t* worker;
  };
  TileTurn(int turn_phase, const TokenTile& turn_tile, const Scratch& turn_scratch, const Tasks& tasks, size_t share)
      : phase(turn_phase), tile(turn_tile), scratch(turn_scratch), tasks_(tasks), share_(share) {}

  // Claims a task. False: none is left.
  bool Next(size_t& task) {
    for (; tried_ < tasks_.shares; ++tried_, share_ = share_ + 1 == tasks_.shares ? 0 : share_ + 1) {
      const size_t begin = tasks_.count * share_ / tasks_.shares, end = tasks_.count * (share_ + 1) / tasks_.shares;
      task = begin + tasks_.next[share_].fetch_add(1, std::memory_order_relaxed);
      if (task < end) return ++claimed_ > 0;
    }
    return false;
  }
  size_t claimed() const { return claimed_; }

  const int phase;
  const TokenTile tile;
  const Scratch scratch;

 private:
  const Tasks tasks_;
  size_t share_, tried_ = 0, claimed_ = 0;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual const char* Op() const = 0;  // its kind, as profiles call it
  virtual std::vector<StorageId> Touches() const = 0;
  virtual StepNeeds Needs(const RunContext& run) const = 0;
  // Does the tasks that it can claim. Does not throw.
  virtual void Run(const RunContext& run, TileTurn& turn) const = 0;
  // Of one Run; steps without weights and products have none.
  virtual StepWork Work(const RunContext& /*run*/) const { return {}; }
};

// The rows of a tile cut into ranges, one a task. How finely follows the number of workers; no result depends on it.
class RowRanges {
 public:
  struct Range {
    int32_t begin, end;
  };
  // Ranges start at multiples of row_step and hold at most `most_rows`.
  RowRanges(const RunContext& run, int32_t rows, int32_t row_step, int32_t most_rows);

  size_t count() const { return CeilDiv(static_cast<size_t>(rows_), static_cast<size_t>(rows_per_range_)); }
  int32_t rows_per_range() const { return rows_per_range_; }
  Range operator[](size_t i) const {
    const int32_t begin = static_cast<int32_t>(i) * rows_per_range_;
    return {begin, std::min(rows_, begin + rows_per_range_)};
  }

 private:
  int32_t rows_, rows_per_range_;
};

}  // namespace fastep
