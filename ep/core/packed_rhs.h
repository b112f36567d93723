// Packed weights of one layer for one tier: the storage behind RhsView.
//
// Compiled models hold this storage. Whoever changes what is packed, or how, counts kPackingVersion up.
#pragma once

#include <cstdint>

#include "core/kernel_table.h"
#include "core/page_pool.h"
#include "core/shared_array.h"
#include "core/weights.h"

namespace fastep {

constexpr uint32_t kPackingVersion = 4;

// K is cut into blocks of whole quads; a K-block's row groups stand together, so that one pass over the rows reads one
// K-block of the tile again and again from the nearest cache.
class PackedRhs {
 public:
  PackedRhs(const Weights& weights, RhsKind kind, const KernelTable& kernels);
  PackedRhs() = default;  // to be read from an archive

  RhsKind kind() const { return kind_; }
  int32_t rows() const { return rows_; }        // N rounded up to kRowStep
  int32_t k_quads() const { return k_quads_; }  // ceil(K / 4)
  int32_t k_blocks() const { return k_blocks_; }
  int32_t QuadBegin(int32_t k_block) const;
  RhsView View(int32_t k_block) const;
  int64_t blocks() const { return blocks_; }  // of this kind, padding of groups included
  size_t bytes() const;
  void MoveInto(PagePool& pool);

  // Of what was read from an archive: throws Error unless it is W [n, k] in a form that these kernels can run.
  void Check(int64_t n, int64_t k, const KernelTable& kernels) const;

  template <class Archive, class Self>
  static void Fields(Archive& archive, Self& self) {
    archive(self.kind_, self.value_bytes_, self.rows_, self.k_quads_, self.k_blocks_, self.blocks_);
    archive(self.group_ptr_, self.index_, self.values_, self.couple_offset_);
  }

 private:
  class Packer;

  bool coupled() const { return !couple_offset_.empty(); }
  int64_t stored_blocks() const;  // with the second copies and the empty places of couples

  RhsKind kind_ = RhsKind::kDense;
  int32_t value_bytes_ = 1;
  int32_t rows_ = 0;
  int32_t k_quads_ = 0;
  int32_t k_blocks_ = 1;
  int64_t blocks_ = 0;
  SharedArray<uint32_t> group_ptr_;  // [k_blocks][groups + 1]
  SharedArray<uint16_t> index_;
  SharedArray<uint8_t> values_;
  SharedArray<int32_t> couple_offset_;  // [rows], or none
};

}  // namespace fastep
