// Fields written one after the other, and read again in the same order.
//
// A class says once what it consists of, for both directions:
//   template <class Archive, class Self> static void Fields(Archive& archive, Self& self) { archive(self.a, self.b); }
// Numbers stand in the byte order of x86. A SharedArray leaves only its place among the fields; its elements stand in a
// section of their own, each array on a cache line, so that a mapped file serves them as they are.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/shared_array.h"
#include "core/utf8.h"

namespace fastep {

struct ArchiveSpan {
  const void* data;
  size_t bytes;
};

class ArchiveWriter {
 public:
  template <class... T>
  void operator()(const T&... fields) {
    (Put(fields), ...);
  }

  const std::string& fields() const { return fields_; }
  // In this order, each followed by zeros up to a cache line. They borrow what was written.
  const std::vector<ArchiveSpan>& arrays() const { return arrays_; }
  size_t array_bytes() const { return array_bytes_; }

 private:
  template <class T>
  void Put(const T& value) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      fields_.append(reinterpret_cast<const char*>(&value), sizeof value);
    } else {
      T::Fields(*this, value);
    }
  }
  void Put(const std::string& text) {
    Put(uint64_t{text.size()});
    fields_ += text;
  }
  template <class T>
  void Put(const std::vector<T>& values) {
    Put(uint64_t{values.size()});
    for (const T& value : values) Put(value);
  }
  template <class T>
  void Put(const SharedArray<T>& array) {
    Put(uint64_t{array_bytes_});
    Put(uint64_t{array.size()});
    arrays_.push_back({array.data(), array.bytes()});
    array_bytes_ += RoundUp(array.bytes(), kCacheLine);
  }

  std::string fields_;
  std::vector<ArchiveSpan> arrays_;
  size_t array_bytes_ = 0;
};

// Throws Error where a field leads outside of what there is. What the values mean is for their readers to check.
class ArchiveReader {
 public:
  // Both sections are kept alive by `owner`, and so are the arrays read.
  ArchiveReader(ArchiveSpan fields, ArchiveSpan arrays, std::shared_ptr<const void> owner)
      : at_(static_cast<const uint8_t*>(fields.data)),
        left_(fields.bytes),
        arrays_(static_cast<const uint8_t*>(arrays.data)),
        array_bytes_(arrays.bytes),
        owner_(std::move(owner)) {}

  template <class... T>
  void operator()(T&... fields) {
    (Get(fields), ...);
  }

 private:
  const uint8_t* Take(size_t bytes) {
    if (bytes > left_) throw Error("it ends early");
    const uint8_t* taken = at_;
    at_ += bytes;
    left_ -= bytes;
    return taken;
  }
  size_t TakeCount() {
    uint64_t count = 0;
    Get(count);
    if (count > left_) throw Error("it ends early");  // an element takes at least a byte
    return static_cast<size_t>(count);
  }

  template <class T>
  void Get(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      value = *Take(1) != 0;
    } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      std::memcpy(&value, Take(sizeof value), sizeof value);
    } else {
      T::Fields(*this, value);
    }
  }
  void Get(std::string& text) {
    const size_t size = TakeCount();
    text.assign(reinterpret_cast<const char*>(Take(size)), size);
    if (!IsUtf8(text)) throw Error("a name in it is no text");
  }
  template <class T>
  void Get(std::vector<T>& values) {
    values.clear();
    for (size_t count = TakeCount(); count > 0; --count) Get(values.emplace_back());
  }
  template <class T>
  void Get(SharedArray<T>& array) {
    uint64_t begin = 0, size = 0;
    Get(begin);
    Get(size);
    const bool inside = begin <= array_bytes_ && begin % kCacheLine == 0 && size <= (array_bytes_ - begin) / sizeof(T);
    if (!inside) throw Error("an array lies outside of it");
    array = SharedArray<T>(reinterpret_cast<const T*>(arrays_ + begin), static_cast<size_t>(size), owner_);
  }

  const uint8_t* at_;
  size_t left_;
  const uint8_t* arrays_;
  size_t array_bytes_;
  std::shared_ptr<const void> owner_;
};

}  // namespace fastep
