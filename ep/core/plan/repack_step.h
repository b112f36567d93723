// Tiles whose heads are not made of whole quads, to tiles whose heads are, and back.
#pragma once

#include "core/plan/step.h"

namespace fastep {

// Features per head.
struct HeadSizes {
  int32_t from, to;
};

constexpr int32_t PaddedHead(int32_t head_size) { return (head_size + 3) / 4 * 4; }

// Row h * to + f of y is row h * from + f of x. Where f >= from, y is `fill`, in float tiles anything.
class RepackStep final : public Step {
 public:
  RepackStep(View x, View y, ElementType type, int32_t heads, const HeadSizes& sizes, uint8_t fill)
      : x_(x), y_(y), type_(type), heads_(heads), sizes_(sizes), fill_(fill) {}

  const char* Op() const override { return "repack"; }
  std::vector<StorageId> Touches() const override { return {x_.storage, y_.storage}; }
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;

 private:
  RowRanges Ranges(const RunContext& run) const;  // of quads
  void CopyRows(const RunContext& run, const TokenTile& tile, int32_t begin, int32_t end) const;
  void RepackQuad(const uint8_t* x, int32_t quad, int32_t tokens, uint8_t* y) const;

  View x_, y_;
  ElementType type_;
  int32_t heads_;
  HeadSizes sizes_;
  uint8_t fill_;
};

}  // namespace fastep
