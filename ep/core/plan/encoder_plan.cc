#include "core/plan/encoder_plan.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <numeric>
#include <thread>
#include <utility>

#include "core/plan/kernel_set.h"
#include "core/plan/require.h"
#include "core/plan/schedule.h"

namespace fastep {
namespace {

// Tokens that go through the plan together, about: enough for every thread, few enough for values to stay in cache.
constexpr int64_t kGroupTokens = 1024;
// Of one thread, so that the values of a group and the weights of a layer stay in its second cache; reading weights
// from the third one again costs less. Sequences of 128 go one by one: 3 % faster than by twos (2 MB of second cache).
constexpr int64_t kThreadTokens = 192;
constexpr size_t kMostWorkers = 64;
// So that sums of probabilities times values stay in int32: 255 * 255 * kMaxLength < 2^31.
constexpr int64_t kMaxLength = 32768;

std::string Text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

const char* Name(TensorType type) {
  static const char* const kNames[] = {"uint8", "int8", "float32", "int32", "int64", "bool", "another type"};
  return kNames[static_cast<int>(type)];
}

std::vector<int64_t> Leading(const std::vector<int64_t>& shape) { return {shape.begin(), shape.end() - 1}; }

int64_t GroupTokens(size_t threads) {
  return threads == 0 ? kGroupTokens : std::min(kGroupTokens, kThreadTokens * static_cast<int64_t>(threads));
}

size_t Workers(const Parallel& parallel) {
  const size_t threads = parallel.Threads() == 0 ? std::thread::hardware_concurrency() : parallel.Threads();
  return std::clamp<size_t>(threads, 1, kMostWorkers);
}

size_t ElementBytes(ElementType type) { return type == ElementType::kF32 ? sizeof(float) : 1; }

}  // namespace

// The tokens of one Run. Without attention, rows have no order: they are cut into sequences of kGroupTokens.
struct EncoderPlan::Shape {
  std::vector<int64_t> tokens;  // leading dimensions of every value
  int64_t sequences = 0, length = 0;
  std::vector<int64_t> counts;  // computed tokens of each sequence; empty: all

  // Sequences [begin, end) hold at most `most` computed tokens, or are a single one.
  int64_t EndOfGroup(int64_t begin, int64_t most) const {
    int64_t end = begin;
    for (int64_t tokens = 0; end < sequences; ++end) {
      tokens += AlignedCount(counts.empty() ? length : counts[static_cast<size_t>(end)]);
      if (tokens > most && end > begin) break;
    }
    return end;
  }

  int64_t ComputedTokens(int64_t begin, int64_t end) const {
    return counts.empty() ? (end - begin) * length
                          : std::accumulate(counts.begin() + begin, counts.begin() + end, int64_t{0});
  }

  // Bounds of as many groups as keep all threads busy to the end, one after the other; empty if there are none.
  std::vector<int64_t> GroupsOfThreads(size_t threads, int64_t most) const {
    std::vector<int64_t> bounds = {0};
    while (bounds.back() < sequences) bounds.push_back(EndOfGroup(bounds.back(), most));
    const size_t groups = bounds.size() - 1;
    bounds.resize(groups - groups % threads + 1);
    std::vector<int64_t> loads(threads, 0);
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      *std::min_element(loads.begin(), loads.end()) += ComputedTokens(bounds[i], bounds[i + 1]);
    }
    const int64_t all = ComputedTokens(0, bounds.back());
    const int64_t longest = *std::max_element(loads.begin(), loads.end());
    if (longest * static_cast<int64_t>(threads) * 7 > all * 8) bounds.clear();
    return bounds;
  }
};

EncoderPlan::EncoderPlan(const PlanGraph& graph, const KernelTable& kernels, PlanParts parts)
    : inputs_(graph.inputs),
      padding_mask_(graph.padding_mask),
      kernels_(kernels),
      encoder_(CompleteKernels(kernels)),
      parts_(std::move(parts)) {
  for (const ValueId id : graph.outputs) {
    const PlanValue& value = graph.values[static_cast<size_t>(id)];
    outputs_.push_back({value.type, value.features});
  }
  for (const PlanInput& input : inputs_) has_sequences_ |= input.kind != PlanInput::Kind::kActivation;
  has_sequences_ |= !parts_.masks.empty();
}

EncoderPlan::Shape EncoderPlan::FindShape(const std::vector<PlanTensor>& inputs) const {
  Require(inputs.size() == inputs_.size(), "plan", "expected ", inputs_.size(), " inputs, found ", inputs.size());
  Shape shape;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const PlanInput& input = inputs_[i];
    const std::vector<int64_t>& dims = inputs[i].shape;
    const bool ids = input.kind == PlanInput::Kind::kIds;
    if (!ids && input.kind != PlanInput::Kind::kActivation) continue;
    Require(!dims.empty() && (!has_sequences_ || dims.size() == (ids ? 2u : 3u)), "input '" + input.name + "'",
            "expected shape ",
            ids              ? "[B, S]"
            : has_sequences_ ? "[B, S, features]"
                             : "[..., features]",
            ", found ", Text(dims));
    const std::vector<int64_t> tokens = ids ? dims : Leading(dims);
    // Ids [1, S] serve every batch.
    if (shape.tokens.empty() || (has_sequences_ && shape.tokens[0] == 1)) shape.tokens = tokens;
  }
  for (size_t i = 0; i < inputs.size(); ++i) CheckInput(inputs_[i], inputs[i], shape);
  int64_t rows = 1;
  for (const int64_t dim : shape.tokens) rows *= dim;
  shape.length = has_sequences_ ? shape.tokens[1] : kGroupTokens;
  shape.sequences = has_sequences_ ? shape.tokens[0] : static_cast<int64_t>(CeilDiv(rows, kGroupTokens));
  Require(!has_sequences_ || shape.length <= kMaxLength, "plan", "sequences of at most ", kMaxLength,
          " tokens are supported, found ", shape.length);
  if (padding_mask_ != kNoInput) shape.counts = CountsBeforePadding(inputs[static_cast<size_t>(padding_mask_)]);
  if (!has_sequences_ && rows % kGroupTokens != 0) {
    shape.counts.assign(static_cast<size_t>(shape.sequences), kGroupTokens);
    shape.counts.back() = rows % kGroupTokens;
  }
  return shape;
}

void EncoderPlan::CheckType(const PlanInput& input, TensorType found) {
  if (std::find(input.types.begin(), input.types.end(), found) != input.types.end()) return;
  std::string expected;
  for (const TensorType type : input.types) expected += (expected.empty() ? "" : " or ") + std::string(Name(type));
  throw Error("input '" + input.name + "': expected " + expected + ", found " + Name(found) +
              "; give it the type that the plan was built for");
}

void EncoderPlan::CheckInput(const PlanInput& input, const PlanTensor& tensor, const Shape& shape) const {
  const std::string where = "input '" + input.name + "'";
  const std::vector<int64_t>& dims = tensor.shape;
  CheckType(input, tensor.type);
  switch (input.kind) {
    case PlanInput::Kind::kActivation:
      Require(Leading(dims) == shape.tokens && dims.back() == input.features, where, "expected shape ",
              Text(shape.tokens), " with ", input.features, " features, found ", Text(dims));
      break;
    case PlanInput::Kind::kIds:
      Require(dims[1] == shape.tokens[1] && (dims[0] == shape.tokens[0] || dims[0] == 1), where, "expected shape ",
              Text(shape.tokens), " or [1, ", shape.tokens[1], "], found ", Text(dims),
              "; is the input longer than the model's positions?");
      break;
    case PlanInput::Kind::kMask:
      Require(dims == shape.tokens, where, "expected a mask of shape ", Text(shape.tokens), ", found ", Text(dims));
      break;
    case PlanInput::Kind::kBias: {
      const int64_t length = shape.tokens[1];
      Require(dims.size() == 4 && (dims[0] == shape.tokens[0] || dims[0] == 1) && (dims[2] == length || dims[2] == 1) &&
                  (dims[3] == length || dims[3] == 1) && (dims[1] == input.features || dims[1] == 1),
              where, "expected a shape that broadcasts to [", shape.tokens[0], ", ", input.features, ", ", length, ", ",
              length, "], found ", Text(dims));
    }
  }
}

std::vector<std::vector<int64_t>> EncoderPlan::OutputShapes(const std::vector<PlanTensor>& inputs) const {
  const Shape shape = FindShape(inputs);
  std::vector<std::vector<int64_t>> shapes;
  for (const Output& output : outputs_) {
    shapes.push_back(shape.tokens);
    shapes.back().push_back(output.features);
  }
  return shapes;
}

std::vector<ElementType> EncoderPlan::OutputTypes() const {
  std::vector<ElementType> types;
  for (const Output& output : outputs_) types.push_back(output.type);
  return types;
}

void EncoderPlan::Run(const std::vector<PlanTensor>& inputs, const std::vector<void*>& outputs, Parallel& parallel,
                      Arena& arena, RunRecord* record) const {
  const Shape shape = FindShape(inputs);
  if (record != nullptr) {
    record->shape = shape.tokens;
    record->skips_padding = padding_mask_ != kNoInput;
  }
  for (const EmbedStep* embed : parts_.embeds) embed->CheckIds(inputs_, inputs, shape.length);
  if (shape.sequences == 0 || shape.length == 0) return;
  if (padding_mask_ != kNoInput) ClearOutputs(outputs, shape);
  const int64_t first = record == nullptr ? RunApart(inputs, outputs, shape, parallel, arena) : 0;
  if (first == shape.sequences) return;
  const int64_t most = GroupTokens(parallel.Threads());
  for (int64_t begin = first; begin < shape.sequences;) {
    const int64_t end = shape.EndOfGroup(begin, most);
    RunGroup(inputs, outputs, shape, begin, end, parallel, arena, record);
    begin = end;
  }
}

// While there are groups for all threads, each takes some through the plan on its own: they never wait for each other.
// Returns the first sequence that is left, for all of them to share.
int64_t EncoderPlan::RunApart(const std::vector<PlanTensor>& inputs, const std::vector<void*>& outputs,
                              const Shape& shape, Parallel& parallel, Arena& arena) const {
  const size_t threads = Workers(parallel);
  if (threads < 2) return 0;
  const std::vector<int64_t> bounds = shape.GroupsOfThreads(threads, kThreadTokens);
  if (bounds.size() < 2) return 0;
  arena.Split(threads);
  struct Context {
    std::function<void(size_t worker, size_t group)> run;
    size_t groups;
    std::atomic<size_t> next{0};
  } context{[&](size_t worker, size_t group) {
              SerialParallel alone;
              RunGroup(inputs, outputs, shape, bounds[group], bounds[group + 1], alone, arena.Part(worker), nullptr);
            },
            bounds.size() - 1,
            {}};
  const auto work = [](void* opaque, size_t worker) {
    auto& c = *static_cast<Context*>(opaque);
    for (size_t group = c.next++; group < c.groups; group = c.next++) c.run(worker, group);
  };
  parallel.For(threads, work, &context);
  return bounds.back();
}

void EncoderPlan::RunGroup(const std::vector<PlanTensor>& inputs, const std::vector<void*>& outputs, const Shape& shape,
                           int64_t begin, int64_t end, Parallel& parallel, Arena& arena, RunRecord* record) const {
  const int64_t* counts = shape.counts.empty() ? nullptr : shape.counts.data();
  const TokenMap tokens(begin, end, shape.length, counts, parts_.widest_tile);
  if (tokens.tile_count() == 0) return;
  std::vector<KeyMap> keys;
  for (const InputId mask : parts_.masks) {
    keys.emplace_back(tokens, shape.length, mask == kNoInput ? nullptr : &inputs[static_cast<size_t>(mask)]);
  }
  RunContext run{kernels_,     encoder_,          tokens, keys, inputs, outputs, parts_.layout,
                 shape.length, Workers(parallel), nullptr};
  Schedule schedule(parts_.steps, run);
  const size_t values = RoundUp(parts_.layout.Bytes(tokens.tiling(), kernels_.planar_row_bytes), kCacheLine);
  run.storages = arena.Reserve(values + schedule.ScratchBytes());
  schedule.Run(run.storages + values, parallel, record);
  if (record != nullptr) CountWork(run, *record);
}

void EncoderPlan::CountWork(const RunContext& run, RunRecord& record) const {
  record.tokens += run.TokenCount();
  record.lanes += run.tokens.tiling().padded_tokens();
  for (size_t i = 0; i < parts_.steps.size(); ++i) {
    record.steps[i].calls += 1;
    record.steps[i].work += parts_.steps[i]->Work(run);
  }
}

// Zeros where no token is computed.
void EncoderPlan::ClearOutputs(const std::vector<void*>& outputs, const Shape& shape) const {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const size_t row_bytes = static_cast<size_t>(outputs_[i].features) * ElementBytes(outputs_[i].type);
    for (int64_t s = 0; s < shape.sequences; ++s) {
      const int64_t count = shape.counts[static_cast<size_t>(s)];
      auto* row = static_cast<uint8_t*>(outputs[i]) + static_cast<size_t>(s * shape.length + count) * row_bytes;
      std::memset(row, 0, static_cast<size_t>(shape.length - count) * row_bytes);
    }
  }
}

std::string EncoderPlan::Summary() const {
  size_t packed = 0;
  for (const PlanProduct& product : parts_.products) packed += product.info.packed_bytes;
  const size_t planar = parts_.layout.planar_count();
  return std::to_string(parts_.steps.size()) + " steps, " + std::to_string(parts_.products.size()) +
         " products, packed " + std::to_string(packed) + " bytes, values " +
         std::to_string(parts_.layout.token_bytes()) + " bytes per token" +
         (planar == 0 ? "" : " (" + std::to_string(planar) + " planar)") +
         (padding_mask_ == kNoInput ? "" : ", right padding of the mask not computed");
}

std::string EncoderPlan::NodeSummary(const std::string& name) const {
  for (const PlanProduct& product : parts_.products) {
    if (std::find(product.nodes.begin(), product.nodes.end(), name) == product.nodes.end()) continue;
    const size_t others = product.nodes.size() - 1;
    return DescribeProduct(product.n, product.k, product.info) +
           (others == 0 ? "" : ", one product with " + std::to_string(others) + " more");
  }
  return "part of a plan of " + std::to_string(parts_.steps.size()) + " steps";
}

}  // namespace fastep
