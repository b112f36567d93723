#include "core/page_pool.h"

#include <sys/mman.h>

#include "core/aligned.h"

namespace fastep {
namespace {

constexpr size_t kSmallPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;
// Address space, of which only what is written takes memory.
constexpr size_t kChunkBytes = size_t{64} << 20;

void Unmap(uint8_t* data, size_t bytes) {
  if (bytes > 0) munmap(data, bytes);
}

// From a huge page on, made of such pages where the system has them. Mapped, not allocated: what an allocator hands out
// again has its small pages already, and keeps them. Null: there is no address space.
uint8_t* MapHuge(size_t bytes) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* mapped = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* begin = static_cast<uint8_t*>(mapped);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  Unmap(begin, before);
  Unmap(begin + before + bytes, kHugePage - before);
  madvise(begin + before, bytes, MADV_HUGEPAGE);  // only a hint
  return begin + before;
}

}  // namespace

struct PagePool::Chunk {
  uint8_t* data;
  size_t size;

  ~Chunk() { Unmap(data, size); }
};

uint8_t* PagePool::Reserve(size_t bytes) {
  if (bytes == 0) return nullptr;
  if (chunk_ == nullptr || used_ + bytes > chunk_->size) {
    Close();
    const size_t size = RoundUp(std::max(bytes, kChunkBytes), kHugePage);
    uint8_t* data = MapHuge(size);
    if (data == nullptr) return nullptr;
    chunk_.reset(new Chunk{data, size});
  }
  uint8_t* place = chunk_->data + used_;
  used_ = std::min(RoundUp(used_ + bytes, kCacheLine), chunk_->size);
  return place;
}

void PagePool::Close() {
  if (chunk_ != nullptr) {
    const size_t kept = RoundUp(used_, kSmallPage);
    Unmap(chunk_->data + kept, chunk_->size - kept);
    chunk_->size = kept;
  }
  chunk_.reset();
  used_ = 0;
}

}  // namespace fastep
