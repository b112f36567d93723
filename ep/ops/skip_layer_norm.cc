#include "ops/skip_layer_norm.h"

#include "ops/graph_plan.h"
#include "ops/input_rules.h"
#include "ops/norm_rules.h"

namespace fastep {
namespace {

constexpr size_t kX = 0, kResidual = 1, kGamma = 2;

class SkipLayerNormOp final : public Op {
 public:
  explicit SkipLayerNormOp(const NormOutputs& outputs)
      : variant_(outputs),
        name_("SkipLayerNorm" + outputs.Suffix()),
        inputs_{{"x", {DataType::kFloat}, true}, {"residual", {DataType::kFloat}, true}},
        outputs_(outputs.Types()) {
    AddNormInputs(outputs, inputs_);
  }

  const std::string& name() const override { return name_; }
  const std::vector<InputDef>& inputs() const override { return inputs_; }
  const std::vector<DataType>& outputs() const override { return outputs_; }

  void Check(const NodeView& node) const override {
    CheckInputs(node, inputs_);
    CheckNorm(node);
  }

  void AddTo(GraphBuilder& builder, const NodeView& node) const override {
    Check(node);
    const NormSpec spec = ReadNorm(node, inputs_, kGamma, variant_);
    const ValueId x = builder.Value(node, kX, spec.features);
    const ValueId residual = builder.Value(node, kResidual, spec.features);
    DefineNorm(builder, node, builder.plan().SkipLayerNorm(x, residual, spec));
  }

  std::unique_ptr<const Plan> MakePlan(const NodeView& node, Tier tier) const override {
    return MakeNodePlan(*this, node, tier);
  }

  std::vector<std::vector<Dimension>> InferShapes(const ShapeContext& context) const override {
    return std::vector<std::vector<Dimension>>(outputs_.size(), context.InputShape(kX));
  }

 private:
  NormOutputs variant_;
  std::string name_;
  std::vector<InputDef> inputs_;
  std::vector<DataType> outputs_;
};

}  // namespace

void AddSkipLayerNormVariants(std::vector<std::unique_ptr<const Op>>& ops) {
  for (const NormOutputs& outputs : AllNormOutputs()) ops.push_back(std::make_unique<SkipLayerNormOp>(outputs));
}

}  // namespace fastep
