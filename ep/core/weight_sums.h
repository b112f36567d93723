// When sums of 16 bits hold products of weights with numbers of 0..255, in whatever order these are added up.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fastep {

// Numbers of 0..255 times weights that add up to 128 stay inside int16.
constexpr int kMostSum = 128;
constexpr int kNoSum = kMostSum + 1;

// For each row the sum of the positive weights and that of the negative ones, bytes 0-3 and 4-7 of the word of four
// rows.
template <int kRows>
class WeightSums {
  static_assert(kRows % 4 == 0);

 public:
  // Once per row, or again with kNoSum: at most 255 then.
  void Set(int row, int positive, int negative) {
    of_rows_[row / 4] |= (Byte(positive) | Byte(negative) << 32) << (row % 4 * 8);
  }
  int Positive(int row) const { return static_cast<uint8_t>(of_rows_[row / 4] >> (row % 4 * 8)); }
  int Negative(int row) const { return static_cast<uint8_t>(of_rows_[row / 4] >> (row % 4 * 8 + 32)); }

  // Whether the weights of both may be added up. No two sums may be more than 384.
  friend bool Fit(const WeightSums& a, const WeightSums& b) {
    uint64_t bits = 0;  // 128 where half of a sum is larger than half of the most
    for (int i = 0; i < kRows / 4; ++i) {
      bits |= Halves(a.of_rows_[i], b.of_rows_[i]) + EachByte(127 - kMostSum / 2);
    }
    return (bits & EachByte(128)) == 0;
  }

  // Of what fits.
  friend WeightSums operator+(WeightSums a, const WeightSums& b) {
    for (int i = 0; i < kRows / 4; ++i) a.of_rows_[i] += b.of_rows_[i];
    return a;
  }

 private:
  static uint64_t Byte(int sum) { return static_cast<uint64_t>(std::min(sum, kNoSum)); }
  static constexpr uint64_t EachByte(uint64_t byte) { return byte * 0x0101010101010101u; }
  // Half of each sum of two bytes, rounded up.
  static uint64_t Halves(uint64_t a, uint64_t b) { return (a | b) - (((a ^ b) & EachByte(0xfe)) >> 1); }

  uint64_t of_rows_[kRows / 4] = {};
};

}  // namespace fastep
