#include "core/plan/lowering.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/plan/attention_step.h"
#include "core/plan/float_attention_step.h"
#include "core/plan/fusions.h"
#include "core/plan/linear_step.h"
#include "core/plan/norm_step.h"
#include "core/plan/planar_values.h"
#include "core/plan/repack_step.h"
#include "core/plan/transfer_step.h"

namespace fastep {
namespace {

template <class Spec>
const std::string& NameOf(const Spec& spec) {
  return spec.name;
}
const std::string& NameOf(const EmbedSpec& spec) { return spec.norm.name; }

class Lowering {
 public:
  Lowering(const PlanGraph& graph, const KernelTable& kernels, Packer& packer)
      : graph_(graph), kernels_(kernels), packer_(packer), fusions_(FindFusions(graph)), views_(graph.values.size()) {
    PackAll();
    planar_ = FindPlanarValues(graph_, kinds_, kernels_);
  }

  PlanParts Run() {
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      node_ = static_cast<int32_t>(i);
      if (fusions_.runs_with[i] == node_) std::visit([this](const auto& node) { Emit(node); }, graph_.nodes[i]);
    }
    for (size_t i = 0; i < parts_.steps.size(); ++i) {
      const std::vector<StorageId> touched = parts_.steps[i]->Touches();
      for (const StorageId id : touched) parts_.layout.Touch(id, static_cast<int32_t>(i));
      parts_.labels[i].value_bytes_per_token = ValueBytes({touched.begin(), touched.end()});
    }
    parts_.layout.Place();
    parts_.widest_tile = WidestTile();
    return std::move(parts_);
  }

 private:
  struct Packed {
    PackedLinears linears;
    size_t product;  // of PlanParts::products
  };

  const PlanValue& Value(ValueId id) const { return graph_.values[static_cast<size_t>(id)]; }
  const LinearNode& LinearAt(int32_t node) const {
    return std::get<LinearNode>(graph_.nodes[static_cast<size_t>(node)]);
  }

  StorageId AddStorage(ElementType type, int64_t rows, bool planar = false) {
    return parts_.layout.Add(rows, type == ElementType::kF32 ? sizeof(float) : 1, planar);
  }
  StorageId StorageFor(ValueId id) {
    return AddStorage(Value(id).type, Value(id).features, planar_[static_cast<size_t>(id)]);
  }

  // A step of the current node's turn, named after it.
  void AddStep(std::unique_ptr<const Step> step) {
    StepLabel label;
    label.op = step->Op();
    std::visit([&](const auto& node) { label.nodes = {NameOf(node.spec)}; }, graph_.nodes[static_cast<size_t>(node_)]);
    parts_.labels.push_back(std::move(label));
    parts_.steps.push_back(std::move(step));
  }

  void AddProduct(Packed packed, View x, View y, StorageId stats) {
    AddStep(std::make_unique<LinearStep>(std::move(packed.linears), x, y, stats));
    const PlanProduct& product = parts_.products[packed.product];
    StepLabel& label = parts_.labels.back();
    label.nodes = product.nodes;
    label.n = product.n;
    label.k = product.k;
    label.info = product.info;
  }

  int64_t ValueBytes(const std::set<StorageId>& storages) const {
    int64_t bytes = 0;
    for (const StorageId id : storages) bytes += static_cast<int64_t>(parts_.layout[id].token_bytes);
    return bytes;
  }

  // Where a value stands; what enters the plan is imported when it is first asked for.
  View ViewOf(ValueId id) {
    View& view = views_[static_cast<size_t>(id)];
    if (view.storage != kNoStorage) return view;
    const PlanValue& value = Value(id);
    view = {StorageFor(id), 0, static_cast<int32_t>(value.features)};
    AddStep(std::make_unique<ImportStep>(value.input, value.type, view));
    return view;
  }

  // `id` has just been computed at `view`. Outputs are written at once, so later steps may change it in place.
  void Define(ValueId id, const View& view) {
    views_[static_cast<size_t>(id)] = view;
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      if (graph_.outputs[i] == id) AddStep(std::make_unique<ExportStep>(view, Value(id).type, i));
    }
  }

  // True if nothing after the current node reads the value.
  bool DiesHere(ValueId id) const {
    const auto later = [&](int32_t consumer) { return fusions_.runs_with[static_cast<size_t>(consumer)] > node_; };
    const std::vector<int32_t>& consumers = Value(id).consumers;
    return std::none_of(consumers.begin(), consumers.end(), later);
  }

  // A storage with the value that may be changed.
  StorageId Own(ValueId id) {
    const View view = ViewOf(id);
    if (DiesHere(id)) return view.storage;
    const StorageId copy = AddStorage(ElementType::kF32, view.features);
    AddStep(std::make_unique<CopyStep>(view.storage, copy));
    return copy;
  }

  // The linears that `node` computes: several if it is the first of those that are merged.
  std::vector<int32_t> MergedAt(int32_t node) const {
    const std::vector<int32_t>& merged = fusions_.merged[static_cast<size_t>(node)];
    return merged.empty() ? std::vector<int32_t>{node} : merged;
  }

  // All weights before any step: how a value is laid out follows from the products that read it.
  void PackAll() {
    packed_.resize(graph_.nodes.size());
    kinds_.resize(graph_.nodes.size());
    for (size_t i = 0; i < graph_.nodes.size(); ++i) {
      const auto runs_with = static_cast<size_t>(fusions_.runs_with[i]);
      const auto is_linear = [&](size_t node) { return std::holds_alternative<LinearNode>(graph_.nodes[node]); };
      if (is_linear(i) && (runs_with == i || !is_linear(runs_with))) Pack(static_cast<int32_t>(i));
    }
  }

  void Pack(int32_t node) {
    std::vector<const LinearSpec*> specs;
    for (const int32_t i : MergedAt(node)) specs.push_back(&LinearAt(i).spec);
    PackedLinears linears = packer_.Pack(specs, kernels_);
    PlanProduct product{{}, linears.n(), linears.k(), linears.info()};
    for (const LinearSpec* spec : specs) product.nodes.push_back(spec->name);
    for (const int32_t i : MergedAt(node)) kinds_[static_cast<size_t>(i)] = linears.info().kind;
    parts_.products.push_back(std::move(product));
    packed_[static_cast<size_t>(node)].emplace(Packed{std::move(linears), parts_.products.size() - 1});
  }

  // That of the kind of product with the most work: one for all, so that a small dense head at the end of a sparse
  // encoder does not narrow all its tiles.
  int32_t WidestTile() const {
    std::array<double, kMaxTileTokens / kTileTokenStep + 1> work{};  // by width, in steps
    for (const PlanProduct& product : parts_.products) {
      const int32_t tokens = kernels_.blocking[static_cast<int>(product.info.kind)].tile_tokens;
      work[static_cast<size_t>(tokens / kTileTokenStep)] +=
          static_cast<double>(product.n) * static_cast<double>(product.k) * product.info.work_density;
    }
    const auto most = std::max_element(work.begin(), work.end());
    return *most > 0 ? static_cast<int32_t>(most - work.begin()) * kTileTokenStep : kMaxTileTokens;
  }

  void Emit(const LinearNode& node) {
    const std::vector<int32_t> nodes = MergedAt(node_);
    const View x = ViewOf(node.x);
    Packed& packed = *packed_[static_cast<size_t>(node_)];
    // Merged ones feed attention, which reads quads.
    const bool planar = nodes.size() == 1 && planar_[static_cast<size_t>(node.y)];
    const View y = {AddStorage(node.spec.y_type, packed.linears.n(), planar), 0, packed.linears.n()};
    AddProduct(std::move(packed), x, y, kNoStorage);
    int32_t row = 0;
    for (const int32_t i : nodes) {
      const auto features = static_cast<int32_t>(LinearAt(i).spec.weight.n);
      Define(LinearAt(i).y, {y.storage, row, features});
      row += features;
    }
  }

  void Emit(const SkipNormNode& node) {
    NormViews views;
    views.stats = AddStats(node.spec.features);
    const auto features = static_cast<int32_t>(node.spec.features);
    const int32_t linear = fusions_.residual_linear[static_cast<size_t>(node_)];
    if (linear >= 0) {
      const LinearNode& product = LinearAt(linear);
      const View x = ViewOf(product.x);
      views.z = Own(product.y == node.x ? node.residual : node.x);
      AddProduct(std::move(*packed_[static_cast<size_t>(linear)]), x, View{views.z, 0, features}, views.stats);
    } else {
      const bool into_x = DiesHere(node.x) && !DiesHere(node.residual);
      const StorageId added = ViewOf(into_x ? node.residual : node.x).storage;
      views.z = Own(into_x ? node.x : node.residual);
      AddStep(std::make_unique<SumStep>(added, views.z, views.stats, features));
    }
    EmitNorm(node.spec, node.y, views);
  }

  void Emit(const EmbedNode& node) {
    NormViews views;
    views.stats = AddStats(node.spec.norm.features);
    views.z = AddStorage(ElementType::kF32, node.spec.norm.features);
    auto step = std::make_unique<EmbedStep>(node.spec, views.z, views.stats);
    parts_.embeds.push_back(step.get());
    AddStep(std::move(step));
    EmitNorm(node.spec.norm, node.y, views);
  }

  void Emit(const AttentionNode& node) {
    const auto heads = static_cast<int32_t>(node.spec.num_heads);
    const auto head_size = static_cast<int32_t>(Value(node.q).features) / heads;
    AttentionViews views;
    views.q = WholeQuads(node.q, heads, node.spec.q);
    views.k = WholeQuads(node.k, heads, node.spec.k);
    views.v = WholeQuads(node.v, heads, node.spec.v);
    const bool quads = !node.spec.IsFloat() || node.spec.y.type != ElementType::kF32;
    const bool padded = quads && head_size % 4 != 0;
    const int32_t features = padded ? heads * PaddedHead(head_size) : heads * head_size;
    views.y = {padded ? AddStorage(node.spec.y.type, features) : StorageFor(node.y), 0, features};
    const auto found = std::find(parts_.masks.begin(), parts_.masks.end(), node.spec.mask);
    views.key_map = static_cast<size_t>(found - parts_.masks.begin());
    if (found == parts_.masks.end()) parts_.masks.push_back(node.spec.mask);
    if (node.spec.IsFloat()) {
      AddStep(std::make_unique<FloatAttentionStep>(node.spec, views));
    } else {
      AddStep(std::make_unique<AttentionStep>(node.spec, views));
    }
    Define(node.y, padded ? Repack(views.y, node.spec.y.type, heads, {features / heads, head_size}, 0) : views.y);
  }

  // A value whose heads can be cut out of quad tiles; what pads a head changes no product.
  View WholeQuads(ValueId id, int32_t heads, const Quantization& quantization) {
    const View view = ViewOf(id);
    const int32_t head_size = view.features / heads;
    if (quantization.type == ElementType::kF32 || head_size % 4 == 0) return view;
    const int32_t fill = quantization.zero_point + (quantization.type == ElementType::kS8 ? 128 : 0);
    return Repack(view, quantization.type, heads, {head_size, PaddedHead(head_size)}, static_cast<uint8_t>(fill));
  }

  View Repack(const View& x, ElementType type, int32_t heads, const HeadSizes& sizes, uint8_t fill) {
    const View y = {AddStorage(type, heads * sizes.to), 0, heads * sizes.to};
    AddStep(std::make_unique<RepackStep>(x, y, type, heads, sizes, fill));
    return y;
  }

  StorageId AddStats(int64_t features) {
    return parts_.layout.Add(2 * static_cast<int64_t>(CeilDiv(static_cast<size_t>(features), kNormRun)), sizeof(float));
  }

  void EmitNorm(const NormSpec& spec, const NormValues& y, NormViews views) {
    const auto features = static_cast<int32_t>(spec.features);
    views.wants_float = y.as_float != kNoValue;
    if (y.quantized != kNoValue) views.quantized = StorageFor(y.quantized);
    AddStep(std::make_unique<NormStep>(spec, views));
    if (y.as_float != kNoValue) Define(y.as_float, {views.z, 0, features});
    if (y.quantized != kNoValue) Define(y.quantized, {views.quantized, 0, features});
  }

  const PlanGraph& graph_;
  const KernelTable& kernels_;
  Packer& packer_;
  Fusions fusions_;
  std::vector<std::optional<Packed>> packed_;  // per node, taken by its step
  std::vector<RhsKind> kinds_;                 // per node, of linears
  std::vector<bool> planar_;                   // per value
  std::vector<View> views_;
  PlanParts parts_;
  int32_t node_ = 0;
};

}  // namespace

std::shared_ptr<const EncoderPlan> Lower(const PlanGraph& graph, const KernelTable& kernels, Packer& packer) {
  return std::make_shared<EncoderPlan>(graph, kernels, Lowering(graph, kernels, packer).Run());
}

}  // namespace fastep
