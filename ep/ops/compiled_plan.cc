#include "ops/compiled_plan.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "core/error.h"
#include "ops/registry.h"

namespace fastep {
namespace {

// A layer that no plan of several takes has no packed form here, either: it keeps its weights and packs them at load.
bool PacksAtLoad(const std::vector<const NodeView*>& nodes) {
  return nodes.size() == 1 && !RequireOp(*nodes.front(), kOpVersion).CanJoin(*nodes.front());
}

// Runtime inputs of the nodes that no Run is given, because they are constant.
std::vector<PlanRecord::NamedTensor> FindConstants(const std::vector<const NodeView*>& nodes,
                                                   const std::vector<std::string>& plan_inputs,
                                                   const std::vector<std::string>& given) {
  std::vector<PlanRecord::NamedTensor> constants;
  const auto has = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  std::vector<std::string> done = given;
  for (const NodeView* node : nodes) {
    for (size_t i = 0; i < node->InputCount(); ++i) {
      const InputInfo info = node->Input(i);
      if (!info.constant || !has(plan_inputs, info.name) || has(done, info.name)) continue;
      constants.push_back({info.name, TensorRecord(node->Constant(i))});
      done.push_back(info.name);
    }
  }
  return constants;
}

GraphPlan Rebuild(const PlanRecord& record, const std::vector<std::string>& outputs, const GraphPlanOptions& options) {
  std::deque<RecordedNode> views;
  std::vector<const NodeView*> nodes;
  for (const NodeRecord& node : record.nodes) nodes.push_back(&views.emplace_back(node));
  if (nodes.empty()) throw Error("it holds no nodes");
  if (PacksAtLoad(nodes)) return MakePlan(nodes, outputs, options);
  ReadyPacker packer(record.products);
  return MakeGraphPlan(nodes, outputs, options, packer);
}

}  // namespace

RecordedPlan RecordPlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, const GraphPlanOptions& options) {
  const bool packs_at_load = PacksAtLoad(nodes);
  std::deque<RecordingNode> views;
  std::vector<const NodeView*> recording;
  for (const NodeView* node : nodes) recording.push_back(&views.emplace_back(*node, packs_at_load));
  KeepingPacker packer;
  RecordedPlan recorded;
  recorded.plan =
      packs_at_load ? MakePlan(recording, outputs, options) : MakeGraphPlan(recording, outputs, options, packer);
  recorded.record.inputs = inputs;
  recorded.record.outputs = outputs;
  recorded.record.constants = FindConstants(nodes, recorded.plan.inputs, inputs);
  recorded.record.products = packer.products();
  for (const RecordingNode& node : views) recorded.record.nodes.push_back(node.record());
  return recorded;
}

LoadedPlan LoadPlan(const BlobSource& source, const std::string& partition, const std::vector<size_t>& wanted_outputs,
                    const GraphPlanOptions& options) {
  OpenedBlob blob = OpenBlob(source, partition, options.tier);
  try {
    LoadedPlan loaded;
    loaded.tier = blob.tier;
    blob.archive(loaded.record);
    Hash key;
    key.Add(blob.hash.first);
    key.Add(blob.hash.second);
    key.Add(static_cast<uint64_t>(options.skip_padding));
    std::vector<std::string> outputs;
    for (const size_t i : wanted_outputs) {
      if (i >= loaded.record.outputs.size()) throw Error("it has no output " + std::to_string(i));
      key.Add(uint64_t{i});
      outputs.push_back(loaded.record.outputs[i]);
    }
    for (const PlanRecord::NamedTensor& constant : loaded.record.constants) constant.value.View();
    const GraphPlanOptions own = {blob.tier, options.skip_padding};
    loaded.plan = SharePlan(key.value(), [&] { return Rebuild(loaded.record, outputs, own); });
    return loaded;
  } catch (const Error& error) {
    throw Error(source.where + ": the compiled plan of '" + partition + "' cannot be used: " + error.what() +
                "; compile the model again: fastep compile");
  }
}

}  // namespace fastep
