#include "core/plan/plan_builder.h"

#include <cmath>
#include <initializer_list>

#include "core/plan/lowering.h"
#include "core/plan/require.h"

namespace fastep {
namespace {

// Sums of probabilities times values stay in int32 up to here: 255 * 255 * kMaxKeys < 2^31; the length is checked by
// Run. Differences of scores do as well.
constexpr int64_t kMaxHeadSize = 16384;

void CheckQuantization(const std::string& where, const char* what, const Quantization& x) {
  if (x.type == ElementType::kF32) return;
  Require(std::isfinite(x.scale) && x.scale > 0, where, what, "_scale must be finite and > 0, found ", x.scale);
  const int32_t lo = x.type == ElementType::kU8 ? 0 : -128;
  Require(x.zero_point >= lo && x.zero_point <= lo + 255, where, what, "_zero_point must be in [", lo, ", ", lo + 255,
          "], found ", x.zero_point);
}

// What a quantized output is multiplied with: `from`_scale / y_scale, or 1 / y_scale.
void CheckOutputFactor(const std::string& where, const char* from, double scale, const Quantization& y) {
  if (y.type == ElementType::kF32) return;
  Require(std::isfinite(static_cast<float>(scale / y.scale)), where, from,
          " / y_scale must be finite, found y_scale = ", y.scale);
}

void CheckNorm(const std::string& where, const NormSpec& spec) {
  Require(spec.features >= 1, where, "H must be at least 1, found ", spec.features);
  Require(spec.gamma != nullptr && spec.beta != nullptr, where, "gamma and beta [H] are missing");
  Require(std::isfinite(spec.epsilon) && spec.epsilon >= 0, where, "epsilon must be finite and >= 0, found ",
          spec.epsilon);
  Require(spec.wants_float || spec.quantized.type != ElementType::kF32, where, "at least one output is needed");
  CheckQuantization(where, "y", spec.quantized);
  CheckOutputFactor(where, "1", 1, spec.quantized);
}

}  // namespace

ValueId PlanBuilder::AddValue(ElementType type, int64_t features) {
  PlanValue value{type, features, kNoInput, static_cast<int32_t>(graph_.nodes.size()), {}};
  graph_.values.push_back(value);
  return static_cast<ValueId>(graph_.values.size() - 1);
}

InputId PlanBuilder::AddInput(const PlanInput& input) {
  graph_.inputs.push_back(input);
  return static_cast<InputId>(graph_.inputs.size() - 1);
}

ValueId PlanBuilder::Activation(const std::string& name, ElementType type, int64_t features) {
  const TensorType tensor_type = type == ElementType::kU8   ? TensorType::kU8
                                 : type == ElementType::kS8 ? TensorType::kS8
                                                            : TensorType::kF32;
  const InputId input = AddInput({name, PlanInput::Kind::kActivation, {tensor_type}, features});
  const ValueId value = AddValue(type, features);
  Value(value).input = input;
  Value(value).producer = -1;
  return value;
}

InputId PlanBuilder::Ids(const std::string& name) {
  return AddInput({name, PlanInput::Kind::kIds, {TensorType::kI64}});
}

InputId PlanBuilder::Mask(const std::string& name) {
  return AddInput(
      {name, PlanInput::Kind::kMask, {TensorType::kI64, TensorType::kI32, TensorType::kBool, TensorType::kF32}});
}

InputId PlanBuilder::Bias(const std::string& name, int64_t heads) {
  return AddInput({name, PlanInput::Kind::kBias, {TensorType::kF32}, heads});
}

void PlanBuilder::Consume(ValueId value) {
  Value(value).consumers.push_back(static_cast<int32_t>(graph_.nodes.size()));
}

ValueId PlanBuilder::Linear(ValueId x, const LinearSpec& spec) {
  const std::string where = "QLinear '" + spec.name + "'";
  Require(Value(x).type == spec.x_type, where, "x is not of the type that x_zero_point says");
  Require(Value(x).features == spec.weight.k, where, "x must have K = ", spec.weight.k, " features, found ",
          Value(x).features);
  Consume(x);
  const ValueId y = AddValue(spec.y_type, spec.weight.n);
  graph_.nodes.push_back(LinearNode{spec, x, y});
  return y;
}

NormValues PlanBuilder::AddNormValues(const NormSpec& spec) {
  NormValues values;
  if (spec.wants_float) values.as_float = AddValue(ElementType::kF32, spec.features);
  if (spec.quantized.type != ElementType::kF32) values.quantized = AddValue(spec.quantized.type, spec.features);
  return values;
}

NormValues PlanBuilder::SkipLayerNorm(ValueId x, ValueId residual, const NormSpec& spec) {
  const std::string where = "SkipLayerNorm '" + spec.name + "'";
  CheckNorm(where, spec);
  for (const ValueId value : {x, residual}) {
    Require(Value(value).type == ElementType::kF32, where, "x and residual must be float32");
    Require(Value(value).features == spec.features, where, "x and residual must have H = ", spec.features,
            " features, as gamma has, found ", Value(value).features);
    Consume(value);
  }
  const NormValues y = AddNormValues(spec);
  graph_.nodes.push_back(SkipNormNode{spec, x, residual, y});
  return y;
}

NormValues PlanBuilder::EmbedLayerNorm(const EmbedSpec& spec) {
  const std::string where = "EmbedLayerNorm '" + spec.norm.name + "'";
  CheckNorm(where, spec.norm);
  Require(!spec.tables.empty() && spec.tables.size() <= 3, where, "expected one to three tables, found ",
          spec.tables.size());
  Require(spec.tables[0].ids != kNoInput, where, "the first table needs ids");
  for (const TableSpec& table : spec.tables) {
    Require(table.data != nullptr && table.rows >= 1 && table.rows <= INT32_MAX, where,
            "a table needs between 1 and 2^31 - 1 rows, found ", table.rows);
    const bool counted = table.ids == kNoInput;
    Require(counted || Input(table.ids).kind == PlanInput::Kind::kIds, where,
            "the ids of a table must be an int64 input");
    CheckQuantization(where, "table", table.quantization);
  }
  const NormValues y = AddNormValues(spec.norm);
  graph_.nodes.push_back(EmbedNode{spec, y});
  return y;
}

ValueId PlanBuilder::QAttention(ValueId q, ValueId k, ValueId v, const AttentionSpec& spec) {
  const std::string where = "QAttention '" + spec.name + "'";
  CheckQuantization(where, "q", spec.q);
  CheckQuantization(where, "k", spec.k);
  CheckQuantization(where, "v", spec.v);
  const auto scale = static_cast<float>(double(spec.q.scale) * spec.k.scale * spec.scale);
  Require(std::isfinite(scale) && scale > 0, where, "q_scale * k_scale * scale must be finite and > 0, found ", scale);
  CheckOutputFactor(where, "v_scale", spec.v.scale, spec.y);
  return AddAttention(where, q, k, v, spec);
}

ValueId PlanBuilder::FAttention(ValueId q, ValueId k, ValueId v, const AttentionSpec& spec) {
  const std::string where = "FAttention '" + spec.name + "'";
  Require(std::isfinite(spec.scale) && spec.scale > 0, where, "scale must be finite and > 0, found ", spec.scale);
  CheckOutputFactor(where, "1", 1, spec.y);
  return AddAttention(where, q, k, v, spec);
}

ValueId PlanBuilder::AddAttention(const std::string& where, ValueId q, ValueId k, ValueId v,
                                  const AttentionSpec& spec) {
  const int64_t features = Value(q).features;
  Require(Value(k).features == features && Value(v).features == features, where,
          "q, k and v must have as many features, found ", features, ", ", Value(k).features, " and ",
          Value(v).features);
  Require(Value(q).type == spec.q.type && Value(k).type == spec.k.type && Value(v).type == spec.v.type, where,
          "q, k and v are not of the types of their zero points");
  Require(spec.num_heads >= 1 && features % spec.num_heads == 0, where, "num_heads must divide the ", features,
          " features, found ", spec.num_heads);
  const int64_t head_size = features / spec.num_heads;
  Require(head_size >= 1 && head_size <= kMaxHeadSize, where, "the head size must be from 1 to ", kMaxHeadSize,
          ", found ", head_size);
  CheckQuantization(where, "y", spec.y);
  Require(spec.mask == kNoInput || Input(spec.mask).kind == PlanInput::Kind::kMask, where,
          "the mask must be an input that is checked as one");
  Require(spec.bias == kNoInput ||
              (Input(spec.bias).kind == PlanInput::Kind::kBias && Input(spec.bias).features == spec.num_heads),
          where, "the bias must be an input that is checked as one of ", spec.num_heads, " heads");
  Consume(q);
  Consume(k);
  Consume(v);
  const ValueId y = AddValue(spec.y.type, features);
  graph_.nodes.push_back(AttentionNode{spec, q, k, v, y});
  return y;
}

InputId PlanBuilder::SharedMask(bool only_if_marked) const {
  InputId shared = kNoInput;
  for (const PlanNode& node : graph_.nodes) {
    const auto* attention = std::get_if<AttentionNode>(&node);
    if (attention == nullptr) continue;
    const AttentionSpec& spec = attention->spec;
    if (spec.mask == kNoInput || (shared != kNoInput && shared != spec.mask)) return kNoInput;
    if (only_if_marked && !spec.skip_padding) return kNoInput;
    shared = spec.mask;
  }
  return shared;
}

void PlanBuilder::Output(ValueId value) { graph_.outputs.push_back(value); }

std::shared_ptr<const EncoderPlan> PlanBuilder::Build(Tier tier) const { return Build(KernelsOf(tier)); }

std::shared_ptr<const EncoderPlan> PlanBuilder::Build(Tier tier, Packer& packer) const {
  return Lower(graph_, KernelsOf(tier), packer);
}

std::shared_ptr<const EncoderPlan> PlanBuilder::Build(const KernelTable& kernels) const {
  Packer packer;
  return Lower(graph_, kernels, packer);
}

}  // namespace fastep
