// What the steps of a plan are, and what one Run of each took: what a profiler reads.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "core/linear.h"

namespace fastep {

struct StepLabel {
  std::string op;                     // "linear", "attention", ...
  std::vector<std::string> nodes;     // that the step computes, or the one that it serves
  int64_t value_bytes_per_token = 0;  // of the activations that it reads or writes inside the plan
  int64_t n = 0, k = 0;               // of a product; 0: the step has no weights
  LinearInfo info;                    // of a product
};

// What a step does with the tokens of one call.
struct StepWork {
  int64_t macs = 0;          // int8 products, of blocks that are stored and tokens that are there
  int64_t dense_macs = 0;    // of the same layer without zeros
  int64_t weight_bytes = 0;  // read once

  StepWork& operator+=(const StepWork& other) {
    macs += other.macs;
    dense_macs += other.dense_macs;
    weight_bytes += other.weight_bytes;
    return *this;
  }
};

inline StepWork ProductWork(int64_t n, int64_t k, const LinearInfo& info, int64_t tokens) {
  const double dense = static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(tokens);
  return {std::llround(dense * info.work_density), std::llround(dense), static_cast<int64_t>(info.packed_bytes)};
}

inline int64_t NowNanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// One Run of one plan: made by the caller with an entry per step, filled in by the plan, seen by nobody else.
struct RunRecord {
  struct Entry {
    int64_t nanoseconds = 0;  // of a plan: of its first worker
    int64_t calls = 0;        // groups of sequences
    StepWork work;
  };

  explicit RunRecord(size_t count) : steps(count) {}

  // Runs `body` as a call of step i that does `work`.
  template <class Body>
  void Time(size_t i, const StepWork& work, const Body& body) {
    const int64_t start = NowNanoseconds();
    body();
    steps[i].nanoseconds += NowNanoseconds() - start;
    steps[i].calls += 1;
    steps[i].work += work;
  }

  std::vector<Entry> steps;
  std::vector<int64_t> shape;  // of the tokens: [B, S], or whatever stands before the features
  bool skips_padding = false;
  int64_t tokens = 0;  // computed
  int64_t lanes = 0;   // computed, those that fill up tiles included
};

}  // namespace fastep
