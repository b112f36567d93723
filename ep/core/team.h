// Threads that stay together over the many short phases of one run.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>

#include "core/parallel.h"

namespace fastep {

// Starting a phase on a thread pool costs microseconds, and any thread may get any part. A team enters the pool once;
// between phases its members wait for each other by spinning, and each begins at the same part of every phase, so that
// what it wrote in one is in its caches in the next. Nobody waits for a member that the pool has no thread for: whoever
// is there does the work.
class Team final : public Parallel {
 public:
  // lead(team), on one of the pool's threads; the others help with every For of the team until it returns. Alone if the
  // pool has one thread. What `lead` throws is thrown here.
  template <class Lead>
  static void Run(Parallel& pool, const Lead& lead) {
    if (pool.Threads() == 1) return lead(pool);
    Team(
        pool.Threads(), [](const void* context, Parallel& team) { (*static_cast<const Lead*>(context))(team); }, &lead)
        .Enter(pool);
  }

  // For the leader alone. `task` does not throw.
  void For(size_t count, void (*task)(void* context, size_t index), void* context) override;
  size_t Threads() const override { return threads_; }

 private:
  using Lead = void (*)(const void* context, Parallel& team);
  struct Claim;

  Team(size_t threads, Lead lead, const void* lead_context);
  ~Team();
  void Enter(Parallel& pool);
  void Join();
  void LeadAll();
  void Help(size_t member);
  void Work(size_t member);

  const size_t threads_;  // as the pool tells, 0 if unknown
  const size_t size_;     // members at most
  const Lead lead_;
  const void* const lead_context_;
  std::exception_ptr error_;

  // The phase, written while it is closed and nobody is working.
  void (*task_)(void*, size_t) = nullptr;
  void* context_ = nullptr;
  size_t count_ = 0;
  std::unique_ptr<Claim[]> claims_;  // of the indices below size_; those behind are claimed with the last
  alignas(64) std::atomic<size_t> members_{0};
  alignas(64) std::atomic<size_t> phase_{0};  // odd: open, even: closed; kOver: the last
  alignas(64) std::atomic<size_t> working_{0};
};

}  // namespace fastep
