// Dense products of bytes that nobody has seen before: keys and values of attention.
//
// vpmaddubsw adds up two products exactly unless their weights have one sign and are large, as 255 * 100 + 255 * 100
// are too much for 16 bits. Of the numbers that attention is about, whose spread is a tenth of their range, one quad of
// eight rows in two hundred has such weights. These are looked for first; there, even and odd inputs take turns:
//
//   acc += vpmaddwd(vpmaddubsw(x, w), 1)
//   acc += vpmaddwd(vpmaddubsw(x & 0x00ff, w), 1) + vpmaddwd(vpmaddubsw(x & 0xff00, w), 1)
//
// A quad of eight rows and eight tokens takes 24 instructions, 34 as 16-bit numbers, which groups with many such quads
// become.
#pragma once

#include "kernels/avx2/words.h"

namespace fastep {
namespace {

struct PairDot {
  static constexpr bool kCoupled = false;
  static constexpr bool kWholeStrips = true;
  // dense, the only kind
  static constexpr int kRows[kRhsKinds] = {kStripRows, 0, 0, 0, 0, 0};
  static constexpr int kQuadBytes = kStripRows * 4;
  static constexpr int kQuadsAtOnce = 64;  // one bit each
  static constexpr int kFewLarge = 8;      // one of so many
  static_assert(RowsPerGroup(RhsKind::kDense) == kStripRows, "a strip is a group");

  // What two products of numbers up to 255 may be too much for has a sum outside [-128, 127]: all ones or zeros in the
  // high bytes of what is returned otherwise.
  static FASTEP_INLINE __m256i PairSums(const int8_t* w) {
    return _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), LoadYmm(w)), _mm256_set1_epi16(128));
  }

  static FASTEP_INLINE bool TooLarge(__m256i pair_sums) {
    return _mm256_testz_si256(pair_sums, _mm256_set1_epi16(static_cast<int16_t>(0xff00))) == 0;
  }

  // Bit i: quad i has pairs that are too large.
  static FASTEP_INLINE uint64_t LargeQuads(const int8_t* w, int32_t quads) {
    __m256i all = _mm256_setzero_si256();
    for (int32_t i = 0; i < quads; ++i) all = _mm256_or_si256(all, PairSums(w + i * kQuadBytes));
    if (!TooLarge(all)) return 0;
    uint64_t large = 0;
    for (int32_t i = 0; i < quads; ++i) large |= static_cast<uint64_t>(TooLarge(PairSums(w + i * kQuadBytes))) << i;
    return large;
  }

  static FASTEP_INLINE I32x8 Accumulate(I32x8 acc, __m256i x, __m256i w) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)));
  }

  static FASTEP_INLINE void AddQuad(__m256i x, const int8_t* w, I32x8 (&acc)[kStripRows]) {
#pragma GCC unroll 8
    for (int r = 0; r < kStripRows; ++r) acc[r] = Accumulate(acc[r], x, BroadcastQuad(w + r * 4));
  }

  // Eight tokens of `quads` quads, those in `large` one input of a pair at a time.
  template <int kSteps>
  static FASTEP_INLINE void AddQuads(const uint8_t* x, const int8_t* w, int32_t quads, uint64_t large,
                                     I32x8 (&acc)[kStripRows]) {
    constexpr int kTileBytes = kSteps * kTileTokenStep * 4;
    const __m256i even = _mm256_set1_epi16(0xff);
    for (int32_t i = 0; i < quads; ++i) {
      const int32_t next_large = large == 0 ? quads : __builtin_ctzll(large);
      for (; i < next_large; ++i) AddQuad(LoadYmm(x + i * kTileBytes), w + i * kQuadBytes, acc);
      if (i == quads) break;
      const __m256i inputs = LoadYmm(x + i * kTileBytes);
      AddQuad(_mm256_and_si256(inputs, even), w + i * kQuadBytes, acc);
      AddQuad(_mm256_andnot_si256(even, inputs), w + i * kQuadBytes, acc);
      large &= large - 1;
    }
  }

  // Elements of WordDot, in its order.
  static FASTEP_INLINE void Widen(const int8_t* w, int32_t quads, int16_t* words) {
    const __m256i order = _mm256_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15,  //
                                           0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
    for (int32_t i = 0; i < quads; ++i, w += kQuadBytes, words += kQuadBytes) {
      const __m256i bytes = _mm256_shuffle_epi8(LoadYmm(w), order);
      StoreYmm(words, _mm256_cvtepi8_epi16(_mm256_castsi256_si128(bytes)));
      StoreYmm(words + kQuadBytes / 2, _mm256_cvtepi8_epi16(_mm256_extracti128_si256(bytes, 1)));
    }
  }

  template <int kSteps>
  static FASTEP_INLINE void AddWords(const uint8_t* x, const int16_t* w, int32_t quads, I32x8 (&acc)[kStripRows]) {
    for (int32_t i = 0; i < quads; ++i, x += kSteps * kTileTokenStep * 4, w += kQuadBytes) {
      const WordDot::Lhs inputs = WordDot::LoadQuad(x);
#pragma GCC unroll 8
      for (int r = 0; r < kStripRows; ++r) {
        acc[r] = WordDot::Accumulate(acc[r], inputs, WordDot::LoadWeights(w + r * 4));
      }
    }
  }

  template <int kSteps>
  static FASTEP_INLINE void MultiplyStrip(const ProductArgs& args, const GroupAt& at) {
    constexpr int kTokens = kSteps * kTileTokenStep;
    const int32_t* init = args.epilogue->acc_init + at.row;
    const int32_t* in = at.in;
    alignas(32) int16_t words[kQuadsAtOnce * kQuadBytes];
    const auto* weights =
        static_cast<const int8_t*>(args.rhs.values) + static_cast<size_t>(at.group) * args.rhs.k_quads * kQuadBytes;
    int32_t quad = 0;
    do {
      const int32_t left = args.rhs.k_quads - quad;
      const int32_t quads = left < kQuadsAtOnce ? left : kQuadsAtOnce;
      const int8_t* w = weights + static_cast<size_t>(quad) * kQuadBytes;
      const uint64_t large = LargeQuads(w, quads);
      const bool widened = __builtin_popcountll(large) > quads / kFewLarge;
      if (widened) Widen(w, quads, words);
      for (int32_t t = 0; t < kTokens; t += kLanes) {
        I32x8 acc[kStripRows];
#pragma GCC unroll 8
        for (int r = 0; r < kStripRows; ++r) {
          acc[r] = in == nullptr ? _mm256_set1_epi32(init[r]) : LoadYmm(in + r * kTokens + t);
        }
        const uint8_t* x = args.lhs + (static_cast<size_t>(quad) * kTokens + t) * 4;
        if (widened) {
          AddWords<kSteps>(x, words, quads, acc);
        } else {
          AddQuads<kSteps>(x, w, quads, large, acc);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kStripRows; ++r) StoreYmm(at.out + r * kTokens + t, acc[r]);
      }
      in = at.out;
      quad += quads;
    } while (quad < args.rhs.k_quads);
  }
};

}  // namespace
}  // namespace fastep
