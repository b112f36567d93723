// Memory for arrays that are written once and read in every run, one behind the other in huge pages: weights of an
// encoder are more 4 KB pages than an address cache holds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/shared_array.h"

namespace fastep {

// Takes not more memory than the arrays do, up to 4 KB per chunk: what is left of a huge page goes back at the end.
class PagePool {
 public:
  PagePool() = default;
  ~PagePool() { Close(); }
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  // Its elements from now on stand here, where the mapping of huge pages can be had.
  template <class T>
  void Take(SharedArray<T>& array) {
    auto* place = reinterpret_cast<T*>(Reserve(array.bytes()));
    if (place == nullptr) return;
    std::copy(array.begin(), array.end(), place);
    array = SharedArray<T>(place, array.size(), chunk_);
  }

 private:
  struct Chunk;

  // `bytes` on a cache line of their own; null: there is no memory, or nothing to place.
  uint8_t* Reserve(size_t bytes);
  // The rest of the chunk goes back.
  void Close();

  std::shared_ptr<Chunk> chunk_;
  size_t used_ = 0;
};

}  // namespace fastep
