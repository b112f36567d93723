#include "core/team.h"

#include <algorithm>
#include <thread>

namespace fastep {
namespace {

constexpr size_t kSizeIfThreadsUnknown = 32;
constexpr size_t kOver = ~size_t{0} - 1;
// About as long as a phase; whoever waits longer gives its CPU to the others.
constexpr int kSpins = 2000;

class Wait {
 public:
  void operator()() {
    if (spins_++ < kSpins) return __builtin_ia32_pause();
    std::this_thread::yield();
  }

 private:
  int spins_ = 0;
};

// Members spread over the indices: 0, 1/2, 1/4, 3/4, 1/8, ... of them, so that neighbours stay with one member however
// many there are.
size_t Home(size_t member, size_t count) {
  size_t numerator = 0, denominator = 1;
  for (; member > 0; member >>= 1) {
    numerator = numerator * 2 + (member & 1);
    denominator *= 2;
  }
  return numerator * count / denominator;
}

}  // namespace

struct alignas(64) Team::Claim {
  std::atomic<bool> taken{false};
};

Team::Team(size_t threads, Lead lead, const void* lead_context)
    : threads_(threads),
      size_(threads == 0 ? kSizeIfThreadsUnknown : threads),
      lead_(lead),
      lead_context_(lead_context),
      claims_(new Claim[size_]) {}

Team::~Team() = default;

void Team::Enter(Parallel& pool) {
  pool.For(size_, [](void* team, size_t) { static_cast<Team*>(team)->Join(); }, this);
  if (error_) std::rethrow_exception(error_);
}

void Team::Join() {
  const size_t member = members_++;
  return member == 0 ? LeadAll() : Help(member);
}

void Team::LeadAll() {
  try {
    lead_(lead_context_, *this);
  } catch (...) {
    error_ = std::current_exception();
  }
  phase_ = kOver;
}

// A helper counts itself as working before it looks whether the phase is still open, and the leader closes the phase
// before it looks whether anybody works: so one of them sees the other.
void Team::Help(size_t member) {
  size_t seen = 0;
  for (Wait wait;; wait()) {
    const size_t phase = phase_.load(std::memory_order_acquire);
    if (phase == kOver) return;
    if (phase % 2 == 0 || phase == seen) continue;
    ++working_;
    if (phase_ == phase) Work(member);
    --working_;
    seen = phase;
    wait = Wait();
  }
}

void Team::For(size_t count, void (*task)(void* context, size_t index), void* context) {
  if (count == 1) return task(context, 0);
  task_ = task;
  context_ = context;
  count_ = count;
  for (size_t i = 0; i < std::min(count, size_); ++i) claims_[i].taken.store(false, std::memory_order_relaxed);
  ++phase_;
  Work(0);
  ++phase_;
  for (Wait wait; working_ != 0;) wait();
}

void Team::Work(size_t member) {
  const size_t claims = std::min(count_, size_);
  size_t i = Home(member, claims);
  for (size_t tried = 0; tried < claims; ++tried, i = i + 1 == claims ? 0 : i + 1) {
    if (claims_[i].taken.load(std::memory_order_relaxed) || claims_[i].taken.exchange(true)) continue;
    task_(context_, i);
    if (i + 1 < claims) continue;
    for (size_t rest = claims; rest < count_; ++rest) task_(context_, rest);
  }
}

}  // namespace fastep
