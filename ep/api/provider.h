// The execution provider of one session: takes fastep nodes, compiles each connected run of
// them to a plan, runs the plans.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/ep_context.h"
#include "api/options.h"
#include "api/ort_api.h"
#include "api/plan_runner.h"
#include "api/profiler.h"
#include "core/arena.h"
#include "core/tier.h"

namespace fastep {

class Provider final : public OrtEp {
 public:
  // Bad options do not throw here but fail Compile: ONNX Runtime's Python package answers a provider that cannot be
  // created with a printed line and a session without it, whereas a failing Compile is an exception in every language.
  Provider(const ConfigEntries& entries, const OrtLogger* logger);

 private:
  // What ONNX Runtime calls through OrtEp; they throw, the pointers set in the constructor do not.
  void ClaimNodes(Ort::ConstGraph graph, OrtEpGraphSupportInfo* support);
  struct Groups {
    const OrtGraph** graphs;
    const OrtNode** fused_nodes;
    size_t count;
  };
  void CompileGroups(const Groups& groups, OrtNodeComputeInfo** infos, OrtNode** context_nodes);
  // `context`: the node that takes the fused one's place in a compiled model, if one is being written.
  OrtNodeComputeInfo* CompileGroup(Ort::ConstGraph graph, Ort::ConstNode fused, OrtNode** context);
  SharedPlan CompileToContext(Ort::ConstGraph graph, Ort::ConstNode fused, const std::vector<const NodeView*>& nodes,
                              OrtNode** context);
  OrtNodeComputeInfo* LoadGroup(Ort::ConstGraph graph, Ort::ConstNode node, Ort::ConstNode fused) const;
  OrtNodeComputeInfo* MakeComputeInfo(const SharedPlan& plan, std::vector<InputSource> sources,
                                      Ort::ConstNode fused) const;
  GraphPlanOptions PlanOptions() const { return {tier_, options_.skip_padding}; }

  // Why a fastep node cannot be run; empty: it can.
  std::string Refusal(Ort::ConstNode node) const;
  void ReportRefusal(const std::string& reason);

  ProviderOptions options_;
  std::string bad_options_;  // what is wrong with them; empty: nothing
  ContextOptions context_options_;
  Tier tier_ = Tier::kScalar;
  std::string compatibility_;  // what a compiled model says about this tier
  const OrtLogger* logger_;
  ContextWriter context_writer_;
  std::shared_ptr<Profiler> profiler_;                                 // null: nobody asked for a profile
  std::shared_ptr<ArenaPool> arenas_ = std::make_shared<ArenaPool>();  // nodes of one Run follow each other: they share
  std::set<std::string> reported_;  // ONNX Runtime asks about the same node more than once
};

}  // namespace fastep
