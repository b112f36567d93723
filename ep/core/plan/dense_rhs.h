// The dense form of RhsView, where attention makes one of keys and values at run time.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/kernel_table.h"

namespace fastep {

struct DenseRhs {
  uint8_t* values;
  int32_t k_quads;

  uint8_t* At(int32_t row, int32_t k) const {
    constexpr int32_t kGroup = RowsPerGroup(RhsKind::kDense);
    const auto group = static_cast<size_t>(row / kGroup);
    const size_t quad = (group * static_cast<size_t>(k_quads) + static_cast<size_t>(k / 4)) * kGroup +
                        static_cast<size_t>(row % kGroup);
    return values + quad * 4 + k % 4;
  }

  // Zeros to these rows, in columns [k_begin, k_end), and to nothing beside them.
  void Clear(int32_t row_begin, int32_t row_end, int32_t k_begin, int32_t k_end) const {
    for (int32_t row = row_begin; row < row_end; ++row) {
      for (int32_t k = k_begin; k < k_end;) {
        const int32_t count = k % 4 == 0 && k + 4 <= k_end ? 4 : 1;
        std::memset(At(row, k), 0, static_cast<size_t>(count));
        k += count;
      }
    }
  }
};

}  // namespace fastep
