// Couples (RhsView::couple_offset) of a 4x1 row group. Its inputs may be put together as one likes, so no mask is
// needed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fastep {

using ColumnWeights = std::array<int8_t, 4>;  // of one input, for the four rows

// Inputs whose products add up in the same 16 bits. An input may be in two lanes, a share of its weights in each.
struct Lane {
  struct Part {
    size_t column;
    ColumnWeights weights;
  };
  std::array<Part, 4> parts;
  size_t count = 0;
};

// Lanes that together hold `columns`, as few as a greedy search finds. A couple has two of them.
std::vector<Lane> FillLanes(const std::vector<ColumnWeights>& columns);

}  // namespace fastep
