// How M tokens are cut into tiles.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/aligned.h"
#include "core/kernel_table.h"

namespace fastep {

struct TokenTile {
  int64_t index;
  int64_t begin;   // first token
  int32_t count;   // real tokens
  int32_t tokens;  // width: count rounded up to kTileTokenStep
};

// As few tiles as the widest width allows, as even as steps of kTileTokenStep allow (128 tokens in tiles of at most 48:
// 48 + 48 + 32), because a narrow last tile runs at a lower rate than its neighbours.
class Tiling {
 public:
  Tiling(int64_t m, int32_t widest)
      : m_(m), steps_(CeilDiv(m, kTileTokenStep)), count_(CeilDiv(steps_, widest / kTileTokenStep)) {}

  int64_t count() const { return count_; }
  int64_t padded_tokens() const { return steps_ * kTileTokenStep; }
  TokenTile operator[](int64_t i) const {
    const int64_t begin = StepBegin(i) * kTileTokenStep;
    const int64_t end = StepBegin(i + 1) * kTileTokenStep;
    return {i, begin, static_cast<int32_t>(std::min(m_, end) - begin), static_cast<int32_t>(end - begin)};
  }

 private:
  // The wider tiles come first.
  int64_t StepBegin(int64_t i) const { return steps_ / count_ * i + std::min(i, steps_ % count_); }

  int64_t m_;
  int64_t steps_;
  int64_t count_;
};

}  // namespace fastep
