#include "bench/layer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "core/product.h"
#include "core/tier.h"
#include "core/tiling.h"

namespace fastep::bench {
namespace {

// As quantization per output channel leaves normal weights: the largest of a row is 127, 3.5 standard deviations.
int8_t RandomWeight(std::mt19937& random) {
  std::normal_distribution<double> normal(0, 127 / 3.5);
  int value = 0;
  while (value == 0 || std::abs(value) > 127) value = static_cast<int>(std::lround(normal(random)));
  return static_cast<int8_t>(value);
}

// A quantizing epilogue whose results spread over u8.
std::unique_ptr<EpilogueParams> MakeEpilogue(const Weights& weights) {
  const std::vector<float> bias(weights.n, 0.5f);
  const float w_scale = 0.01f;
  LinearSpec spec;
  spec.name = "bench";
  spec.x_zero_point = 128;
  spec.w_scale = &w_scale;
  spec.w_scale_count = 1;
  spec.bias = bias.data();
  spec.y_type = ElementType::kU8;
  spec.y_scale = 300;
  spec.y_zero_point = 128;
  return std::make_unique<EpilogueParams>(spec, weights);
}

// Activations and products of all layers share their memory, as the layers of a model would.
Arena lhs_arena, out_arena;
const BenchLayer* lhs_owner = nullptr;
int64_t lhs_tokens = 0;

}  // namespace

Weights MakeWeights(const Pattern& pattern, const Shape& shape, uint32_t seed) {
  std::mt19937 random(seed);
  Weights weights;
  weights.n = shape.n;
  weights.k = shape.k;
  weights.values.assign(shape.n * shape.k, 0);
  const int64_t columns = shape.k / pattern.cols;
  std::vector<int64_t> blocks(shape.n / pattern.rows * columns);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::shuffle(blocks.begin(), blocks.end(), random);
  blocks.resize(std::llround(static_cast<double>(blocks.size()) * (1 - pattern.sparsity)));
  for (const int64_t block : blocks) {
    for (int r = 0; r < pattern.rows; ++r) {
      for (int c = 0; c < pattern.cols; ++c) {
        const int64_t n = block / columns * pattern.rows + r, k = block % columns * pattern.cols + c;
        weights.values[n * shape.k + k] = RandomWeight(random);
      }
    }
  }
  return weights;
}

BenchLayer::BenchLayer(const Pattern& pattern, const Shape& shape, Tier tier) : kernels_(KernelsOf(tier)), k_(shape.k) {
  const Weights weights = MakeWeights(pattern, shape);
  profile_ = ProfileRhs(weights);
  rhs_ = std::make_unique<PackedRhs>(weights, pattern.kind, kernels_);
  epilogue_ = MakeEpilogue(weights);
}

const uint8_t* BenchLayer::PackedTokens(int64_t tokens, size_t stride) const {
  const Tiling tiling(tokens, widest());
  uint8_t* lhs = lhs_arena.Reserve(tiling.count() * stride);
  if (lhs_owner == this && lhs_tokens == tokens) return lhs;
  std::minstd_rand random(2);
  std::vector<uint8_t> x(tokens * k_);
  for (uint8_t& v : x) v = static_cast<uint8_t>(random() >> 8);
  for (int64_t i = 0; i < tiling.count(); ++i) {
    const TokenTile tile = tiling[i];
    PackLhs(kernels_, rhs_->kind(), x.data() + tile.begin * k_, k_, tile.count, tile.tokens, 0, rhs_->k_quads(), 0,
            lhs + i * stride);
  }
  lhs_owner = this;
  lhs_tokens = tokens;
  return lhs;
}

void BenchLayer::Multiply(int64_t tokens, bool accumulators) {
  const Epilogue epilogue = accumulators ? epilogue_->AccumulatorView() : epilogue_->View();
  const Tiling tiling(tokens, widest());
  const size_t stride = LhsTileBytes(kernels_, rhs_->kind(), rhs_->k_quads(), tiling[0].tokens);
  const uint8_t* lhs = PackedTokens(tokens, stride);
  const int32_t pass = RowsPerPass(*rhs_);
  const size_t partial = PartialBytes(*rhs_, pass, tiling[0].tokens);
  const auto padded_tokens = static_cast<int32_t>(tiling.padded_tokens());
  uint8_t* scratch = out_arena.Reserve(partial + OutTileBytes(epilogue.kind, rhs_->rows(), padded_tokens));
  uint8_t* out = scratch + partial;
  for (int32_t row = 0; row < rhs_->rows(); row += pass) {
    const int32_t row_end = std::min(row + pass, rhs_->rows());
    for (int64_t i = 0; i < tiling.count(); ++i) {
      const int32_t width = tiling[i].tokens;
      MultiplyTile(kernels_, *rhs_, lhs + i * stride, width, row, row_end, epilogue,
                   reinterpret_cast<int32_t*>(scratch), out);
      out += OutTileBytes(epilogue.kind, row_end - row, width);
    }
  }
}

}  // namespace fastep::bench
