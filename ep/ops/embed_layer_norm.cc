#include "ops/embed_layer_norm.h"

#include "ops/graph_plan.h"
#include "ops/input_rules.h"
#include "ops/norm_rules.h"
#include "ops/quantization.h"

namespace fastep {
namespace {

constexpr const char* kTables[] = {"word", "position", "type"};
constexpr const char* kIds[] = {"input_ids", "position_ids", "token_type_ids"};
constexpr size_t kPosition = 1;

struct Variant {
  bool with_types;  // token types
  bool counted;     // positions 0, 1, ..., S - 1, which are no input
  bool quantized;   // tables
  NormOutputs outputs;

  size_t tables() const { return with_types ? 3 : 2; }
  size_t ids() const { return tables() - (counted ? 1 : 0); }
  bool HasIds(size_t table) const { return !(counted && table == kPosition); }
  // A table is followed by its scale and zero point.
  size_t table_inputs() const { return quantized ? 3 : 1; }
  size_t Table(size_t i) const { return ids() + i * table_inputs(); }
  size_t Gamma() const { return Table(tables()); }

  std::string Name() const {
    return std::string("EmbedLayerNorm") + (with_types ? "_type" : "") + (counted ? "_counted" : "") +
           outputs.Suffix() + (quantized ? "_quant" : "");
  }

  std::vector<InputDef> Inputs() const {
    const std::vector<DataType> int8 = {DataType::kUint8, DataType::kInt8};
    std::vector<InputDef> inputs;
    for (size_t i = 0; i < tables(); ++i) {
      if (HasIds(i)) inputs.push_back({kIds[i], {DataType::kInt64}, true, true});
    }
    for (size_t i = 0; i < tables(); ++i) {
      const std::string name = kTables[i];
      inputs.push_back({name, quantized ? int8 : std::vector<DataType>{DataType::kFloat}});
      if (!quantized) continue;
      inputs.push_back({name + "_scale", {DataType::kFloat}});
      inputs.push_back({name + "_zero_point", int8});
    }
    AddNormInputs(outputs, inputs);
    return inputs;
  }
};

class EmbedLayerNormOp final : public Op {
 public:
  explicit EmbedLayerNormOp(const Variant& variant)
      : variant_(variant), name_(variant.Name()), inputs_(variant.Inputs()), outputs_(variant.outputs.Types()) {}

  const std::string& name() const override { return name_; }
  const std::vector<InputDef>& inputs() const override { return inputs_; }
  const std::vector<DataType>& outputs() const override { return outputs_; }

  void Check(const NodeView& node) const override {
    CheckInputs(node, inputs_);
    CheckNorm(node);
    for (size_t i = 0; variant_.quantized && i < variant_.tables(); ++i) {
      CheckSameType(node, inputs_, variant_.Table(i) + 2, variant_.Table(i));
    }
  }

  void AddTo(GraphBuilder& builder, const NodeView& node) const override {
    Check(node);
    EmbedSpec spec;
    spec.norm = ReadNorm(node, inputs_, variant_.Gamma(), variant_.outputs);
    size_t next_ids = 0;
    for (size_t i = 0; i < variant_.tables(); ++i) {
      const size_t index = variant_.Table(i);
      const TensorView table = ReadConstant(node, inputs_, index, {{-1, spec.norm.features}});
      TableSpec source;
      source.data = table.data;
      source.owner = table.owner;
      source.rows = table.shape[0];
      if (variant_.quantized) source.quantization = ReadQuantization(node, inputs_, index + 1);
      if (variant_.HasIds(i)) source.ids = builder.Ids(node, next_ids++);
      spec.tables.push_back(source);
    }
    DefineNorm(builder, node, builder.plan().EmbedLayerNorm(spec));
  }

  std::unique_ptr<const Plan> MakePlan(const NodeView& node, Tier tier) const override {
    return MakeNodePlan(*this, node, tier);
  }

  std::vector<std::vector<Dimension>> InferShapes(const ShapeContext& context) const override {
    std::vector<Dimension> y = context.InputShape(0);
    const std::vector<Dimension> gamma = context.InputShape(variant_.Gamma());
    if (y.empty() || gamma.size() != 1) return std::vector<std::vector<Dimension>>(outputs_.size());
    y.push_back(gamma[0]);
    return std::vector<std::vector<Dimension>>(outputs_.size(), y);
  }

 private:
  Variant variant_;
  std::string name_;
  std::vector<InputDef> inputs_;
  std::vector<DataType> outputs_;
};

}  // namespace

void AddEmbedLayerNormVariants(std::vector<std::unique_ptr<const Op>>& ops) {
  for (const NormOutputs& outputs : AllNormOutputs()) {
    for (const bool with_types : {false, true}) {
      for (const bool counted : {false, true}) {
        for (const bool quantized : {false, true}) {
          ops.push_back(std::make_unique<EmbedLayerNormOp>(Variant{with_types, counted, quantized, outputs}));
        }
      }
    }
  }
}

}  // namespace fastep
