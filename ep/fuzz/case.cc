#include "fuzz/case.h"

#include <algorithm>
#include <limits>
#include <sstream>

namespace fastep::fuzz {
namespace {

// Sizes around what kernels cut by: vector lanes, quads, row steps and tiles, each +-1; primes; now and then anything.
int64_t MakeSize(Random& random, int64_t max) {
  const int64_t size =
      random.Pick<int64_t>({1,  2,  3,  4,  5,  7,  8,  9,  13, 15, 16,  17,  23,  31,
                            32, 33, 47, 48, 49, 61, 63, 64, 65, 96, 127, 128, 129, random.Between(1, 300)});
  return std::min(size, max);
}

// Too many inputs for one K-block, and at times for sums in 32 bits.
int64_t MakeInputs(Random& random) {
  if (random.OneIn(60)) return random.Between(65000, 70000);
  if (random.OneIn(12)) return random.Pick<int64_t>({511, 767, 768, 1021, 1536, 2048, 3071, 3072, 3073, 4096, 6007});
  return MakeSize(random, 400);
}

enum class Values {
  kUniform,
  kExtreme,  // where saturating arithmetic would show
  kReal,     // few large ones, as weights have them: a tier may pack such layers in another way
};

Values PickValues(Random& random) {
  return random.Pick<Values>({Values::kUniform, Values::kExtreme, Values::kReal, Values::kReal});
}

uint8_t MakeByte(Random& random, Values values, bool is_unsigned) {
  const auto any = static_cast<uint8_t>(random.Next());
  if (values == Values::kExtreme) {
    return is_unsigned ? random.Pick<uint8_t>({0, 255, 255, 128}) : random.Pick<uint8_t>({0x80, 0x80, 0x7f, 0});
  }
  if (values == Values::kUniform || random.OneIn(20)) return any;
  const auto small = static_cast<uint8_t>(static_cast<int8_t>(any) / 4);
  return is_unsigned ? small ^ 0x80 : small;
}

int32_t Signed(uint8_t byte, bool is_unsigned) { return is_unsigned ? byte : static_cast<int8_t>(byte); }

int32_t MakeZeroPoint(Random& random, bool is_unsigned) {
  const int32_t lo = is_unsigned ? 0 : -128;
  return random.Pick<int32_t>({lo, 0, lo + 128, lo + 255, lo + static_cast<int32_t>(random.Between(0, 255))});
}

void MakeDense(Random& random, Case& c) {
  WeightSource& w = c.spec.weight;
  w.dense_is_unsigned = random.OneIn(2);
  c.dense.resize(w.n * w.k);
  const Values values = PickValues(random);
  for (uint8_t& value : c.dense) value = MakeByte(random, values, w.dense_is_unsigned);
  const int32_t symmetric = w.dense_is_unsigned ? 128 : 0;
  if (symmetric != 0 || random.OneIn(2)) {
    c.w_zero_point.resize(random.OneIn(2) ? 1 : w.n, static_cast<uint8_t>(symmetric));
    if (random.OneIn(2)) {
      for (uint8_t& z : c.w_zero_point) z = static_cast<uint8_t>(MakeZeroPoint(random, w.dense_is_unsigned));
    }
  }
  for (int64_t n = 0; n < w.n; ++n) {
    const uint8_t z = c.w_zero_point.empty() ? 0 : c.w_zero_point[c.w_zero_point.size() == 1 ? 0 : n];
    for (int64_t k = 0; k < w.k; ++k) {
      c.weight[n * w.k + k] = Signed(c.dense[k * w.n + n], w.dense_is_unsigned) - Signed(z, w.dense_is_unsigned);
    }
  }
}

// The block at `position` of the grid: random inside of W, zero outside.
void AppendBlock(Random& random, Case& c, int64_t position, Values values) {
  const WeightSource& w = c.spec.weight;
  const int64_t columns = (w.k + w.block_cols - 1) / w.block_cols;
  for (int64_t r = 0; r < w.block_rows; ++r) {
    for (int64_t col = 0; col < w.block_cols; ++col) {
      const int64_t n = position / columns * w.block_rows + r;
      const int64_t k = position % columns * w.block_cols + col;
      const bool inside = n < w.n && k < w.k;
      const int8_t value = inside ? static_cast<int8_t>(MakeByte(random, values, false)) : int8_t{0};
      c.blocks.push_back(value);
      if (inside) c.weight[n * w.k + k] = value;
    }
  }
}

void MakeSparse(Random& random, Case& c) {
  WeightSource& w = c.spec.weight;
  w.block_rows = random.Pick<int64_t>({1, 1, 2, 4, 4, 8, 3, 16, 64});
  w.block_cols = random.Pick<int64_t>({1, 1, 4, 4, 2, 5, 16, 64});
  w.gaps_are_u16 = random.OneIn(2);
  const int64_t largest = w.gaps_are_u16 ? std::numeric_limits<uint16_t>::max() : std::numeric_limits<uint8_t>::max();
  const int64_t columns = (w.k + w.block_cols - 1) / w.block_cols;
  const int64_t positions = columns * ((w.n + w.block_rows - 1) / w.block_rows);
  const int64_t spread = random.Pick<int64_t>({1, 2, 5, 10, 20, largest});  // the mean gap is half of it
  const Values values = PickValues(random);
  int64_t position = -1;
  for (;;) {
    const int64_t gap = std::min(largest, random.Between(1, spread));
    if (position + gap >= positions) break;
    position += gap;
    c.gaps.push_back(static_cast<uint16_t>(gap));
    AppendBlock(random, c, position, values);
  }
  if (c.gaps.empty()) {  // at least one block is stored
    c.gaps.push_back(1);
    AppendBlock(random, c, 0, values);
  }
  w.n_blocks = static_cast<int64_t>(c.gaps.size());
  if (random.OneIn(3)) c.w_zero_point.assign(random.OneIn(2) ? 1 : w.n, 0);
}

// Scales such that outputs neither vanish nor all saturate.
void MakeQuantization(Random& random, Case& c) {
  LinearSpec& spec = c.spec;
  const int64_t n = spec.weight.n;
  spec.x_scale = random.PowerOfTwo(-12, 2);
  c.w_scale.resize(random.OneIn(2) ? 1 : n);
  for (float& scale : c.w_scale) scale = random.PowerOfTwo(-12, -4);
  const double spread = spec.x_scale * c.w_scale[0] * 5000 * std::sqrt(static_cast<double>(spec.weight.k));
  c.bias.resize(n);
  for (float& bias : c.bias) bias = random.OneIn(3) ? 0.0f : static_cast<float>((random.Unit() - 0.5) * spread);
  spec.activation = random.Pick({Activation::kNone, Activation::kRelu, Activation::kGelu, Activation::kGeluTanh});
  spec.y_type = random.Pick({ElementType::kU8, ElementType::kS8, ElementType::kF32});
  if (spec.y_type == ElementType::kF32) return;
  spec.y_scale = static_cast<float>(spread / 100 * random.PowerOfTwo(-4, 4));
  spec.y_zero_point = MakeZeroPoint(random, spec.y_type == ElementType::kU8);
}

// Breaks one rule of the contract; every one must be refused.
void Break(Random& random, Case& c) {
  WeightSource& w = c.spec.weight;
  const float bad_float =
      random.Pick({std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()});
  const bool sparse = c.dense.empty();
  switch (random.Between(0, sparse ? 6 : 3)) {
    case 0:
      c.broken = "x_scale is finite and > 0";
      c.spec.x_scale = random.Pick({bad_float, 0.0f, -1.0f});
      return;
    case 1:
      c.broken = "w_scale is finite and > 0";
      c.w_scale[random.Between(0, static_cast<int64_t>(c.w_scale.size()) - 1)] = random.Pick({bad_float, 0.0f, -1.0f});
      return;
    case 2:
      c.broken = "bias is finite";
      c.bias[random.Between(0, w.n - 1)] = bad_float;
      return;
    case 3:
      c.broken = "x_zero_point is of x's type";
      c.spec.x_zero_point = c.spec.x_type == ElementType::kU8 ? random.Pick({-1, 256}) : random.Pick({-129, 128});
      return;
    case 4:
      c.broken = "gaps are at least 1";
      c.gaps[random.Between(0, w.n_blocks - 1)] = 0;
      return;
    case 5:
      c.broken = "blocks lie inside of W";
      while (c.gaps.size() * 255 < static_cast<size_t>(w.n * w.k + 255)) c.gaps.push_back(255);
      w.n_blocks = static_cast<int64_t>(c.gaps.size());
      c.blocks.resize(w.n_blocks * w.block_rows * w.block_cols, 0);
      std::fill(c.gaps.begin(), c.gaps.end(), uint16_t{255});
      return;
    default:
      c.broken = "sparse weights have zero point 0";
      c.w_zero_point.assign(1, static_cast<uint8_t>(random.Between(1, 255)));
      return;
  }
}

}  // namespace

Case MakeCase(Random& random) {
  Case c;
  c.spec.name = "fuzz";
  WeightSource& w = c.spec.weight;
  w.k = MakeInputs(random);
  const int64_t most = std::max<int64_t>(1, 200000 / w.k);  // keeps a case in the milliseconds
  w.n = MakeSize(random, most);
  c.m = random.OneIn(40) ? 0 : MakeSize(random, most);
  c.weight.resize(w.n * w.k);
  if (random.OneIn(3)) {
    MakeDense(random, c);
  } else {
    MakeSparse(random, c);
  }
  c.spec.x_type = random.Pick({ElementType::kU8, ElementType::kS8});
  const bool x_unsigned = c.spec.x_type == ElementType::kU8;
  c.spec.x_zero_point = MakeZeroPoint(random, x_unsigned);
  c.x.resize(c.m * w.k);
  const Values values = random.OneIn(4) ? Values::kExtreme : Values::kUniform;
  for (uint8_t& value : c.x) value = MakeByte(random, values, x_unsigned);
  MakeQuantization(random, c);
  if (random.OneIn(10)) Break(random, c);
  c.gaps_u8.assign(c.gaps.begin(), c.gaps.end());
  return c;
}

LinearSpec Case::Spec() const {
  LinearSpec out = spec;
  if (dense.empty()) {
    out.weight.blocks = blocks.data();
    out.weight.block_gaps = spec.weight.gaps_are_u16 ? static_cast<const void*>(gaps.data()) : gaps_u8.data();
  } else {
    out.weight.dense = dense.data();
  }
  out.w_scale = w_scale.data();
  out.w_scale_count = static_cast<int64_t>(w_scale.size());
  out.w_zero_point = w_zero_point.empty() ? nullptr : w_zero_point.data();
  out.w_zero_point_count = static_cast<int64_t>(w_zero_point.size());
  out.bias = bias.data();
  return out;
}

std::string Case::Describe() const {
  const WeightSource& w = spec.weight;
  std::ostringstream text;
  text << "M=" << m << " N=" << w.n << " K=" << w.k;
  if (dense.empty()) {
    text << " blocks " << w.block_rows << "x" << w.block_cols << ", " << w.n_blocks << " stored";
  } else {
    text << " dense " << (w.dense_is_unsigned ? "u8" : "s8") << ", " << w_zero_point.size() << " zero points";
  }
  text << ", x " << (spec.x_type == ElementType::kU8 ? "u8" : "s8") << " zero point " << spec.x_zero_point
       << ", activation " << static_cast<int>(spec.activation) << ", y type " << static_cast<int>(spec.y_type);
  if (!broken.empty()) text << ", breaks: " << broken;
  return text.str();
}

}  // namespace fastep::fuzz
