// R x 4 blocks two by two, such that sums of 16 bits hold the products of both (RhsView::couple_offset).
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace fastep {

constexpr int kMaxCoupleRows = 8;

// R consecutive outputs x 4 consecutive inputs; rows from R on are 0.
struct QuadBlock {
  int32_t quad;
  std::array<std::array<int8_t, 4>, kMaxCoupleRows> rows;
};

struct Couple {
  QuadBlock block[2];          // one may be empty: all its weights are 0
  std::array<int8_t, 4> mask;  // of the second; -1: the weights of this input are negated, and the kernel takes 255 - x
};

// Couples whose products add up to those of `blocks` of R rows, as few as a greedy search finds.
std::vector<Couple> CoupleBlocks(const std::vector<QuadBlock>& blocks, int rows);

}  // namespace fastep
