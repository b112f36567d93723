#include "core/arena.h"

#include <cstdlib>
#include <new>
#include <utility>

#include "core/aligned.h"

namespace fastep {

void Arena::Free::operator()(uint8_t* p) const { std::free(p); }

uint8_t* Arena::Reserve(size_t bytes) {
  const size_t size = RoundUp(bytes > 0 ? bytes : 1, kCacheLine);
  if (size > capacity_) {
    data_.reset();  // first, so that the peak is one block, not two
    capacity_ = 0;
    auto* data = static_cast<uint8_t*>(std::aligned_alloc(kCacheLine, size));
    if (data == nullptr) throw std::bad_alloc();
    data_.reset(data);
    capacity_ = size;
  }
  return data_.get();
}

ArenaPool::Lease ArenaPool::Take() {
  std::unique_ptr<Arena> arena;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      arena = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (!arena) arena = std::make_unique<Arena>();
  return Lease(*this, std::move(arena));
}

ArenaPool::Lease::~Lease() {
  const std::lock_guard<std::mutex> lock(pool_.mutex_);
  try {
    pool_.free_.push_back(std::move(arena_));
  } catch (const std::bad_alloc&) {
    // The arena is freed instead of kept.
  }
}

}  // namespace fastep
