// One step of a plan, and what it runs on.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "core/kernel_table.h"
#include "core/parallel.h"
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
  int64_t length;         // of the row-major sequences
  size_t threads;         // 0: unknown
  size_t storage_tokens;  // of StorageLayout::Tokens
  uint8_t* storages;
  uint8_t* scratch;  // of the running step

  // Computed, without those that fill up tiles.
  int64_t TokenCount() const {
    int64_t count = 0;
    for (const Sequence& sequence : tokens.sequences()) count += sequence.count;
    return count;
  }

  bool IsPlanar(StorageId id) const { return layout[id].planar; }
  // Bytes of a row of a tile.
  size_t RowBytes(StorageId id, const TokenTile& tile) const {
    if (IsPlanar(id)) return static_cast<size_t>(kernels.planar_row_bytes);
    return static_cast<size_t>(tile.tokens) * layout[id].element_bytes;
  }
  // Row `row` of a tile of a storage.
  uint8_t* Tile(StorageId id, const TokenTile& tile, int32_t row = 0) const {
    const StorageLayout::Entry& entry = layout[id];
    const int64_t before = entry.planar ? tile.index * kernels.planar_row_bytes : tile.begin;
    return storages + entry.offset * storage_tokens + static_cast<size_t>(before) * entry.token_bytes +
           static_cast<size_t>(row) * RowBytes(id, tile);
  }
  uint8_t* Tile(const View& view, const TokenTile& tile, int32_t row = 0) const {
    return Tile(view.storage, tile, view.row + row);
  }
  float* FloatTile(StorageId id, const TokenTile& tile, int32_t row = 0) const {
    return reinterpret_cast<float*>(Tile(id, tile, row));
  }
};

class Step {
 public:
  virtual ~Step() = default;
  virtual const char* Op() const = 0;  // its kind, as profiles call it
  virtual std::vector<StorageId> Touches() const = 0;
  virtual size_t ScratchBytes(const RunContext& run) const = 0;
  virtual void Run(const RunContext& run, Parallel& parallel) const = 0;
  // Of one Run; steps without weights and products have none.
  virtual StepWork Work(const RunContext& /*run*/) const { return {}; }
};

// Tasks of one phase: (tile x range of rows), neighbours share the tile. How finely rows are cut follows the number of
// threads; no result depends on it.
class TaskGrid {
 public:
  struct Task {
    int64_t tile;
    int32_t row_begin, row_end;
  };
  // Ranges start at multiples of row_step and hold at most `most_rows`.
  TaskGrid(const RunContext& run, int32_t rows, int32_t row_step, int32_t most_rows);

  size_t count() const { return static_cast<size_t>(tiles_ * ranges_); }
  int32_t rows_per_task() const { return rows_per_task_; }
  Task operator[](size_t i) const {
    const auto range = static_cast<int32_t>(static_cast<int64_t>(i) % ranges_);
    const int32_t begin = range * rows_per_task_;
    return {static_cast<int64_t>(i) / ranges_, begin, std::min(rows_, begin + rows_per_task_)};
  }

 private:
  int64_t tiles_, ranges_;
  int32_t rows_, rows_per_task_;
};

// How many tasks of a phase are in work at the same time, at most: each has a block of scratch.
size_t Workers(size_t threads, size_t tasks);

// work(task, worker) for every task, by Workers(threads, tasks) workers: each has a share of neighbouring tasks,
// claimed one by one, the same in every phase of as many tasks; who is done with its own helps with the others'. `work`
// does not throw.
template <class Work>
void RunTasks(const RunContext& run, Parallel& parallel, size_t tasks, const Work& work) {
  constexpr size_t kMostShares = 32;
  struct alignas(kCacheLine) Share {
    std::atomic<size_t> next;
    size_t end;
  };
  struct Context {
    const Work& work;
    size_t count;
    Share shares[kMostShares];
  } context{work, std::min(Workers(run.threads, tasks), kMostShares), {}};
  for (size_t i = 0; i < context.count; ++i) {
    context.shares[i].next.store(tasks * i / context.count, std::memory_order_relaxed);
    context.shares[i].end = tasks * (i + 1) / context.count;
  }
  const auto worker = [](void* opaque, size_t index) {
    auto& c = *static_cast<Context*>(opaque);
    for (size_t i = 0; i < c.count; ++i) {
      Share& share = c.shares[(index + i) % c.count];
      for (size_t task = share.next++; task < share.end; task = share.next++) c.work(task, index);
    }
  };
  if (tasks > 0) parallel.For(Workers(run.threads, tasks), worker, &context);
}

}  // namespace fastep
