// Which tokens a plan computes, and where they stand.
#pragma once

#include <cstdint>
#include <vector>

#include "core/plan/types.h"
#include "core/tiling.h"

namespace fastep {

// Sequences start at multiples of this among the packed tokens, so that keys come in whole quads.
constexpr int64_t kSequenceAlignment = 4;
inline int64_t AlignedCount(int64_t tokens) {
  return static_cast<int64_t>(RoundUp(static_cast<size_t>(tokens), static_cast<size_t>(kSequenceAlignment)));
}

// Consecutive rows of the row-major tensors whose tokens may attend to each other.
struct Sequence {
  int64_t index;  // in the batch
  int64_t row;    // first row in row-major tensors
  int64_t begin;  // first packed token
  int64_t count;  // tokens that are computed, the first ones of the sequence
};

// The part of a tile that belongs to one sequence.
struct Segment {
  int32_t sequence;  // index in TokenMap::sequences
  int32_t lane;
  int32_t count;     // tokens, without alignment
  int32_t lanes;     // with alignment
  int64_t position;  // of the first one in its sequence
};

// Packed tokens: all sequences one after the other, each aligned; lanes between them are computed and ignored.
class TokenMap {
 public:
  // Sequences [begin, end) of a batch of `length` tokens each, of which counts[i] are computed (null: all).
  TokenMap(int64_t begin, int64_t end, int64_t length, const int64_t* counts, int32_t widest_tile);

  const std::vector<Sequence>& sequences() const { return sequences_; }
  const Tiling& tiling() const { return tiling_; }
  int64_t tile_count() const { return packed_ == 0 ? 0 : tiling_.count(); }

  // The segments of a tile, in order of lanes.
  struct SegmentRange {
    const Segment* first;
    const Segment* last;
    const Segment* begin() const { return first; }
    const Segment* end() const { return last; }
    bool empty() const { return first == last; }
  };
  SegmentRange Segments(int64_t tile) const {
    const auto i = static_cast<size_t>(tile);
    return {segments_.data() + first_segment_[i], segments_.data() + first_segment_[i + 1]};
  }

 private:
  void AppendSegments(const TokenTile& tile, size_t& sequence);

  std::vector<Sequence> sequences_;
  int64_t packed_;
  Tiling tiling_;
  std::vector<Segment> segments_;
  std::vector<size_t> first_segment_;  // of each tile
};

// Which keys of each sequence are visible, and where they stand once packed.
class KeyMap {
 public:
  // Visible keys that stand side by side in a sequence and in a tile.
  struct Run {
    int32_t sequence;  // index in TokenMap::sequences
    int32_t lane;      // of the first one in its tile
    int64_t position;  // in its sequence
    int32_t count;
    int32_t key;  // index of the first one among the packed keys of its sequence
  };
  struct RunRange {
    const Run* first;
    const Run* last;
    const Run* begin() const { return first; }
    const Run* end() const { return last; }
  };
  // mask [B, length] of any type, null: all computed tokens are visible.
  KeyMap(const TokenMap& tokens, int64_t length, const PlanTensor* mask);

  // In order of positions.
  RunRange OfSequence(size_t s) const { return {runs_.data() + first_run_[s], runs_.data() + first_run_[s + 1]}; }
  RunRange OfTile(int64_t tile) const {
    const auto i = static_cast<size_t>(tile);
    return {runs_.data() + first_of_tile_[i], runs_.data() + first_of_tile_[i + 1]};
  }
  int32_t keys(size_t s) const { return keys_[s]; }
  // Rows of the packed keys of sequence s, a multiple of kRowStep, and those of all sequences before it.
  int32_t rows(size_t s) const { return static_cast<int32_t>(first_row_[s + 1] - first_row_[s]); }
  int64_t first_row(size_t s) const { return first_row_[s]; }
  int64_t all_rows() const { return first_row_.back(); }
  int32_t most_rows() const;
  // True if no key of the sequence stands behind those of the run.
  bool IsLast(const Run& run) const { return run.key + run.count == keys_[static_cast<size_t>(run.sequence)]; }

 private:
  void AppendRuns(const TokenMap& tokens, const Segment& segment, int64_t length, const PlanTensor* mask);

  std::vector<Run> runs_;
  std::vector<size_t> first_run_, first_of_tile_;
  std::vector<int32_t> keys_;
  std::vector<int64_t> first_row_;
};

// 1 + the last visible position of each sequence of mask [B, length]: what follows is right padding. At least 1, so
// that the first token, which pooled outputs read, is there even where the mask hides all.
std::vector<int64_t> CountsBeforePadding(const PlanTensor& mask);

}  // namespace fastep
