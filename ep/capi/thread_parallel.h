// A Parallel on threads of its own, for tests: tasks are claimed one at a time, so their order differs from run to run.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

#include "core/parallel.h"

namespace fastep::capi {

class ThreadParallel final : public Parallel {
 public:
  explicit ThreadParallel(size_t threads) : threads_(threads) {}

  void For(size_t count, void (*task)(void*, size_t), void* context) override {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next++; i < count; i = next++) task(context, i);
    };
    std::vector<std::thread> others;
    for (size_t i = 1; i < threads_; ++i) others.emplace_back(work);
    work();
    for (std::thread& thread : others) thread.join();
  }

  size_t Threads() const override { return threads_; }

 private:
  size_t threads_;
};

}  // namespace fastep::capi
