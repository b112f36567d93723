#include "ops/graph_plan.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "ops/graph_builder.h"
#include "ops/quantization.h"
#include "ops/registry.h"

namespace fastep {
namespace {

TensorType TypeOf(DataType type) {
  switch (type) {
    case DataType::kUint8:
      return TensorType::kU8;
    case DataType::kInt8:
      return TensorType::kS8;
    case DataType::kInt32:
      return TensorType::kI32;
    case DataType::kInt64:
      return TensorType::kI64;
    case DataType::kBool:
      return TensorType::kBool;
    case DataType::kFloat:
      return TensorType::kF32;
    default:
      return TensorType::kOther;
  }
}

class CompiledPlan final : public Plan {
 public:
  // order[i]: which of the tensors given to Run is input i of the plan.
  CompiledPlan(std::string where, std::shared_ptr<const EncoderPlan> plan, std::vector<size_t> order)
      : where_(std::move(where)), plan_(std::move(plan)), order_(std::move(order)) {}

  std::vector<Shape> OutputShapes(const std::vector<TensorView>& inputs) const override {
    return Named([&] { return plan_->OutputShapes(Tensors(inputs)); });
  }

  std::vector<DataType> OutputTypes() const override {
    std::vector<DataType> types;
    for (const ElementType type : plan_->OutputTypes()) types.push_back(DataTypeOf(type));
    return types;
  }

  void Run(const std::vector<TensorView>& inputs, const std::vector<void*>& outputs, Parallel& parallel, Arena& arena,
           RunRecord* record) const override {
    Named([&] { plan_->Run(Tensors(inputs), outputs, parallel, arena, record); });
  }

  std::vector<StepLabel> Steps() const override { return plan_->labels(); }

  std::string Summary() const override { return plan_->Summary(); }
  std::string NodeSummary(const std::string& node) const override { return plan_->NodeSummary(node); }

 private:
  std::vector<PlanTensor> Tensors(const std::vector<TensorView>& inputs) const {
    std::vector<PlanTensor> tensors;
    for (const size_t i : order_) tensors.push_back({TypeOf(inputs.at(i).type), inputs[i].shape, inputs[i].data});
    return tensors;
  }

  template <class Body>
  auto Named(const Body& body) const -> decltype(body()) {
    try {
      return body();
    } catch (const Error& error) {
      throw Error(where_ + ": " + error.what());
    }
  }

  std::string where_;
  std::shared_ptr<const EncoderPlan> plan_;
  std::vector<size_t> order_;
};

}  // namespace

GraphPlan MakeGraphPlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                        const GraphPlanOptions& options) {
  Packer packer;
  return MakeGraphPlan(nodes, outputs, options, packer);
}

GraphPlan MakeGraphPlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                        const GraphPlanOptions& options, Packer& packer) {
  GraphBuilder builder;
  for (const NodeView* node : nodes) RequireOp(*node, kOpVersion).AddTo(builder, *node);
  for (const std::string& name : outputs) builder.Output(name);
  if (options.skip_padding != SkipPadding::kNever) {
    builder.plan().SkipPadding(builder.plan().SharedMask(options.skip_padding == SkipPadding::kMarked));
  }
  std::vector<size_t> order;
  for (size_t i = 0; i < builder.inputs().size(); ++i) order.push_back(i);
  std::string where = nodes.front()->Where();
  if (nodes.size() > 1) where += " and " + std::to_string(nodes.size() - 1) + " more";
  return {std::make_unique<CompiledPlan>(where, builder.plan().Build(options.tier, packer), order), builder.inputs()};
}

GraphPlan MakePlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                   const GraphPlanOptions& options) {
  const NodeView& first = *nodes.front();
  const Op& op = RequireOp(first, kOpVersion);
  // What reads ids or a mask has no form but that of a plan.
  const bool external =
      std::any_of(op.inputs().begin(), op.inputs().end(), [](const InputDef& i) { return i.external; });
  const bool own_form = !op.CanJoin(first) || (op.outputs().size() == 1 && !external);
  if (nodes.size() > 1 || !own_form) return MakeGraphPlan(nodes, outputs, options);
  GraphPlan made{op.MakePlan(first, options.tier), {}};
  for (size_t i = 0; i < op.inputs().size(); ++i) {
    if (op.inputs()[i].runtime) made.inputs.push_back(first.Input(i).name);
  }
  return made;
}

std::unique_ptr<const Plan> MakeNodePlan(const Op& op, const NodeView& node, Tier tier) {
  GraphBuilder builder;
  op.AddTo(builder, node);
  for (size_t i = 0; i < op.outputs().size(); ++i) builder.Output(node.OutputName(i));
  std::vector<std::string> given;
  for (size_t i = 0; i < op.inputs().size(); ++i) {
    if (op.inputs()[i].runtime) given.push_back(node.Input(i).name);
  }
  std::vector<size_t> order;
  for (const std::string& name : builder.inputs()) {
    order.push_back(static_cast<size_t>(std::find(given.begin(), given.end(), name) - given.begin()));
  }
  return std::make_unique<CompiledPlan>(node.Where(), builder.plan().Build(tier), order);
}

}  // namespace fastep
