// Blocks in couples (RhsView::couple_offset).
//
// vpmaddubsw multiplies bytes as they stand, but saturates where two products leave 16 bits, as 2 * 255 * 127 does.
// Core chooses inputs that are taken as 255 - x, which turns the sign of their weights, and finds a block for each
// block, such that even the sum over both fits. Inputs of 4 x 1 are put together as they fit, without a mask.
//
//   acc += vpmaddwd(vpmaddubsw(x, w) + vpmaddubsw(x' ^ mask, w'), 1)
//
// A couple of 4 x 4 blocks of 16 tokens takes 16 vpmaddubsw, 8 vpaddw, 8 vpmaddwd, 8 vpaddd and 2 vpxor for 512
// products: 36.6 per cycle at three vector instructions per cycle.
#pragma once

#include "kernels/generic/ymm_product.h"

namespace fastep {
namespace {

alignas(32) constexpr int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

struct CoupleDot {
  static constexpr bool kCoupled = true;
  static constexpr bool kWholeStrips = false;
  // dense, 1x4, 2x4, 4x4, 8x4, 4x1
  static constexpr int kRows[kRhsKinds] = {0, 1, 2, 4, 8, 4};
  static constexpr int kVectors[kRhsKinds] = {0, 8, 4, 2, 1, 2};

  static FASTEP_INLINE I32x8 Accumulate(I32x8 acc, __m256i xa, __m256i wa, __m256i xb, __m256i wb) {
    const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(xa, wa), _mm256_maddubs_epi16(xb, wb));
    // The ones from memory: where they take a register, compilers keep one of the sums on the stack.
    __m256i sums;
    asm("vpmaddwd %2, %1, %0" : "=x"(sums) : "x"(pairs), "m"(kOnes));
    return _mm256_add_epi32(acc, sums);
  }

  // The weights are read row by row, `w` at the first.
  template <int kRows, int kVectors>
  static FASTEP_INLINE void AddRows(const __m256i (&xa)[kVectors], const __m256i (&xb)[kVectors], const int8_t* w,
                                    I32x8 (&acc)[kRows][kVectors]) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m256i wa = BroadcastQuad(w + r * 8), wb = BroadcastQuad(w + r * 8 + 4);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[r][v] = Accumulate(acc[r][v], xa[v], wa, xb[v], wb);
    }
  }

  // Adds one couple of R x 4 blocks: inputs from `a` and `b` on, `w` at the first of the rows. The side with more
  // registers is read one at a time, as in AddQuadBlock.
  template <int kRows, int kVectors>
  static FASTEP_INLINE void AddQuads(const uint8_t* a, const uint8_t* b, __m256i mask, const int8_t* w,
                                     I32x8 (&acc)[kRows][kVectors]) {
    if constexpr (kRows >= 4) {
      __m256i xa[kVectors], xb[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        xa[v] = LoadYmm(a + v * kLanes * 4);
        xb[v] = _mm256_xor_si256(LoadYmm(b + v * kLanes * 4), mask);
      }
      AddRows(xa, xb, w, acc);
    } else {
      __m256i wa[kRows], wb[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        wa[r] = BroadcastQuad(w + r * 8);
        wb[r] = BroadcastQuad(w + r * 8 + 4);
      }
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const __m256i xa = LoadYmm(a + v * kLanes * 4);
        const __m256i xb = _mm256_xor_si256(LoadYmm(b + v * kLanes * 4), mask);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) acc[r][v] = Accumulate(acc[r][v], xa, wa[r], xb, wb[r]);
      }
    }
  }

  // The same of 4 x 1 blocks, gathered; they have no mask, whose register holds a sum here.
  template <int kSteps, PlanarRun kRun, int kRows, int kVectors>
  static FASTEP_INLINE void AddGathered(const uint8_t* x, const uint16_t* index, const int8_t* w,
                                        I32x8 (&acc)[kRows][kVectors]) {
    __m256i xa[kVectors], xb[kVectors];
    QuadFromPlanar<kRun>(Gather<kSteps>(x, index).input, xa);
    QuadFromPlanar<kRun>(Gather<kSteps>(x, index + 4).input, xb);
    AddRows(xa, xb, w, acc);
  }

  template <RhsKind kKind, int kSteps, PlanarRun kRun, int kRows, int kVectors>
  static FASTEP_INLINE void AddGroup(const ProductArgs& args, const GroupAt& at, I32x8 (&acc)[kRows][kVectors]) {
    constexpr bool kPlanar = kKind == RhsKind::k4x1;
    constexpr int kBlockRows = RowsPerGroup(kKind), kIndices = kPlanar ? 4 : 1;
    constexpr size_t kCoupleBytes = kBlockRows * 8 + CoupleMaskBytes(kKind);
    const BlockRange blocks = BlocksOf<kKind>(args.rhs, at.group);
    const uint8_t* x = args.lhs + (kPlanar ? RunBegin<kRun>(at.token) : at.token * 4);
    const uint16_t* index = args.rhs.index + size_t{blocks.begin} * kIndices;
    const uint16_t* end = args.rhs.index + size_t{blocks.end} * kIndices;
    const auto* couple = static_cast<const int8_t*>(args.rhs.values) + blocks.begin / 2 * kCoupleBytes;
    for (; index != end; index += 2 * kIndices, couple += kCoupleBytes) {
      FetchAhead(couple);
      const int8_t* w = couple + at.part * 8;
      if constexpr (kPlanar) {
        AddGathered<kSteps, kRun>(x, index, w, acc);
      } else {
        AddQuads(x + size_t{index[0]} * kSteps, x + size_t{index[1]} * kSteps, BroadcastQuad(couple + kBlockRows * 8),
                 w, acc);
      }
    }
  }
};

}  // namespace
}  // namespace fastep
