// Where the values of a plan stand in its arena.
//
// Every storage takes the same number of bytes per packed token, so one layout, found when the plan is built, serves
// every batch and length. A tile has one block of memory for all of its values, so that tiles may be at different
// steps; storages of a tile that are never needed at the same time share memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tiling.h"

namespace fastep {

using StorageId = int32_t;
constexpr StorageId kNoStorage = -1;

class StorageLayout {
 public:
  struct Entry {
    size_t element_bytes;
    size_t token_bytes;  // element_bytes * padded rows
    bool planar;         // tiles in the planar layout, else of quads (or of floats)
    size_t offset = 0;   // per token
    int32_t first = -1;  // step that touches it first, and last
    int32_t last = -1;
  };

  // `rows` per token, padded to kRowStep.
  StorageId Add(int64_t rows, size_t element_bytes, bool planar = false);
  void Touch(StorageId id, int32_t step);
  // Once all storages and steps are known.
  void Place();

  const Entry& operator[](StorageId id) const { return entries_[static_cast<size_t>(id)]; }
  size_t token_bytes() const { return token_bytes_; }  // of all of them
  size_t planar_count() const { return planar_count_; }
  // Bytes of all tiles, and in front of a storage of one. Where a plan has planar rows that are `planar_row_bytes` long
  // however narrow their tile is, every block has room for them; 0: they are as long as others.
  size_t Bytes(const Tiling& tiling, int32_t planar_row_bytes) const;
  size_t Offset(StorageId id, const TokenTile& tile, int32_t planar_row_bytes) const {
    const bool wide = HasWideRows(planar_row_bytes);
    const int64_t before = wide ? tile.index * planar_row_bytes : tile.begin;
    const int64_t tokens = wide ? planar_row_bytes : tile.tokens;
    return static_cast<size_t>(before) * token_bytes_ + static_cast<size_t>(tokens) * (*this)[id].offset;
  }

 private:
  bool HasWideRows(int32_t planar_row_bytes) const { return planar_count_ > 0 && planar_row_bytes != 0; }

  std::vector<Entry> entries_;
  size_t token_bytes_ = 0;
  size_t planar_count_ = 0;
};

}  // namespace fastep
