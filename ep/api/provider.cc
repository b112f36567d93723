#include "api/provider.h"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "api/graph_node.h"
#include "api/log.h"
#include "api/partition.h"
#include "api/plan_runner.h"
#include "api/status.h"
#include "api/tensor_view.h"
#include "ops/input_rules.h"
#include "ops/plan_cache.h"
#include "ops/registry.h"

namespace fastep {
namespace {

// One subgraph of a session, as ONNX Runtime runs it. The state is the object itself: it is immutable, so concurrent
// Runs share it.
struct ComputeInfo final : OrtNodeComputeInfo {
  explicit ComputeInfo(PlanRunner plan_runner) : OrtNodeComputeInfo{}, runner(std::move(plan_runner)) {
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
  PlanRunner runner;
};

struct DeleteComputeInfo {
  void operator()(OrtNodeComputeInfo* info) const { delete static_cast<ComputeInfo*>(info); }
};

// A fused node without any input would have nothing to run on.
void CheckRuntimeInputsVary(const NodeView& node, const Op& op) {
  const std::vector<InputDef>& defs = op.inputs();
  size_t constant = defs.size();
  for (size_t i = 0; i < defs.size(); ++i) {
    if (!defs[i].runtime) continue;
    if (!node.Input(i).constant) return;
    constant = i;
  }
  throw Error(InputWhere(node, defs, constant) +
              ": expected a value known only when the model runs, found the initializer '" + node.Input(constant).name +
              "'; fold the node into a constant");
}

// ONNX Runtime allocates what outputs are declared to be, whatever is written there.
void CheckOutputs(const std::string& where, const std::vector<DataType>& written, Ort::ConstNode node,
                  const std::string& remedy) {
  const std::vector<Ort::ConstValueInfo> declared = node.GetOutputs();
  if (declared.size() > written.size()) {
    throw Error(where + ": expected " + std::to_string(written.size()) + " outputs, found " +
                std::to_string(declared.size()) + "; " + remedy);
  }
  for (size_t i = 0; i < declared.size(); ++i) {
    if (!declared[i]) continue;
    const DataType found = ReadTypeInfo(declared[i]).type;
    if (found == written[i]) continue;
    throw Error(where + ": output " + std::to_string(i) + " '" + declared[i].GetName() + "': expected " +
                DataTypeName(written[i]) + ", found " + DataTypeName(found) + "; " + remedy);
  }
}

void CheckNode(const GraphNode& view, Ort::ConstNode node) {
  const Op& op = RequireOp(view, view.version());
  op.Check(view);
  CheckRuntimeInputsVary(view, op);
  CheckOutputs(view.Where(), op.outputs(), node, "convert the model again with this version of FastEP");
}

std::vector<std::string> Names(const std::vector<Ort::ConstValueInfo>& values) {
  std::vector<std::string> names;
  for (const Ort::ConstValueInfo& value : values) names.push_back(value ? value.GetName() : "");
  return names;
}

// What Partition needs to know of a node that it may or may not claim.
PartitionNode Describe(Ort::ConstNode node) {
  PartitionNode described;
  const Op* op = node.GetDomain() == kDomain ? FindOp(node.GetOperatorType()) : nullptr;
  for (const std::string& name : Names(node.GetInputs())) {
    const size_t i = described.inputs.size();
    const bool joins = op != nullptr && i < op->inputs().size() && op->inputs()[i].runtime && !op->inputs()[i].external;
    described.inputs.push_back({name, joins});
  }
  for (const std::string& name : Names(node.GetImplicitInputs())) described.inputs.push_back({name, false});
  described.outputs = Names(node.GetOutputs());
  return described;
}

// names.size(): it is not there.
size_t IndexOf(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

// ONNX Runtime writes no compiled node without outputs: the nodes of such a group are left to it, which stores what
// their function bodies say.
void RemoveUnread(Ort::ConstGraph graph, const std::vector<PartitionNode>& nodes,
                  std::vector<std::vector<size_t>>& groups) {
  const std::vector<std::string> outputs = Names(graph.GetOutputs());
  const auto is_read = [&](const std::vector<size_t>& group) {
    std::set<std::string> read(outputs.begin(), outputs.end());
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (std::find(group.begin(), group.end(), i) != group.end()) continue;
      for (const PartitionNode::Input& input : nodes[i].inputs) read.insert(input.name);
    }
    return std::any_of(group.begin(), group.end(), [&](size_t i) {
      const std::vector<std::string>& names = nodes[i].outputs;
      return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return read.count(name) > 0; });
    });
  };
  groups.erase(std::remove_if(groups.begin(), groups.end(), [&](const auto& group) { return !is_read(group); }),
               groups.end());
}

TensorView FindConstant(const std::string& name, const std::vector<const NodeView*>& nodes) {
  for (const NodeView* node : nodes) {
    for (size_t i = 0; i < node->InputCount(); ++i) {
      const InputInfo info = node->Input(i);
      if (info.constant && info.name == name) return node->Constant(i);
    }
  }
  throw Error(nodes.front()->Where() + ": the fused node lost the input '" + name + "' of its subgraph");
}

// Where the fused node has the inputs of its plan: its constants are gone, and a value used twice is there once.
std::vector<InputSource> FindSources(const std::vector<std::string>& inputs, const std::vector<const NodeView*>& nodes,
                                     Ort::ConstNode fused) {
  const std::vector<std::string> given = Names(fused.GetInputs());
  std::vector<InputSource> sources;
  for (const std::string& name : inputs) {
    const auto found = std::find(given.begin(), given.end(), name);
    if (found != given.end()) {
      sources.emplace_back(static_cast<size_t>(found - given.begin()));
    } else {
      sources.emplace_back(FindConstant(name, nodes));
    }
  }
  return sources;
}

}  // namespace

Provider::Provider(const ConfigEntries& entries, const OrtLogger* logger)
    : OrtEp{}, context_options_(ParseContextOptions(entries)), logger_(logger), context_writer_(context_options_) {
  try {
    options_ = ParseOptions(entries);
    tier_ = ChooseTier(options_.max_tier);
    compatibility_ = CompatibilityInfo(tier_);
    if (!options_.profile.empty()) {
      profiler_ = std::make_shared<Profiler>(ProfilerOptions{options_.profile, tier_, options_.threads, logger_});
    }
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
               OrtNodeComputeInfo** infos, OrtNode** context_nodes) noexcept -> OrtStatus* {
    return ToStatus(
        [&] { static_cast<Provider*>(self)->CompileGroups({graphs, fused_nodes, count}, infos, context_nodes); });
  };
  GetCompiledModelCompatibilityInfo = [](OrtEp* self, const OrtGraph*) noexcept {
    return static_cast<Provider*>(self)->compatibility_.c_str();
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
  const std::vector<Ort::ConstNode> nodes = graph.GetNodes();
  std::vector<PartitionNode> described;
  size_t total = 0, claimed = 0, contexts = 0;
  for (const Ort::ConstNode& node : nodes) {
    described.push_back(Describe(node));
    if (IsContextNode(node)) {
      described.back().claimed = true;
      ++contexts;
    }
    if (node.GetDomain() != kDomain) continue;
    ++total;
    const std::string reason = Refusal(node);
    if (!reason.empty()) ReportRefusal(reason);
    if (!reason.empty() && !claim_all) continue;
    const GraphNode view(node);
    described.back().claimed = true;
    described.back().can_join = reason.empty() && RequireOp(view, view.version()).CanJoin(view);
    ++claimed;
  }
  if (total + contexts == 0) return;
  std::vector<std::vector<size_t>> groups = Partition(described);
  if (context_writer_.enabled()) RemoveUnread(graph, described, groups);
  for (const std::vector<size_t>& group : groups) {
    std::vector<const OrtNode*> members;
    for (const size_t i : group) members.push_back(nodes[i]);
    OrtNodeFusionOptions fusion{};
    fusion.ort_version_supported = ORT_API_VERSION;
    fusion.drop_constant_initializers = true;  // the packed copy replaces them
    Ort::ThrowOnError(EpApi().EpGraphSupportInfo_AddNodesToFuse(support, members.data(), members.size(), &fusion));
  }
  Log(logger_, LogLevel::kInfo,
      "takes " + std::to_string(claimed) + " of " + std::to_string(total) + " fastep nodes, tier " +
          std::string(TierName(tier_)) + ", subgraphs: " + std::to_string(groups.size()) +
          (contexts == 0 ? "" : ", of them compiled before: " + std::to_string(contexts)));
}

std::string Provider::Refusal(Ort::ConstNode node) const {
  const GraphNode view(node);
  const std::string owner = node.GetEpName();
  if (!owner.empty() && owner != kEpName) return view.Where() + ": already taken by " + owner;
  try {
    CheckNode(view, node);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

void Provider::ReportRefusal(const std::string& reason) {
  if (!reported_.insert(reason).second) return;
  if (options_.strict) {
    Log(logger_, LogLevel::kInfo, "refused: " + reason);  // the error is that of the session, which is not created
  } else {
    Log(logger_, LogLevel::kWarning, "left to ONNX Runtime: " + reason);
  }
}

void Provider::CompileGroups(const Groups& groups, OrtNodeComputeInfo** infos, OrtNode** context_nodes) {
  std::fill_n(infos, groups.count, nullptr);
  std::vector<std::unique_ptr<OrtNodeComputeInfo, DeleteComputeInfo>> compiled;  // freed if a later node fails
  std::vector<Ort::Node> contexts;
  for (size_t i = 0; i < groups.count; ++i) {
    OrtNode* context = nullptr;
    compiled.emplace_back(
        CompileGroup(Ort::ConstGraph(groups.graphs[i]), Ort::ConstNode(groups.fused_nodes[i]), &context));
    contexts.emplace_back(context);
  }
  context_writer_.Commit();
  for (size_t i = 0; i < groups.count; ++i) {
    infos[i] = compiled[i].release();
    if (contexts[i]) context_nodes[i] = contexts[i].release();
  }
}

OrtNodeComputeInfo* Provider::CompileGroup(Ort::ConstGraph graph, Ort::ConstNode fused, OrtNode** context) {
  if (!bad_options_.empty()) throw Error(bad_options_);
  ExternalData data(graph);
  std::deque<GraphNode> views;
  std::vector<const NodeView*> nodes;
  for (const Ort::ConstNode& node : graph.GetNodes()) {
    if (IsContextNode(node)) return LoadGroup(graph, node, fused);
    const std::string reason = Refusal(node);
    if (!reason.empty()) throw Error(reason + " (or set the option strict to 0: ONNX Runtime then runs the node)");
    nodes.push_back(&views.emplace_back(node, &data));
  }
  if (nodes.empty()) throw Error("expected fastep nodes to compile, found none");
  const std::string more = nodes.size() == 1 ? "" : " and " + std::to_string(nodes.size() - 1) + " more";
  const std::vector<std::string> outputs = Names(fused.GetOutputs());
  // ONNX Runtime keeps nodes whose results nobody reads.
  if (outputs.empty()) {
    Log(logger_, LogLevel::kDebug, nodes[0]->Where() + more + ": nothing reads the results");
    return new ComputeInfo(PlanRunner(nullptr, {}, arenas_, options_.threads));
  }
  const SharedPlan plan = context_writer_.enabled() ? CompileToContext(graph, fused, nodes, context)
                                                    : MakeOrSharePlan(nodes, outputs, PlanOptions());
  if (nodes.size() > 1) Log(logger_, LogLevel::kInfo, nodes[0]->Where() + more + ": " + plan.plan->Summary());
  for (const NodeView* node : nodes) {
    Log(logger_, LogLevel::kDebug, node->Where() + ": " + plan.NodeSummary(node->name()));
  }
  return MakeComputeInfo(plan, FindSources(plan.inputs, nodes, fused), fused);
}

OrtNodeComputeInfo* Provider::MakeComputeInfo(const SharedPlan& plan, std::vector<InputSource> sources,
                                              Ort::ConstNode fused) const {
  PlanRunner runner(plan.plan, std::move(sources), arenas_, options_.threads);
  if (profiler_ != nullptr) runner.Profile(profiler_, fused.GetName());
  return new ComputeInfo(std::move(runner));
}

SharedPlan Provider::CompileToContext(Ort::ConstGraph graph, Ort::ConstNode fused,
                                      const std::vector<const NodeView*>& nodes, OrtNode** context) {
  RecordedPlan recorded = RecordPlan(nodes, Names(fused.GetInputs()), Names(fused.GetOutputs()), PlanOptions());
  *context = context_writer_.Write(graph, fused, recorded.record, tier_);
  return {std::move(recorded.plan.plan), recorded.plan.inputs, false};
}

// A subgraph that was compiled before. Names may have changed since; the order of inputs and outputs has not.
OrtNodeComputeInfo* Provider::LoadGroup(Ort::ConstGraph graph, Ort::ConstNode node, Ort::ConstNode fused) const {
  const ContextContent content = ReadContext(graph, node, context_options_.model_path);
  const std::vector<std::string> names = Names(node.GetInputs()), given = Names(fused.GetInputs());
  std::vector<size_t> outputs;
  for (const std::string& name : Names(fused.GetOutputs())) outputs.push_back(IndexOf(Names(node.GetOutputs()), name));
  const LoadedPlan loaded = LoadPlan(content.source, content.partition, outputs, PlanOptions());
  CheckOutputs(content.source.where, loaded.plan.plan->OutputTypes(), fused, "compile the model again: fastep compile");
  std::vector<InputSource> sources;
  for (const std::string& name : loaded.plan.inputs) {
    const size_t position = IndexOf(loaded.record.inputs, name);
    const size_t index = position < names.size() ? IndexOf(given, names[position]) : given.size();
    if (index < given.size()) {
      sources.emplace_back(index);
      continue;
    }
    const auto& constants = loaded.record.constants;
    const auto found = std::find_if(constants.begin(), constants.end(), [&](const auto& c) { return c.name == name; });
    if (found == constants.end()) {
      throw Error(content.source.where + ": expected " + std::to_string(loaded.record.inputs.size()) +
                  " inputs of the node '" + node.GetName() + "', found " + std::to_string(names.size()) +
                  "; compile the model again: fastep compile");
    }
    sources.emplace_back(found->value.View());
  }
  const std::string more = ", compiled before for tier " + std::string(TierName(loaded.tier)) +
                           (loaded.tier < tier_ ? " although " + std::string(TierName(tier_)) + " is there" : "");
  Log(logger_, LogLevel::kInfo, content.partition + more + ": " + loaded.plan.plan->Summary());
  for (const NodeRecord& record : loaded.record.nodes) {
    Log(logger_, LogLevel::kDebug, RecordedNode(record).Where() + ": " + loaded.plan.NodeSummary(record.name) + more);
  }
  return MakeComputeInfo(loaded.plan, std::move(sources), fused);
}

}  // namespace fastep
