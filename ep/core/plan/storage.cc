#include "core/plan/storage.h"

#include <algorithm>

#include "core/aligned.h"
#include "core/kernel_table.h"

namespace fastep {

StorageId StorageLayout::Add(int64_t rows, size_t element_bytes, bool planar) {
  Entry entry;
  entry.element_bytes = element_bytes;
  entry.token_bytes = RoundUp(static_cast<size_t>(rows), kRowStep) * element_bytes;
  entry.planar = planar;
  planar_count_ += planar ? 1 : 0;
  entries_.push_back(entry);
  return static_cast<StorageId>(entries_.size() - 1);
}

void StorageLayout::Touch(StorageId id, int32_t step) {
  Entry& entry = entries_[static_cast<size_t>(id)];
  if (entry.first < 0) entry.first = step;
  entry.last = step;
}

size_t StorageLayout::Bytes(const Tiling& tiling, int32_t planar_row_bytes) const {
  const int64_t tokens = HasWideRows(planar_row_bytes) ? tiling.count() * planar_row_bytes : tiling.padded_tokens();
  return static_cast<size_t>(tokens) * token_bytes_;
}

// Large ones first, each at the lowest place that is free for all of its life.
void StorageLayout::Place() {
  std::vector<Entry*> order;
  for (Entry& entry : entries_) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(),
                   [](const Entry* a, const Entry* b) { return a->token_bytes > b->token_bytes; });
  std::vector<Entry*> placed;  // by offset
  for (Entry* entry : order) {
    size_t offset = 0;
    for (const Entry* other : placed) {
      const bool together = entry->first <= other->last && other->first <= entry->last;
      if (together && offset + entry->token_bytes > other->offset) {
        offset = std::max(offset, other->offset + other->token_bytes);
      }
    }
    entry->offset = offset;
    token_bytes_ = std::max(token_bytes_, offset + entry->token_bytes);
    const auto after = [](const Entry* a, const Entry* b) { return a->offset < b->offset; };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), entry, after), entry);
  }
}

}  // namespace fastep
