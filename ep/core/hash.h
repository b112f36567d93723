// A fast hash of 128 bits, so that two things that differ are equal by chance only in theory. Not against an adversary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace fastep {

using HashValue = std::pair<uint64_t, uint64_t>;

// Two chains of xor or add, multiply, rotate: each step is a bijection of its word, so a single change is never lost.
class Hash {
 public:
  void Add(uint64_t word) {
    first_ = Rotate((first_ ^ word) * 0x9E3779B97F4A7C15u, 29);
    second_ = Rotate((second_ + word) * 0xC2B2AE3D27D4EB4Fu, 31);
  }
  void Add(const void* data, size_t bytes) {
    Add(bytes);
    const auto* at = static_cast<const uint8_t*>(data);
    for (; bytes >= sizeof(uint64_t); bytes -= sizeof(uint64_t), at += sizeof(uint64_t)) AddWord(at, sizeof(uint64_t));
    if (bytes > 0) AddWord(at, bytes);
  }
  void Add(const std::string& text) { Add(text.data(), text.size()); }
  void Add(const std::vector<int64_t>& values) { Add(values.data(), values.size() * sizeof(int64_t)); }
  HashValue value() const { return {first_, second_}; }

 private:
  static uint64_t Rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }
  void AddWord(const uint8_t* at, size_t bytes) {
    uint64_t word = 0;
    std::memcpy(&word, at, bytes);
    Add(word);
  }

  uint64_t first_ = 1, second_ = 2;
};

}  // namespace fastep
