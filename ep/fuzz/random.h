// Random choices that depend on the seed alone, on every machine and standard library.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>

namespace fastep::fuzz {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  // SplitMix64 (Steele, Lea, Flood 2014).
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // Both ends included.
  int64_t Between(int64_t lo, int64_t hi) {
    return lo + static_cast<int64_t>(Next() % static_cast<uint64_t>(hi - lo + 1));
  }
  bool OneIn(int64_t n) { return Between(1, n) == 1; }
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  // Between 2^lo and 2^hi, every octave as likely as any other.
  float PowerOfTwo(double lo, double hi) { return static_cast<float>(std::exp2(lo + (hi - lo) * Unit())); }

  template <class T>
  T Pick(std::initializer_list<T> choices) {
    return choices.begin()[Between(0, static_cast<int64_t>(choices.size()) - 1)];
  }

 private:
  uint64_t state_;
};

}  // namespace fastep::fuzz
