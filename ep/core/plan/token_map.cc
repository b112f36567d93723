#include "core/plan/token_map.h"

#include <algorithm>
#include <numeric>

namespace fastep {
namespace {

template <class T>
bool NonZeroAt(const void* data, int64_t index) {
  return static_cast<const T*>(data)[index] != T{0};
}

bool Visible(const PlanTensor& mask, int64_t index) {
  switch (mask.type) {
    case TensorType::kF32:
      return NonZeroAt<float>(mask.data, index);
    case TensorType::kI64:
      return NonZeroAt<int64_t>(mask.data, index);
    case TensorType::kI32:
      return NonZeroAt<int32_t>(mask.data, index);
    default:
      return NonZeroAt<uint8_t>(mask.data, index);
  }
}

std::vector<Sequence> PackSequences(int64_t begin, int64_t end, int64_t length, const int64_t* counts) {
  std::vector<Sequence> sequences;
  int64_t packed = 0;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t count = counts == nullptr ? length : counts[i];
    sequences.push_back({i, i * length, packed, count});
    packed += AlignedCount(count);
  }
  return sequences;
}

}  // namespace

TokenMap::TokenMap(int64_t begin, int64_t end, int64_t length, const int64_t* counts, int32_t widest_tile)
    : sequences_(PackSequences(begin, end, length, counts)),
      packed_(sequences_.empty() ? 0 : sequences_.back().begin + sequences_.back().count),
      tiling_(std::max<int64_t>(packed_, 1), widest_tile),
      first_segment_{0} {
  size_t sequence = 0;
  for (int64_t i = 0; i < tile_count(); ++i) {
    AppendSegments(tiling_[i], sequence);
    first_segment_.push_back(segments_.size());
  }
}

// `sequence`: the first one that may reach into the tile; moved on to that of the next tile.
void TokenMap::AppendSegments(const TokenTile& tile, size_t& sequence) {
  const int64_t tile_end = tile.begin + tile.tokens;
  for (; sequence < sequences_.size(); ++sequence) {
    const Sequence& s = sequences_[sequence];
    if (s.begin >= tile_end) return;
    const int64_t first = std::max(tile.begin, s.begin);
    const int64_t count = std::min(tile_end, s.begin + s.count) - first;
    const int64_t lanes = std::min(tile_end, s.begin + AlignedCount(s.count)) - first;
    if (count > 0) {
      segments_.push_back({static_cast<int32_t>(sequence), static_cast<int32_t>(first - tile.begin),
                           static_cast<int32_t>(count), static_cast<int32_t>(lanes), first - s.begin});
    }
    if (s.begin + s.count > tile_end) return;
  }
}

KeyMap::KeyMap(const TokenMap& tokens, int64_t length, const PlanTensor* mask)
    : first_run_(tokens.sequences().size() + 1, 0),
      first_of_tile_{0},
      keys_(tokens.sequences().size(), 0),
      first_row_{0} {
  for (int64_t tile = 0; tile < tokens.tile_count(); ++tile) {
    for (const Segment& segment : tokens.Segments(tile)) AppendRuns(tokens, segment, length, mask);
    first_of_tile_.push_back(runs_.size());
  }
  for (const Run& run : runs_) ++first_run_[static_cast<size_t>(run.sequence) + 1];
  std::partial_sum(first_run_.begin(), first_run_.end(), first_run_.begin());
  for (const int32_t keys : keys_) {
    first_row_.push_back(first_row_.back() + static_cast<int64_t>(RoundUp(static_cast<size_t>(keys), kRowStep)));
  }
}

void KeyMap::AppendRuns(const TokenMap& tokens, const Segment& segment, int64_t length, const PlanTensor* mask) {
  const int64_t first = tokens.sequences()[static_cast<size_t>(segment.sequence)].index * length + segment.position;
  int32_t& keys = keys_[static_cast<size_t>(segment.sequence)];
  bool open = false;
  for (int32_t t = 0; t < segment.count; ++t) {
    const bool visible = mask == nullptr || Visible(*mask, first + t);
    if (visible && !open) runs_.push_back({segment.sequence, segment.lane + t, segment.position + t, 0, keys});
    if (visible) {
      ++runs_.back().count;
      ++keys;
    }
    open = visible;
  }
}

int32_t KeyMap::most_rows() const {
  int32_t most = 0;
  for (size_t s = 0; s < keys_.size(); ++s) most = std::max(most, rows(s));
  return most;
}

std::vector<int64_t> CountsBeforePadding(const PlanTensor& mask) {
  const int64_t length = mask.shape[1];
  std::vector<int64_t> counts(static_cast<size_t>(mask.shape[0]));
  for (size_t i = 0; i < counts.size(); ++i) {
    int64_t count = length;
    while (count > 1 && !Visible(mask, static_cast<int64_t>(i) * length + count - 1)) --count;
    counts[i] = count;
  }
  return counts;
}

}  // namespace fastep
