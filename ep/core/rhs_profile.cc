#include "core/rhs_profile.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/aligned.h"

namespace fastep {
namespace {

constexpr int kRows = 8;  // the tallest block

// Quads of eight consecutive rows, one byte per quad input that is set where a weight is not zero.
struct RowMasks {
  std::vector<uint32_t> quad[kRows];
};

uint32_t NonZeroBytes(uint32_t word) {
  const uint32_t low =
      (word & 0x7f7f7f7fu) + 0x7f7f7f7fu;  // the top bit of a byte: its low seven bits are not all zero
  return ((low | word) & 0x80808080u) >> 7;
}

// Of a mask of NonZeroBytes.
int CountBytes(uint32_t mask) { return static_cast<int>((mask * 0x01010101u) >> 24); }

void LoadRow(const Weights& weights, int64_t n, std::vector<uint32_t>& masks) {
  std::fill(masks.begin(), masks.end(), 0);
  if (n >= weights.n) return;
  const int8_t* row = weights.Row(n);
  const size_t whole = static_cast<size_t>(weights.k) / 4;
  for (size_t q = 0; q < whole; ++q) {
    uint32_t word;
    std::memcpy(&word, row + q * 4, sizeof word);
    masks[q] = NonZeroBytes(word);
  }
  if (whole == masks.size()) return;
  uint32_t word = 0;
  std::memcpy(&word, row + whole * 4, static_cast<size_t>(weights.k) - whole * 4);
  masks[whole] = NonZeroBytes(word);
}

// Counts of one quad of eight rows; the inputs of the two groups of 4x1 are added to `inputs`.
void CountQuad(const uint32_t* rows, RhsProfile& profile, int64_t* inputs) {
  auto& blocks = profile.blocks;
  uint32_t of_two[4], of_four[2];
  for (int i = 0; i < kRows; ++i) {
    profile.non_zeros += CountBytes(rows[i]);
    blocks[static_cast<int>(RhsKind::k1x4)] += rows[i] != 0;
  }
  for (int i = 0; i < 4; ++i) {
    of_two[i] = rows[2 * i] | rows[2 * i + 1];
    blocks[static_cast<int>(RhsKind::k2x4)] += of_two[i] != 0;
  }
  for (int i = 0; i < 2; ++i) {
    of_four[i] = of_two[2 * i] | of_two[2 * i + 1];
    blocks[static_cast<int>(RhsKind::k4x4)] += of_four[i] != 0;
    inputs[i] += CountBytes(of_four[i]);
  }
  blocks[static_cast<int>(RhsKind::k8x4)] += (of_four[0] | of_four[1]) != 0;
}

}  // namespace

std::array<double, kRhsKinds> RhsProfile::Densities(int64_t n, int64_t k) const {
  std::array<double, kRhsKinds> densities{};
  for (int i = 0; i < kRhsKinds; ++i) {
    const double products = static_cast<double>(blocks[i]) * BlockProducts(static_cast<RhsKind>(i));
    densities[i] = products / (static_cast<double>(n) * static_cast<double>(k));
  }
  return densities;
}

RhsProfile ProfileRhs(const Weights& weights) {
  RhsProfile profile;
  const size_t quads = CeilDiv(weights.k, 4);
  RowMasks masks;
  for (auto& row : masks.quad) row.resize(quads);
  for (int64_t n = 0; n < weights.n; n += kRows) {
    for (int i = 0; i < kRows; ++i) LoadRow(weights, n + i, masks.quad[i]);
    int64_t inputs[2] = {0, 0};
    for (size_t q = 0; q < quads; ++q) {
      uint32_t rows[kRows];
      for (int i = 0; i < kRows; ++i) rows[i] = masks.quad[i][q];
      CountQuad(rows, profile, inputs);
    }
    for (const int64_t count : inputs) profile.blocks[static_cast<int>(RhsKind::k4x1)] += CeilDiv(count, 4);
  }
  profile.blocks[static_cast<int>(RhsKind::kDense)] = CeilDiv(weights.n, kRows) * quads;
  return profile;
}

}  // namespace fastep
