// Runs core's tasks on the session's own thread pool.
#pragma once

#include <atomic>
#include <exception>

#include "api/ort_api.h"
#include "core/parallel.h"

namespace fastep {

class OrtParallel final : public Parallel {
 public:
  // `threads`: what the session was created with, 0 if unknown (the C API does not tell); only a hint.
  OrtParallel(const OrtKernelContext* context, size_t threads) : context_(context), threads_(threads) {}

  size_t Threads() const override { return threads_; }

  void For(size_t count, void (*task)(void* context, size_t index), void* context) override {
    if (count == 0) return;
    if (count == 1) return task(context, 0);
    Job job{task, context};
    // num_batch 0: threads claim indices as they become free, so uneven tasks balance out.
    Ort::ThrowOnError(Api().KernelContext_ParallelFor(context_, &Job::RunOne, count, 0, &job));
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  // An exception must not unwind through the pool: the first one is kept and thrown again by the caller.
  struct Job {
    void (*task)(void*, size_t);
    void* context;
    std::atomic_flag failed = ATOMIC_FLAG_INIT;
    std::exception_ptr error = nullptr;

    static void RunOne(void* self, size_t index) noexcept {
      Job& job = *static_cast<Job*>(self);
      try {
        job.task(job.context, index);
      } catch (...) {
        if (!job.failed.test_and_set()) job.error = std::current_exception();
      }
    }
  };

  const OrtKernelContext* context_;
  size_t threads_;
};

}  // namespace fastep
