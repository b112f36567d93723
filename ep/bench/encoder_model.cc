#include "bench/encoder_model.h"

#include <cmath>
#include <deque>
#include <random>

namespace fastep::bench {
namespace {

constexpr int64_t kVocabulary = 2048;
constexpr int64_t kPositions = 512;
constexpr Quantization kActivation = {ElementType::kU8, 0.04f, 125};  // about the middle, as calibration finds it

// Adds layers to a builder. What a spec points to has to live until the plan is built.
class EncoderBuilder {
 public:
  EncoderBuilder(const EncoderShape& shape, const Pattern& pattern) : shape_(shape), pattern_(pattern) {
    gamma_.assign(static_cast<size_t>(shape.hidden), 1.0f);
    beta_.assign(static_cast<size_t>(shape.hidden), 0.1f);
    bias_.assign(static_cast<size_t>(shape.intermediate), 0.1f);
  }

  EncoderModel Build(const KernelTable& kernels) {
    NormValues x = Embeddings();
    for (int64_t i = 0; i < shape_.layers; ++i) x = Layer(x, i + 1 == shape_.layers);
    builder_.Output(x.as_float);
    return {builder_.Build(kernels), shape_, non_zeros_};
  }

 private:
  NormSpec Norm() const { return {"norm", shape_.hidden, gamma_.data(), beta_.data(), 1e-12f, true, kActivation}; }

  NormValues Embeddings() {
    EmbedSpec spec{Norm(), {}};
    for (const int64_t rows : {kVocabulary, kPositions}) {
      auto& table = tables_.emplace_back(static_cast<size_t>(rows * shape_.hidden));
      for (uint8_t& v : table) v = static_cast<uint8_t>(random_());
      const InputId ids = builder_.Ids(tables_.size() == 1 ? "input_ids" : "position_ids");
      spec.tables.push_back({table.data(), rows, {ElementType::kU8, 0.01f, 128}, ids});
    }
    return builder_.EmbedLayerNorm(spec);
  }

  ValueId Linear(ValueId x, int64_t n, int64_t k, ElementType y_type, Activation activation = Activation::kNone) {
    const Weights weights = MakeWeights(pattern_, {n, k}, static_cast<uint32_t>(random_()));
    auto& values = weights_.emplace_back(static_cast<size_t>(n * k));
    for (int64_t row = 0; row < n; ++row) {
      for (int64_t i = 0; i < k; ++i) {
        const int8_t value = weights.Row(row)[i];
        values[static_cast<size_t>(i * n + row)] = value;
        non_zeros_ += value != 0;
      }
    }
    LinearSpec spec;
    spec.name = "linear";
    spec.weight.n = n;
    spec.weight.k = k;
    spec.weight.dense = values.data();
    spec.x_scale = kActivation.scale;
    spec.x_zero_point = kActivation.zero_point;
    spec.w_scale = &scales_.emplace_back(static_cast<float>(0.014 / std::sqrt(double(k) * (1 - pattern_.sparsity))));
    spec.w_scale_count = 1;
    spec.bias = bias_.data();
    spec.activation = activation;
    spec.y_type = y_type;
    spec.y_scale = kActivation.scale;
    spec.y_zero_point = kActivation.zero_point;
    return builder_.Linear(x, spec);
  }

  NormValues Layer(NormValues x, bool is_last) {
    const int64_t h = shape_.hidden;
    AttentionSpec attention;
    attention.name = "attention";
    attention.num_heads = shape_.heads;
    attention.scale = static_cast<float>(1 / std::sqrt(double(h) / double(shape_.heads)));
    attention.q = attention.k = attention.v = attention.y = kActivation;
    const ElementType type = shape_.float_attention ? ElementType::kF32 : ElementType::kU8;
    if (shape_.float_attention) attention.q = attention.k = attention.v = {};
    const ValueId q = Linear(x.quantized, h, h, type), k = Linear(x.quantized, h, h, type);
    const ValueId v = Linear(x.quantized, h, h, type);
    const ValueId mixed =
        shape_.float_attention ? builder_.FAttention(q, k, v, attention) : builder_.QAttention(q, k, v, attention);
    const ValueId out = Linear(mixed, h, h, ElementType::kF32);
    const NormValues middle = builder_.SkipLayerNorm(out, x.as_float, Norm());
    const ValueId up = Linear(middle.quantized, shape_.intermediate, h, ElementType::kU8, Activation::kGelu);
    const ValueId down = Linear(up, h, shape_.intermediate, ElementType::kF32);
    NormSpec last = Norm();
    if (is_last) last.quantized = {};
    return builder_.SkipLayerNorm(down, middle.as_float, last);
  }

  EncoderShape shape_;
  Pattern pattern_;
  PlanBuilder builder_;
  std::mt19937 random_{3};
  double non_zeros_ = 0;
  std::vector<float> gamma_, beta_, bias_;
  std::deque<float> scales_;
  std::deque<std::vector<uint8_t>> tables_;
  std::deque<std::vector<int8_t>> weights_;
};

}  // namespace

double EncoderModel::Products(int64_t batch, int64_t length) const {
  const double tokens = static_cast<double>(batch * length);
  const double attention =
      (shape.float_attention ? 8.0 : 2.0) * static_cast<double>(shape.layers * shape.hidden * length);
  return tokens * (non_zeros + attention);
}

EncoderModel BuildEncoder(const EncoderShape& shape, const Pattern& pattern, const KernelTable& kernels) {
  return EncoderBuilder(shape, pattern).Build(kernels);
}

EncoderRun::EncoderRun(const EncoderModel& model, int64_t batch, int64_t length)
    : model_(model), output_(static_cast<size_t>(batch * length * model.shape.hidden)) {
  for (int64_t i = 0; i < batch * length; ++i) ids_.push_back(i * 7919 % kVocabulary);
  for (int64_t i = 0; i < length; ++i) positions_.push_back(i);
  inputs_ = {{TensorType::kI64, {batch, length}, ids_.data()}, {TensorType::kI64, {1, length}, positions_.data()}};
}

void EncoderRun::Run() { model_.plan->Run(inputs_, {output_.data()}, parallel_, arena_); }

}  // namespace fastep::bench
