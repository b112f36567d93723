// Immutable elements and whoever keeps them alive: memory of their own, or a part of a file that is mapped.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "core/aligned.h"

namespace fastep {

template <class T>
class SharedArray {
 public:
  SharedArray() = default;
  // Memory of its own, not a byte more than the elements take.
  explicit SharedArray(AlignedVector<T> values) {
    if (values.empty()) return;
    values.shrink_to_fit();
    auto own = std::make_shared<const AlignedVector<T>>(std::move(values));
    data_ = own->data();
    size_ = own->size();
    owner_ = std::move(own);
  }
  // Elements that `owner` keeps alive.
  SharedArray(const T* data, size_t size, std::shared_ptr<const void> owner)
      : data_(data), size_(size), owner_(std::move(owner)) {}

  const T* data() const { return data_; }
  size_t size() const { return size_; }
  size_t bytes() const { return size_ * sizeof(T); }
  bool empty() const { return size_ == 0; }
  const T& operator[](size_t i) const { return data_[i]; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

 private:
  const T* data_ = nullptr;
  size_t size_ = 0;
  std::shared_ptr<const void> owner_;
};

}  // namespace fastep
