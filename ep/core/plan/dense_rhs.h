// The dense form of RhsView, where attention makes one of keys and values at run time.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/kernel_table.h"

namespace fastep {

struct DenseRhs {
  uint8_t* values;
  int32_t value_bytes;  // 2: quads in the order 0 2 1 3
  int32_t k_quads;

  uint8_t* At(int32_t row, int32_t k) const {
    constexpr int32_t kGroup = RowsPerGroup(RhsKind::kDense);
    constexpr int32_t kShortOrder[] = {0, 2, 1, 3};
    const auto group = static_cast<size_t>(row / kGroup);
    const size_t quad = (group * static_cast<size_t>(k_quads) + static_cast<size_t>(k / 4)) * kGroup +
                        static_cast<size_t>(row % kGroup);
    const int32_t place = value_bytes == 2 ? kShortOrder[k % 4] : k % 4;
    return values + (quad * 4 + static_cast<size_t>(place)) * static_cast<size_t>(value_bytes);
  }

  // Zeros to these rows, in columns [k_begin, k_end), and to nothing beside them.
  void Clear(int32_t row_begin, int32_t row_end, int32_t k_begin, int32_t k_end) const {
    for (int32_t row = row_begin; row < row_end; ++row) {
      for (int32_t k = k_begin; k < k_end;) {
        const int32_t count = k % 4 == 0 && k + 4 <= k_end ? 4 : 1;
        std::memset(At(row, k), 0, static_cast<size_t>(count * value_bytes));
        k += count;
      }
    }
  }
};

}  // namespace fastep
