// One planned node and how to run it from a kernel context: the same for both doors.
#pragma once

#include <memory>
#include <vector>

#include "api/ort_api.h"
#include "core/arena.h"
#include "ops/op.h"

namespace fastep {

class NodeRunner {
 public:
  // `inputs`: where in the kernel context the plan's runtime inputs are, in order.
  NodeRunner(std::unique_ptr<const Plan> plan, std::vector<size_t> inputs, std::shared_ptr<ArenaPool> arenas,
             size_t threads);

  // Safe from any number of threads at once: each Run in flight has its own arena. Throws.
  void Run(OrtKernelContext* context) const;

 private:
  std::unique_ptr<const Plan> plan_;
  std::vector<size_t> inputs_;
  std::shared_ptr<ArenaPool> arenas_;
  size_t threads_;
};

}  // namespace fastep
