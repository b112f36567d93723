// Packed weights of one layer for one tier: the storage behind RhsView.
#pragma once

#include <cstdint>

#include "core/aligned.h"
#include "core/kernel_table.h"
#include "core/weights.h"

namespace fastep {

// K is cut into blocks of whole quads; a K-block's row groups stand together, so that one pass over the rows reads one
// K-block of the tile again and again from the nearest cache.
class PackedRhs {
 public:
  PackedRhs(const Weights& weights, RhsKind kind, const KernelTable& kernels);

  RhsKind kind() const { return kind_; }
  int32_t rows() const { return rows_; }        // N rounded up to kRowStep
  int32_t k_quads() const { return k_quads_; }  // ceil(K / 4)
  int32_t k_blocks() const { return k_blocks_; }
  int32_t QuadBegin(int32_t k_block) const;
  RhsView View(int32_t k_block) const;
  int64_t blocks() const { return blocks_; }  // stored, padding of groups included
  size_t bytes() const;

 private:
  void PackDense(const Weights& weights);
  void PackQuadBlocks(const Weights& weights);
  void PackGatherBlocks(const Weights& weights);
  void AppendGathered(const Weights& weights, int64_t row, int64_t first_input, const std::vector<int64_t>& kept);
  // True if most blocks of R x 4 need no second copy to be stored as bounded pairs.
  bool PairsAreBounded(const Weights& weights) const;
  void AppendBoundedPairs(const Weights& weights, int64_t row, int64_t quad);
  // Appends a block: rows [row, row + count) x four inputs. An input at or beyond K reads as 0.
  void AppendValues(const Weights& weights, int64_t row, int count, const int64_t* inputs);

  RhsKind kind_;
  int value_bytes_;
  bool bounded_pairs_ = false;
  int32_t rows_;
  int32_t k_quads_;
  int32_t k_blocks_;
  int64_t blocks_ = 0;
  AlignedVector<uint32_t> group_ptr_;  // [k_blocks][groups + 1]
  AlignedVector<uint16_t> index_;
  AlignedVector<uint8_t> values_;
};

}  // namespace fastep
