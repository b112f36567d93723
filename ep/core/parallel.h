// How core code runs tasks in parallel without knowing whose threads they are.
#pragma once

#include <cstddef>

namespace fastep {

class Parallel {
 public:
  virtual ~Parallel() = default;
  // Calls task(context, i) for every i in [0, count), in any order, on any thread; returns when all are done.
  virtual void For(size_t count, void (*task)(void* context, size_t index), void* context) = 0;
  // Number of threads if known, 0 otherwise (the ORT C API does not tell). Only a hint for how finely to cut.
  virtual size_t Threads() const { return 0; }
};

class SerialParallel final : public Parallel {
 public:
  void For(size_t count, void (*task)(void*, size_t), void* context) override {
    for (size_t i = 0; i < count; ++i) task(context, i);
  }
  size_t Threads() const override { return 1; }
};

}  // namespace fastep
