// Takes a group of sequences through the steps of a plan, on all threads at once.
//
// Every worker has tiles at home and takes them from phase to phase: a task needs what was done before on its tile, and
// nothing else. Only where a phase joins tiles (attention reads the keys of all) every tile must have come so far. Who
// is there first works on the tiles that are not, task by task. So there are no barriers, and nobody waits for a worker
// that no thread runs, only for tasks that somebody is at.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "core/parallel.h"
#include "core/plan/step.h"
#include "core/plan/step_profile.h"

namespace fastep {

class Schedule {
 public:
  using Steps = std::vector<std::unique_ptr<const Step>>;

  Schedule(const Steps& steps, const RunContext& run);
  size_t ScratchBytes() const;
  // `scratch`: of ScratchBytes(), 64-byte aligned. `record` (null: nobody wants it): what each step takes the first
  // worker; where it waits for others, that counts for the step before.
  void Run(uint8_t* scratch, Parallel& parallel, RunRecord* record);

 private:
  struct Phase {
    size_t step;
    int phase;  // of the step
    size_t tasks;
    size_t shared_block;
  };
  // Phases without one that joins, except for the first.
  struct Stretch {
    size_t begin, end;
  };
  struct Tiles {
    size_t begin, end;
  };
  class Clock;
  using Counter = std::atomic<uint32_t>;

  void AddStep(size_t step, const StepNeeds& needs);
  void Walk(size_t worker);
  Tiles Home(size_t worker) const;
  // The worker's part in the phase on the tile, once the phase before it is done there.
  void Take(size_t phase, size_t tile, size_t worker, const Stretch& stretch);
  void WaitFor(size_t phase, size_t tile) const;
  bool IsDone(size_t phase, size_t tile) const;
  // Of tasks that are done, and, behind it, of tasks that are claimed in each share.
  Counter* Counters(size_t phase, size_t tile) const {
    return counters_ + tile * tile_counters_ + phase * (1 + shares_);
  }

  const Steps& steps_;
  const RunContext& run_;
  const size_t tiles_;
  const size_t shares_;  // of the tasks of a tile: one per worker that has it at home
  std::vector<Phase> phases_;
  std::vector<Stretch> stretches_;
  size_t shared_blocks_ = 0;
  size_t shared_bytes_ = 0, tile_bytes_ = 0, worker_bytes_ = 0;
  size_t tile_counters_ = 0;
  Counter* counters_ = nullptr;
  uint8_t* scratch_ = nullptr;  // behind the counters
  RunRecord* record_ = nullptr;
};

}  // namespace fastep
