#include "core/arena.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>
#include <utility>

#include "core/aligned.h"

namespace fastep {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// From here on, whole huge pages are worth their waste: activations of a hundred tokens touch more 4 KB pages than the
// first-level address cache holds.
constexpr size_t kHugeFrom = size_t{256} << 10;

}  // namespace

void Arena::Free::operator()(uint8_t* p) const { std::free(p); }

uint8_t* Arena::Reserve(size_t bytes) {
  if (bytes > capacity_ || !data_) {
    data_.reset();  // first, so that the peak is one block, not two
    capacity_ = 0;
    const size_t page = bytes >= kHugeFrom ? kHugePage : kCacheLine;
    const size_t size = RoundUp(bytes > 0 ? bytes : 1, page);
    auto* data = static_cast<uint8_t*>(std::aligned_alloc(page, size));
    if (data == nullptr) throw std::bad_alloc();
    if (page == kHugePage) madvise(data, size, MADV_HUGEPAGE);  // only a hint
    data_.reset(data);
    capacity_ = size;
  }
  return data_.get();
}

void Arena::Split(size_t parts) {
  while (parts_.size() < parts) parts_.push_back(std::make_unique<Arena>());
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
