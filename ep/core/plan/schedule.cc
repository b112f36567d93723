#include "core/plan/schedule.h"

#include <algorithm>
#include <new>
#include <thread>

namespace fastep {
namespace {

// About as long as a task; whoever waits longer gives its CPU to the others.
constexpr int kSpins = 2000;
// Of those that need some: tiles may be at most one join apart.
constexpr size_t kSharedBlocks = 2;

}  // namespace

// What every step takes one worker.
class Schedule::Clock {
 public:
  explicit Clock(RunRecord* record) : record_(record), last_(record == nullptr ? 0 : NowNanoseconds()) {}

  void Count(size_t step) {
    if (record_ == nullptr) return;
    const int64_t now = NowNanoseconds();
    record_->steps[step].nanoseconds += now - last_;
    last_ = now;
  }

 private:
  RunRecord* record_;
  int64_t last_;
};

Schedule::Schedule(const Steps& steps, const RunContext& run)
    : steps_(steps),
      run_(run),
      tiles_(static_cast<size_t>(run.tokens.tile_count())),
      shares_(CeilDiv(run.workers, tiles_)) {
  phases_.reserve(StepNeeds::kPhases * steps.size());
  for (size_t i = 0; i < steps.size(); ++i) AddStep(i, steps[i]->Needs(run));
  stretches_.back().end = phases_.size();
  shared_blocks_ = std::min(shared_blocks_, run.workers == 1 ? 1 : kSharedBlocks);
  tile_counters_ = RoundUp(phases_.size() * (1 + shares_), kCacheLine / sizeof(Counter));
}

void Schedule::AddStep(size_t step, const StepNeeds& needs) {
  for (int phase = 0; phase < StepNeeds::kPhases; ++phase) {
    if (needs.tasks[phase] == 0) continue;
    if (phases_.empty() || (needs.joins && phase + 1 == StepNeeds::kPhases)) {
      if (!stretches_.empty()) stretches_.back().end = phases_.size();
      stretches_.push_back({phases_.size(), phases_.size()});
    }
    phases_.push_back({step, phase, needs.tasks[phase], shared_blocks_});
  }
  if (needs.shared_bytes > 0) ++shared_blocks_;
  shared_bytes_ = std::max(shared_bytes_, RoundUp(needs.shared_bytes, kCacheLine));
  tile_bytes_ = std::max(tile_bytes_, RoundUp(needs.tile_bytes, kCacheLine));
  worker_bytes_ = std::max(worker_bytes_, RoundUp(needs.worker_bytes, kCacheLine));
}

size_t Schedule::ScratchBytes() const {
  return tiles_ * tile_counters_ * sizeof(Counter) + shared_blocks_ * shared_bytes_ + tiles_ * tile_bytes_ +
         run_.workers * worker_bytes_;
}

void Schedule::Run(uint8_t* scratch, Parallel& parallel, RunRecord* record) {
  const size_t count = tiles_ * tile_counters_;
  counters_ = new (scratch) Counter[count]{};
  scratch_ = scratch + count * sizeof(Counter);
  record_ = record;
  parallel.For(run_.workers, [](void* self, size_t worker) { static_cast<Schedule*>(self)->Walk(worker); }, this);
}

Schedule::Tiles Schedule::Home(size_t worker) const {
  const size_t begin = worker * tiles_ / run_.workers;
  return {begin, std::max(begin + 1, (worker + 1) * tiles_ / run_.workers)};
}

void Schedule::Walk(size_t worker) {
  const Tiles home = Home(worker);
  Clock clock(worker == 0 ? record_ : nullptr);
  for (const Stretch& stretch : stretches_) {
    for (size_t phase = stretch.begin; phase < stretch.end; ++phase) {
      for (size_t tile = home.begin; tile < home.end; ++tile) Take(phase, tile, worker, stretch);
      clock.Count(phases_[phase].step);
    }
    for (size_t i = 0; i < tiles_; ++i) {
      const size_t tile = (home.end + i) % tiles_;
      if (IsDone(stretch.end - 1, tile)) continue;
      for (size_t phase = stretch.begin; phase < stretch.end; ++phase) Take(phase, tile, worker, stretch);
      WaitFor(stretch.end - 1, tile);
    }
    clock.Count(phases_[stretch.end - 1].step);
  }
}

void Schedule::Take(size_t phase, size_t tile, size_t worker, const Stretch& stretch) {
  if (IsDone(phase, tile)) return;
  if (phase > stretch.begin) WaitFor(phase - 1, tile);
  const Phase& at = phases_[phase];
  uint8_t* tiles = scratch_ + shared_blocks_ * shared_bytes_;
  const TileTurn::Scratch scratch{scratch_ + at.shared_block % std::max<size_t>(shared_blocks_, 1) * shared_bytes_,
                                  tiles + tile * tile_bytes_, tiles + tiles_ * tile_bytes_ + worker * worker_bytes_};
  Counter* counters = Counters(phase, tile);
  TileTurn turn(at.phase, run_.tokens.tiling()[static_cast<int64_t>(tile)], scratch, {counters + 1, at.tasks, shares_},
                worker % shares_);
  steps_[at.step]->Run(run_, turn);
  if (turn.claimed() > 0) counters->fetch_add(static_cast<uint32_t>(turn.claimed()), std::memory_order_release);
}

bool Schedule::IsDone(size_t phase, size_t tile) const {
  return Counters(phase, tile)->load(std::memory_order_acquire) == phases_[phase].tasks;
}

void Schedule::WaitFor(size_t phase, size_t tile) const {
  for (int spins = 0; !IsDone(phase, tile); ++spins) {
    if (spins < kSpins) {
      __builtin_ia32_pause();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace fastep
