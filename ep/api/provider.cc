#include "api/provider.h"

#include <algorithm>
#include <vector>

#include "api/graph_node.h"
#include "api/log.h"
#include "api/node_runner.h"
#include "api/status.h"
#include "ops/registry.h"

namespace fastep {
namespace {

// One fused node of a session, as ONNX Runtime runs it. The state is the object itself: it is immutable, so concurrent
// Runs share it.
struct ComputeInfo final : OrtNodeComputeInfo {
  explicit ComputeInfo(NodeRunner node_runner) : OrtNodeComputeInfo{}, runner(std::move(node_runner)) {
    ort_version_supported = ORT_API_VERSION;
    CreateState = [](OrtNodeComputeInfo* self, OrtNodeComputeContext*, void** state) -> OrtStatus* {
      *state = self;
      return nullptr;
    };
    ReleaseState = [](OrtNodeComputeInfo*, void*) {};
    Compute = [](OrtNodeComputeInfo* self, void*, OrtKernelContext* context) -> OrtStatus* {
      return ToStatus([&] { static_cast<ComputeInfo*>(self)->runner.Run(context); });
    };
  }
  NodeRunner runner;
};

struct DeleteComputeInfo {
  void operator()(OrtNodeComputeInfo* info) const { delete static_cast<ComputeInfo*>(info); }
};

// Where the fused node has the runtime inputs of the op; its constants are gone, and a value used twice is there once.
std::vector<size_t> RuntimeInputs(const NodeView& node, const Op& op, Ort::ConstNode fused) {
  const auto fused_inputs = fused.GetInputs();
  std::vector<size_t> indices;
  for (size_t i = 0; i < op.inputs().size(); ++i) {
    if (!op.inputs()[i].runtime) continue;
    const std::string name = node.Input(i).name;
    const auto is_it = [&](const Ort::ConstValueInfo& input) { return input && input.GetName() == name; };
    const auto found = std::find_if(fused_inputs.begin(), fused_inputs.end(), is_it);
    if (found == fused_inputs.end()) throw Error(node.Where() + ": the fused node lost its input '" + name + "'");
    indices.push_back(static_cast<size_t>(found - fused_inputs.begin()));
  }
  return indices;
}

// A fused node without any input would have nothing to run on.
void CheckRuntimeInputsVary(const NodeView& node, const Op& op) {
  for (size_t i = 0; i < op.inputs().size(); ++i) {
    if (!op.inputs()[i].runtime || !node.Input(i).constant) continue;
    throw Error(node.Where() + ": input " + std::to_string(i) + " '" + op.inputs()[i].name +
                "': expected a value known only when the model runs, found the initializer '" + node.Input(i).name +
                "'; fold the node into a constant");
  }
}

void CheckNode(const GraphNode& node) {
  const Op& op = RequireOp(node, node.version());
  op.Check(node);
  CheckRuntimeInputsVary(node, op);
}

}  // namespace

Provider::Provider(const ConfigEntries& entries, const OrtLogger* logger) : OrtEp{}, logger_(logger) {
  try {
    options_ = ParseOptions(entries);
    tier_ = ChooseTier(options_.max_tier);
  } catch (const Error& error) {
    bad_options_ = error.what();
    Log(logger_, LogLevel::kError, bad_options_);  // the only sign of it in a session without fastep nodes
  }
  ort_version_supported = ORT_API_VERSION;
  GetName = [](const OrtEp*) noexcept { return kEpName; };
  GetCapability = [](OrtEp* self, const OrtGraph* graph, OrtEpGraphSupportInfo* support) noexcept -> OrtStatus* {
    return ToStatus([&] { static_cast<Provider*>(self)->ClaimNodes(Ort::ConstGraph(graph), support); });
  };
  Compile = [](OrtEp* self, const OrtGraph** graphs, const OrtNode** fused_nodes, size_t count,
               OrtNodeComputeInfo** infos, OrtNode**) noexcept -> OrtStatus* {
    std::fill_n(infos, count, nullptr);
    return ToStatus([&] {
      std::vector<std::unique_ptr<OrtNodeComputeInfo, DeleteComputeInfo>> compiled;  // freed if a later node fails
      for (size_t i = 0; i < count; ++i) {
        compiled.emplace_back(
            static_cast<Provider*>(self)->CompileNode(Ort::ConstGraph(graphs[i]), Ort::ConstNode(fused_nodes[i])));
      }
      for (size_t i = 0; i < count; ++i) infos[i] = compiled[i].release();
    });
  };
  ReleaseNodeComputeInfos = [](OrtEp*, OrtNodeComputeInfo** infos, size_t count) noexcept {
    std::for_each_n(infos, count, DeleteComputeInfo());
  };
#if ORT_API_VERSION >= 24
  IsConcurrentRunSupported = [](OrtEp*, bool* supported) noexcept -> OrtStatus* {
    *supported = true;
    return nullptr;
  };
#endif
}

// A failing GetCapability is only logged by ONNX Runtime, a failing Compile stops the session. So what must be an error
// is claimed here, too, and found again by Compile.
void Provider::ClaimNodes(Ort::ConstGraph graph, OrtEpGraphSupportInfo* support) {
  const bool claim_all = options_.strict || !bad_options_.empty();
  size_t total = 0, claimed = 0;
  for (const Ort::ConstNode& node : graph.GetNodes()) {
    if (node.GetDomain() != kDomain) continue;
    ++total;
    const std::string reason = Refusal(node);
    if (!reason.empty()) ReportRefusal(reason);
    if (!reason.empty() && !claim_all) continue;
    const OrtNode* one = node;
    OrtNodeFusionOptions fusion{};
    fusion.ort_version_supported = ORT_API_VERSION;
    fusion.drop_constant_initializers = true;  // the packed copy replaces them
    Ort::ThrowOnError(EpApi().EpGraphSupportInfo_AddNodesToFuse(support, &one, 1, &fusion));
    ++claimed;
  }
  if (total == 0) return;
  Log(logger_, LogLevel::kInfo,
      "takes " + std::to_string(claimed) + " of " + std::to_string(total) + " fastep nodes, tier " +
          std::string(TierName(tier_)));
}

std::string Provider::Refusal(Ort::ConstNode node) const {
  const GraphNode view(node);
  const std::string owner = node.GetEpName();
  if (!owner.empty() && owner != kEpName) return view.Where() + ": already taken by " + owner;
  try {
    CheckNode(view);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

void Provider::ReportRefusal(const std::string& reason) {
  if (!reported_.insert(reason).second) return;
  if (options_.strict) {
    Log(logger_, LogLevel::kError, "refused: " + reason);
  } else {
    Log(logger_, LogLevel::kWarning, "left to ONNX Runtime: " + reason);
  }
}

OrtNodeComputeInfo* Provider::CompileNode(Ort::ConstGraph graph, Ort::ConstNode fused) const {
  if (!bad_options_.empty()) throw Error(bad_options_);
  const auto nodes = graph.GetNodes();
  if (nodes.size() != 1) throw Error("expected one fastep node to compile, found " + std::to_string(nodes.size()));
  const std::string reason = Refusal(nodes[0]);
  if (!reason.empty()) throw Error(reason + " (or set the option strict to 0: ONNX Runtime then runs the node)");
  const GraphNode node(nodes[0]);
  const Op& op = RequireOp(node, node.version());
  auto plan = op.MakePlan(node, tier_);
  Log(logger_, LogLevel::kDebug, node.Where() + ": " + plan->Summary());
  return new ComputeInfo(NodeRunner(std::move(plan), RuntimeInputs(node, op, fused), arenas_, options_.threads));
}

}  // namespace fastep
