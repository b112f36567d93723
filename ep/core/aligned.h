// A std::vector whose data starts on a cache line.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace fastep {

constexpr size_t kCacheLine = 64;

constexpr size_t RoundUp(size_t value, size_t step) { return (value + step - 1) / step * step; }
constexpr size_t CeilDiv(size_t value, size_t step) { return (value + step - 1) / step; }

template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(kCacheLine))); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(kCacheLine)); }
  bool operator==(const AlignedAllocator&) const { return true; }
  bool operator!=(const AlignedAllocator&) const { return false; }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace fastep
