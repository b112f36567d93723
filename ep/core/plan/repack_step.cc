#include "core/plan/repack_step.h"

#include <algorithm>
#include <cstring>

namespace fastep {
namespace {

constexpr int32_t kMaxTaskQuads = 128;

uint32_t Load(const uint8_t* words, int32_t i) {
  uint32_t word;
  std::memcpy(&word, words + static_cast<size_t>(i) * 4, sizeof word);
  return word;
}

void Store(uint8_t* words, int32_t i, uint32_t word) {
  std::memcpy(words + static_cast<size_t>(i) * 4, &word, sizeof word);
}

}  // namespace

RowRanges RepackStep::Ranges(const RunContext& run) const {
  return {run, static_cast<int32_t>(CeilDiv(static_cast<size_t>(y_.features), 4)), 1, kMaxTaskQuads};
}

StepNeeds RepackStep::Needs(const RunContext& run) const { return {{Ranges(run).count()}}; }

void RepackStep::Run(const RunContext& run, TileTurn& turn) const {
  const RowRanges ranges = Ranges(run);
  for (size_t task; turn.Next(task);) {
    const RowRanges::Range quads = ranges[task];
    if (type_ == ElementType::kF32) {
      CopyRows(run, turn.tile, quads.begin * 4, quads.end * 4);
      continue;
    }
    for (int32_t quad = quads.begin; quad < quads.end; ++quad) {
      RepackQuad(run.Tile(x_, turn.tile), quad, turn.tile.tokens, run.Tile(y_, turn.tile, quad * 4));
    }
  }
}

void RepackStep::CopyRows(const RunContext& run, const TokenTile& tile, int32_t begin, int32_t end) const {
  for (int32_t row = begin; row < std::min(end, y_.features); ++row) {
    const int32_t head = row / sizes_.to, feature = row % sizes_.to;
    if (feature >= sizes_.from) continue;
    std::memcpy(run.Tile(y_, tile, row), run.Tile(x_, tile, head * sizes_.from + feature),
                static_cast<size_t>(tile.tokens) * sizeof(float));
  }
}

// Byte by byte of a quad, over all tokens at once, in words so that compilers can use vectors.
void RepackStep::RepackQuad(const uint8_t* x, int32_t quad, int32_t tokens, uint8_t* y) const {
  for (int32_t byte = 0; byte < 4; ++byte) {
    const int32_t row = quad * 4 + byte, head = row / sizes_.to, feature = row % sizes_.to;
    const bool real = head < heads_ && feature < sizes_.from;
    const int32_t source = real ? head * sizes_.from + feature : 0;
    const uint8_t* words = x + static_cast<size_t>(source / 4) * static_cast<size_t>(tokens) * 4;
    const int32_t down = source % 4 * 8, up = byte * 8;
    const uint32_t kept = real ? 0xffu : 0u, fill = real ? 0u : uint32_t{fill_} << up;
    const uint32_t before = byte == 0 ? 0u : 0xffffffffu;
    for (int32_t t = 0; t < tokens; ++t) {
      Store(y, t, (Load(y, t) & before) | (Load(words, t) >> down & kept) << up | fill);
    }
  }
}

}  // namespace fastep
