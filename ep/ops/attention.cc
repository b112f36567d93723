#include "ops/attention.h"

#include <cmath>

#include "core/error.h"
#include "ops/graph_builder.h"
#include "ops/graph_plan.h"
#include "ops/input_rules.h"
#include "ops/quantization.h"

namespace fastep {
namespace {

enum class Hiding { kNone, kMask, kBias };

constexpr size_t kQ = 0, kK = 1, kV = 2, kQScale = 3, kKScale = 5, kVScale = 7;

struct Variant {
  AttentionFamily family;
  ElementType y_type;
  Hiding hiding;

  bool IsFloat() const { return family == AttentionFamily::kFloat; }
  size_t Mask() const { return IsFloat() ? kV + 1 : kVScale + 2; }
  size_t YScale() const { return hiding == Hiding::kNone ? Mask() : Mask() + 1; }

  std::string Name() const {
    static const char* const kTypes[] = {"_u8", "_s8", "_f32"};
    static const char* const kHidings[] = {"", "_mask", "_bias"};
    return std::string(IsFloat() ? "FAttention" : "QAttention") + kTypes[static_cast<int>(y_type)] +
           kHidings[static_cast<int>(hiding)];
  }

  std::vector<InputDef> Inputs() const {
    const std::vector<DataType> int8 = {DataType::kUint8, DataType::kInt8};
    const std::vector<DataType> operand = IsFloat() ? std::vector<DataType>{DataType::kFloat} : int8;
    std::vector<InputDef> inputs = {{"q", operand, true}, {"k", operand, true}, {"v", operand, true}};
    for (const char* name : {"q", "k", "v"}) {
      if (IsFloat()) break;
      inputs.push_back({std::string(name) + "_scale", {DataType::kFloat}});
      inputs.push_back({std::string(name) + "_zero_point", int8});
    }
    if (hiding == Hiding::kMask) {
      inputs.push_back({"mask", {DataType::kInt64, DataType::kInt32, DataType::kBool, DataType::kFloat}, true, true});
    } else if (hiding == Hiding::kBias) {
      inputs.push_back({"mask", {DataType::kFloat}, true, true});
    }
    if (y_type == ElementType::kF32) return inputs;
    inputs.push_back({"y_scale", {DataType::kFloat}});
    inputs.push_back({"y_zero_point", {DataTypeOf(y_type)}});
    return inputs;
  }
};

int64_t ReadPositive(const NodeView& node, const std::string& attribute) {
  const std::optional<int64_t> value = node.Int(attribute);
  if (value && *value >= 1 && *value < (int64_t{1} << 24)) return *value;
  throw Error(node.Where() + ": attribute '" + attribute + "': expected an integer from 1 to 2^24 - 1, found " +
              (value ? std::to_string(*value) : "no such attribute") +
              "; convert the model again with this version of FastEP");
}

class AttentionOp final : public Op {
 public:
  explicit AttentionOp(const Variant& variant)
      : variant_(variant), name_(variant.Name()), inputs_(variant.Inputs()), outputs_{DataTypeOf(variant.y_type)} {}

  const std::string& name() const override { return name_; }
  const std::vector<InputDef>& inputs() const override { return inputs_; }
  const std::vector<DataType>& outputs() const override { return outputs_; }

  void Check(const NodeView& node) const override {
    CheckInputs(node, inputs_);
    if (!variant_.IsFloat()) {
      CheckSameType(node, inputs_, kQScale + 1, kQ);
      CheckSameType(node, inputs_, kKScale + 1, kK);
      CheckSameType(node, inputs_, kVScale + 1, kV);
    }
    ReadPositive(node, "num_heads");
    ReadPositive(node, "head_size");
    const std::optional<float> scale = node.Float("scale");
    if (!scale || !std::isfinite(*scale) || *scale <= 0) {
      throw Error(node.Where() + ": attribute 'scale': expected a finite float > 0, found " +
                  (scale ? std::to_string(*scale) : "no such attribute"));
    }
  }

  void AddTo(GraphBuilder& builder, const NodeView& node) const override {
    Check(node);
    AttentionSpec spec;
    spec.name = node.name();
    spec.num_heads = *node.Int("num_heads");
    spec.scale = *node.Float("scale");
    if (!variant_.IsFloat()) {
      spec.q = ReadQuantization(node, inputs_, kQScale);
      spec.k = ReadQuantization(node, inputs_, kKScale);
      spec.v = ReadQuantization(node, inputs_, kVScale);
    }
    if (variant_.y_type != ElementType::kF32) spec.y = ReadQuantization(node, inputs_, variant_.YScale());
    const int64_t features = spec.num_heads * *node.Int("head_size");
    const ValueId q = builder.Value(node, kQ, features);
    const ValueId k = builder.Value(node, kK, features);
    const ValueId v = builder.Value(node, kV, features);
    if (variant_.hiding == Hiding::kMask) spec.mask = builder.Mask(node, variant_.Mask());
    spec.skip_padding = node.Int("skip_padding").value_or(0) != 0;
    if (variant_.hiding == Hiding::kBias) spec.bias = builder.Bias(node, variant_.Mask(), spec.num_heads);
    PlanBuilder& plan = builder.plan();
    builder.Define(node, 0, variant_.IsFloat() ? plan.FAttention(q, k, v, spec) : plan.QAttention(q, k, v, spec));
  }

  std::unique_ptr<const Plan> MakePlan(const NodeView& node, Tier tier) const override {
    return MakeNodePlan(*this, node, tier);
  }

  std::vector<std::vector<Dimension>> InferShapes(const ShapeContext& context) const override {
    return {context.InputShape(kQ)};
  }

 private:
  Variant variant_;
  std::string name_;
  std::vector<InputDef> inputs_;
  std::vector<DataType> outputs_;
};

}  // namespace

void AddAttentionVariants(AttentionFamily family, std::vector<std::unique_ptr<const Op>>& ops) {
  for (const ElementType y_type : {ElementType::kU8, ElementType::kS8, ElementType::kF32}) {
    for (const Hiding hiding : {Hiding::kNone, Hiding::kMask, Hiding::kBias}) {
      ops.push_back(std::make_unique<AttentionOp>(Variant{family, y_type, hiding}));
    }
  }
}

}  // namespace fastep
