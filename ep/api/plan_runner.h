// A plan and how to run it from a kernel context: the same for both doors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/ort_api.h"
#include "api/profiler.h"
#include "core/arena.h"
#include "ops/op.h"

namespace fastep {

// Where one runtime input of a plan comes from.
class InputSource {
 public:
  explicit InputSource(size_t index) : index_(index) {}  // of the kernel context
  explicit InputSource(const TensorView& constant);      // copied
  TensorView Read(const OrtKernelContext* context) const;

 private:
  size_t index_ = 0;
  TensorView constant_;  // without data
  std::vector<uint8_t> bytes_;
};

class PlanRunner {
 public:
  // `inputs`: of the plan, in order. Without a plan Run does nothing.
  PlanRunner(std::shared_ptr<const Plan> plan, std::vector<InputSource> inputs, std::shared_ptr<ArenaPool> arenas,
             size_t threads);

  // Tells the profiler what every Run takes; `name`: of the subgraph.
  void Profile(std::shared_ptr<Profiler> profiler, const std::string& name);

  // Safe from any number of threads at once: each Run in flight has its own arena. Throws.
  void Run(OrtKernelContext* context) const;

 private:
  void Compute(OrtKernelContext* context, RunRecord* record) const;

  std::shared_ptr<const Plan> plan_;
  std::vector<InputSource> inputs_;
  std::shared_ptr<ArenaPool> arenas_;
  size_t threads_;
  std::shared_ptr<Profiler> profiler_;
  size_t subgraph_ = 0, step_count_ = 0;  // for the profiler
};

}  // namespace fastep
