// Plans that were compiled before: written down with their packed products, and built again without the weights.
#pragma once

#include <string>
#include <vector>

#include "core/archive.h"
#include "ops/graph_plan.h"
#include "ops/node_record.h"
#include "ops/plan_blob.h"
#include "ops/plan_cache.h"

namespace fastep {

// All that a compiled plan says.
struct PlanRecord {
  struct NamedTensor {
    std::string name;
    TensorRecord value;

    template <class Archive, class Self>
    static void Fields(Archive& archive, Self& self) {
      archive(self.name, self.value);
    }
  };
  std::vector<NodeRecord> nodes;        // in an order in which they can run
  std::vector<std::string> inputs;      // values that a Run is given, in the order of the fused node's inputs
  std::vector<std::string> outputs;     // values that it computes
  std::vector<NamedTensor> constants;   // runtime inputs of nodes that are constant
  std::vector<PackedLinears> products;  // in the order in which the plan asks for them; none if it packs at load

  template <class Archive, class Self>
  static void Fields(Archive& archive, Self& self) {
    archive(self.nodes, self.inputs, self.outputs, self.constants, self.products);
  }
};

struct RecordedPlan {
  GraphPlan plan;
  PlanRecord record;  // borrows constants of the nodes
};

// As MakePlan, and writes down what it takes to make it again. `inputs` and `outputs`: of the fused node.
RecordedPlan RecordPlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, const GraphPlanOptions& options);

struct LoadedPlan {
  SharedPlan plan;
  PlanRecord record;  // what it was made from
  Tier tier = Tier::kScalar;
};

// The plan of a partition; `wanted_outputs`: by position. options.tier is the best tier that may be used;
// the plan runs on the tier that it was compiled for. Throws Error.
LoadedPlan LoadPlan(const BlobSource& source, const std::string& partition, const std::vector<size_t>& wanted_outputs,
                    const GraphPlanOptions& options);

}  // namespace fastep
