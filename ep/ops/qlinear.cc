#include "ops/qlinear.h"

#include <cstdio>
#include <limits>
#include <utility>

#include "core/error.h"
#include "ops/graph_builder.h"
#include "ops/input_rules.h"
#include "ops/quantization.h"

namespace fastep {
namespace {

constexpr const char* kWeightShape = "weight_shape";

// Positions that do not depend on the variant; those behind the weight are counted by Layout.
constexpr size_t kX = 0, kXScale = 1, kXZeroPoint = 2, kWeight = 3, kGaps = 4;

// 3 * 255 * 128 * K < 2^31: so sums of products fit int32 whatever the weights are, which plans need. Larger ones may
// fit, too, but that takes the weights to tell.
constexpr int64_t kMaxPlanK = 16384;

struct Layout {
  explicit Layout(const QLinearVariant& variant)
      : w_scale(variant.sparse ? 5 : 4),
        w_zero_point(w_scale + 1),
        bias(w_scale + 2),
        y_scale(w_scale + 3),
        y_zero_point(w_scale + 4) {}
  size_t w_scale, w_zero_point, bias, y_scale, y_zero_point;  // the last two: only with a quantized y
};

struct WeightShape {
  int64_t n, k;
};

WeightShape ReadWeightShape(const NodeView& node) {
  const auto value = node.Ints(kWeightShape);
  const auto valid = [](int64_t dim) { return dim >= 1 && dim <= std::numeric_limits<int32_t>::max(); };
  if (value && value->size() == 2 && valid((*value)[0]) && valid((*value)[1])) return {(*value)[0], (*value)[1]};
  std::string found = value ? "" : "no such attribute";
  if (value) {
    for (const int64_t dim : *value) found += (found.empty() ? "" : ", ") + std::to_string(dim);
    found = "[" + found + "]";
  }
  throw Error(node.Where() + ": attribute '" + kWeightShape +
              "': expected [N, K], two positive integers below 2^31, found " + found +
              "; convert the model again with this version of FastEP");
}

int32_t ReadZeroPoint(const TensorView& tensor) {
  return tensor.type == DataType::kInt8 ? *tensor.As<int8_t>() : *tensor.As<uint8_t>();
}

class QLinearPlan final : public Plan {
 public:
  QLinearPlan(const NodeView& node, DataType y_type, std::shared_ptr<const Linear> linear)
      : where_(node.Where()),
        name_(node.name()),
        x_type_(node.Input(kX).type),
        y_type_(y_type),
        linear_(std::move(linear)) {}

  std::vector<Shape> OutputShapes(const std::vector<TensorView>& inputs) const override {
    if (inputs[0].type != x_type_) {
      throw Error(where_ + ": input 0 'x': expected " + DataTypeName(x_type_) + ", found " +
                  DataTypeName(inputs[0].type) + "; give it the type that the plan was built for");
    }
    Shape shape = inputs[0].shape;
    if (shape.empty() || shape.back() != linear_->k()) {
      throw Error(where_ + ": input 0 'x': expected shape [..., " + std::to_string(linear_->k()) + "], found " +
                  ShapeText(shape) + "; feed activations with as many features as the weight has inputs");
    }
    shape.back() = linear_->n();
    return {shape};
  }

  std::vector<DataType> OutputTypes() const override { return {y_type_}; }

  void Run(const std::vector<TensorView>& inputs, const std::vector<void*>& outputs, Parallel& parallel, Arena& arena,
           RunRecord* record) const override {
    const int64_t m = ElementCount(inputs[0].shape) / linear_->k();
    const auto run = [&] {
      if (m > 0) linear_->Run(inputs[0].data, m, outputs[0], parallel, arena);
    };
    if (record == nullptr) return run();
    record->shape.assign(inputs[0].shape.begin(), inputs[0].shape.end() - 1);
    record->tokens += m;
    record->lanes += m;
    record->Time(0, ProductWork(linear_->n(), linear_->k(), linear_->info(), m), run);
  }

  std::vector<StepLabel> Steps() const override {
    return {{"linear", {name_}, 0, linear_->n(), linear_->k(), linear_->info()}};
  }

  std::string Summary() const override { return DescribeProduct(linear_->n(), linear_->k(), linear_->info()); }

 private:
  std::string where_, name_;
  DataType x_type_, y_type_;
  std::shared_ptr<const Linear> linear_;
};

class QLinearOp final : public Op {
 public:
  explicit QLinearOp(const QLinearVariant& variant)
      : variant_(variant),
        layout_(variant),
        name_(variant.Name()),
        inputs_(variant.Inputs()),
        outputs_{DataTypeOf(variant.y_type)} {}

  const std::string& name() const override { return name_; }
  const std::vector<InputDef>& inputs() const override { return inputs_; }
  const std::vector<DataType>& outputs() const override { return outputs_; }

  void Check(const NodeView& node) const override {
    CheckInputs(node, inputs_);
    CheckSameType(node, inputs_, kXZeroPoint, kX);
    CheckSameType(node, inputs_, layout_.w_zero_point, kWeight);
    const Shape x = node.Input(kX).shape;
    const int64_t k = ReadWeightShape(node).k;
    if (!x.empty() && x.back() >= 0 && x.back() != k) {
      throw Error(InputWhere(node, inputs_, kX) + ": expected shape [..., " + std::to_string(k) + "], found " +
                  ShapeText(x) + "; the attribute weight_shape is [N, K] and K must be the last dimension of x");
    }
  }

  std::unique_ptr<const Plan> MakePlan(const NodeView& node, Tier tier) const override {
    Check(node);
    return std::make_unique<QLinearPlan>(node, outputs_[0], Linear::Create(ReadSpec(node), tier));
  }

  bool CanJoin(const NodeView& node) const override { return ReadWeightShape(node).k <= kMaxPlanK; }

  void AddTo(GraphBuilder& builder, const NodeView& node) const override {
    Check(node);
    const LinearSpec spec = ReadSpec(node);
    builder.Define(node, 0, builder.plan().Linear(builder.Value(node, kX, spec.weight.k), spec));
  }

  std::vector<std::vector<Dimension>> InferShapes(const ShapeContext& context) const override {
    std::vector<Dimension> y = context.InputShape(kX);
    const std::vector<int64_t> weight_shape = context.Ints(kWeightShape);
    if (y.empty() || weight_shape.size() != 2) return {{}};
    y.back() = {weight_shape[0], ""};
    return {y};
  }

 private:
  TensorView Read(const NodeView& node, size_t index, const std::vector<Shape>& allowed) const {
    return ReadConstant(node, inputs_, index, allowed);
  }

  WeightSource ReadWeight(const NodeView& node) const {
    WeightSource weight;
    const auto [n, k] = ReadWeightShape(node);
    weight.n = n;
    weight.k = k;
    if (!variant_.sparse) {
      const TensorView dense = Read(node, kWeight, {{k, n}});
      weight.dense = dense.data;
      weight.dense_is_unsigned = dense.type == DataType::kUint8;
      return weight;
    }
    const TensorView blocks = Read(node, kWeight, {{-1, -1, -1}});
    const TensorView gaps = Read(node, kGaps, {{blocks.shape[0]}});
    weight.blocks = blocks.As<int8_t>();
    weight.block_gaps = gaps.data;
    weight.gaps_are_u16 = gaps.type == DataType::kUint16;
    weight.n_blocks = blocks.shape[0];
    weight.block_rows = blocks.shape[1];
    weight.block_cols = blocks.shape[2];
    return weight;
  }

  LinearSpec ReadSpec(const NodeView& node) const {
    const std::vector<Shape> scalar = {{}, {1}};
    LinearSpec spec;
    spec.name = node.name();
    spec.weight = ReadWeight(node);
    const int64_t n = spec.weight.n;
    const std::vector<Shape> per_channel = {{}, {1}, {n}};
    spec.x_type = node.Input(kX).type == DataType::kInt8 ? ElementType::kS8 : ElementType::kU8;
    spec.x_scale = *Read(node, kXScale, scalar).As<float>();
    spec.x_zero_point = ReadZeroPoint(Read(node, kXZeroPoint, scalar));
    const TensorView w_scale = Read(node, layout_.w_scale, per_channel);
    spec.w_scale = w_scale.As<float>();
    spec.w_scale_count = ElementCount(w_scale.shape);
    const TensorView w_zero_point = Read(node, layout_.w_zero_point, per_channel);
    spec.w_zero_point = w_zero_point.data;
    spec.w_zero_point_count = ElementCount(w_zero_point.shape);
    spec.bias = Read(node, layout_.bias, {{n}}).As<float>();
    spec.activation = variant_.activation;
    spec.y_type = variant_.y_type;
    if (variant_.y_type != ElementType::kF32) {
      spec.y_scale = *Read(node, layout_.y_scale, scalar).As<float>();
      spec.y_zero_point = ReadZeroPoint(Read(node, layout_.y_zero_point, scalar));
    }
    return spec;
  }

  QLinearVariant variant_;
  Layout layout_;
  std::string name_;
  std::vector<InputDef> inputs_;
  std::vector<DataType> outputs_;
};

}  // namespace

std::string QLinearVariant::Name() const {
  static const char* const kActivations[] = {"", "_relu", "_gelu", "_gelutanh"};
  static const char* const kTypes[] = {"_u8", "_s8", "_f32"};
  std::string name = "QLinear";
  name += kActivations[static_cast<int>(activation)];
  name += kTypes[static_cast<int>(y_type)];
  if (sparse) name += "_sparse";
  return name;
}

std::vector<InputDef> QLinearVariant::Inputs() const {
  const std::vector<DataType> f32 = {DataType::kFloat};
  const std::vector<DataType> s8 = {DataType::kInt8};
  const std::vector<DataType> int8 = {DataType::kUint8, DataType::kInt8};
  std::vector<InputDef> inputs = {{"x", int8, true}, {"x_scale", f32}, {"x_zero_point", int8}};
  const auto add_packed = [&](const char* name, const std::vector<DataType>& types) {
    inputs.push_back({name, types, false, false, true});
  };
  if (sparse) {
    add_packed("blocks", s8);
    add_packed("block_gaps", {DataType::kUint8, DataType::kUint16});
  } else {
    add_packed("weight", int8);
  }
  add_packed("w_scale", f32);
  add_packed("w_zero_point", sparse ? s8 : int8);
  add_packed("bias", f32);
  if (y_type != ElementType::kF32) {
    inputs.push_back({"y_scale", f32});
    inputs.push_back({"y_zero_point", {DataTypeOf(y_type)}});
  }
  return inputs;
}

void AddQLinearVariants(std::vector<std::unique_ptr<const Op>>& ops) {
  for (const Activation activation : {Activation::kNone, Activation::kRelu, Activation::kGelu, Activation::kGeluTanh}) {
    for (const ElementType y_type : {ElementType::kU8, ElementType::kS8, ElementType::kF32}) {
      for (const bool sparse : {false, true}) {
        ops.push_back(std::make_unique<QLinearOp>(QLinearVariant{activation, y_type, sparse}));
      }
    }
  }
}

}  // namespace fastep
