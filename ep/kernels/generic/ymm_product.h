// The product kernels of the 256-bit tiers: R output rows x V vectors of 8 tokens in registers, one packed block at a time.
//
// What a tier says about itself, in a struct `Dot`:
//   Value            element of the packed weights
//   Weights          four weights of one row, in registers
//   Lhs              four inputs of eight tokens, in registers
//   LoadWeights(const Value*)
//   LoadQuad(const uint8_t*)                                          a quad of eight tokens, for dense and R x 4
//   LoadPlanar(const uint8_t* const (&input)[4], Lhs (&out)[2])       16 tokens of four inputs, for 4 x 1
//   Accumulate(I32x8 acc, Lhs, Weights)
//   kVectors[RhsKind]                                                 V that suits the 16 registers; 4 x 1: always 2
#pragma once

#include "kernels/generic/ymm_epilogue.h"

namespace fastep {
namespace {

// The rows that go through the epilogue together; a multiple of every group, a divisor of kRowStep.
constexpr int kStripRows = 8;

// First block of a group, and one past its last.
struct BlockRange {
  uint32_t begin, end;
};

template <RhsKind kKind>
FASTEP_INLINE BlockRange BlocksOf(const RhsView& rhs, int32_t group) {
  if (kKind != RhsKind::kDense) return {rhs.group_ptr[group], rhs.group_ptr[group + 1]};
  const uint32_t begin = static_cast<uint32_t>(group) * static_cast<uint32_t>(rhs.k_quads);
  return {begin, begin + static_cast<uint32_t>(rhs.k_quads)};
}

// The inputs of a block for `kVectors` vectors of tokens, starting at `token`; `j` counts the blocks of the group.
template <class Dot, RhsKind kKind, int kVectors>
FASTEP_INLINE void LoadInputs(const ProductArgs& args, size_t j, size_t block, int32_t token,
                              typename Dot::Lhs (&x)[kVectors]) {
  const size_t scale = static_cast<size_t>(args.tokens / kTileTokenStep);
  if constexpr (kKind == RhsKind::k4x1) {
    static_assert(kVectors == 2, "planar tiles are read 16 tokens at a time");
    const uint16_t* index = args.rhs.index + block * 4;
    const uint8_t* base = args.lhs + token;
    const uint8_t* const inputs[4] = {base + index[0] * scale, base + index[1] * scale, base + index[2] * scale,
                                      base + index[3] * scale};
    Dot::LoadPlanar(inputs, x);
  } else {
    const size_t offset =
        kKind == RhsKind::kDense ? j * static_cast<size_t>(args.tokens) * 4 : args.rhs.index[block] * scale;
    const uint8_t* quad = args.lhs + offset + token * 4;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) x[v] = Dot::LoadQuad(quad + v * kLanes * 4);
  }
}

// sums[r][token ...] of one group, kVectors vectors wide; `row_stride` counts elements.
template <class Dot, RhsKind kKind, int kVectors>
FASTEP_INLINE void MultiplyGroup(const ProductArgs& args, int32_t group, int32_t token, int32_t* sums,
                                 int32_t row_stride) {
  constexpr int kRows = RowsPerGroup(kKind);
  const BlockRange blocks = BlocksOf<kKind>(args.rhs, group);
  const auto* w = static_cast<const typename Dot::Value*>(args.rhs.values) + static_cast<size_t>(blocks.begin) * kRows * 4;

  I32x8 acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[r][v] = LoadYmm(sums + r * row_stride + v * kLanes);
  }
  for (size_t block = blocks.begin; block < blocks.end; ++block, w += kRows * 4) {
    typename Dot::Lhs x[kVectors];
    LoadInputs<Dot, kKind, kVectors>(args, block - blocks.begin, block, token, x);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const typename Dot::Weights weights = Dot::LoadWeights(w + r * 4);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[r][v] = Dot::Accumulate(acc[r][v], x[v], weights);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) StoreYmm(sums + r * row_stride + v * kLanes, acc[r][v]);
  }
}

// All tokens of one group: as many steps of the tier's V as fit, the rest in steps of 16 tokens.
template <class Dot, RhsKind kKind>
FASTEP_INLINE void MultiplyTokens(const ProductArgs& args, int32_t group, int32_t* sums) {
  constexpr int kVectors = Dot::kVectors[static_cast<int>(kKind)];
  constexpr int kRest = kVectors == 1 ? 1 : kTileTokenStep / kLanes;
  int32_t token = 0;
  for (; token + kVectors * kLanes <= args.tokens; token += kVectors * kLanes) {
    MultiplyGroup<Dot, kKind, kVectors>(args, group, token, sums + token, args.tokens);
  }
  if constexpr (kVectors != kRest) {
    for (; token < args.tokens; token += kRest * kLanes) {
      MultiplyGroup<Dot, kKind, kRest>(args, group, token, sums + token, args.tokens);
    }
  }
}

// What the sums of a strip start from: acc_init of each row, or what an earlier K-block left in `partial`.
FASTEP_INLINE void BeginStrip(const ProductArgs& args, int32_t row, const int32_t* partial, int32_t* sums) {
  if (!args.first) {
    if (partial == sums) return;
    for (int32_t i = 0; i < kStripRows * args.tokens; i += kLanes) StoreYmm(sums + i, LoadYmm(partial + i));
    return;
  }
  for (int r = 0; r < kStripRows; ++r) {
    const I32x8 init = _mm256_set1_epi32(args.epilogue->acc_init[row + r]);
    for (int32_t t = 0; t < args.tokens; t += kLanes) StoreYmm(sums + r * args.tokens + t, init);
  }
}

template <class Dot, RhsKind kKind>
void Product(const ProductArgs* args) {
  constexpr int kGroupRows = RowsPerGroup(kKind);
  constexpr int kGroups = kStripRows / kGroupRows;
  alignas(64) int32_t buffer[kStripRows * kMaxTileTokens];
  const Epilogue& e = *args->epilogue;
  const StoreRowsFn store = ChooseStoreRows(e);
  const size_t row_bytes = OutputBytes(e.kind) * static_cast<size_t>(args->tokens);
  int32_t* partial = args->partial;
  uint8_t* out = static_cast<uint8_t*>(args->out);

  for (int32_t group = args->group_begin; group < args->group_end; group += kGroups) {
    const int32_t row = group * kGroupRows;
    int32_t* sums = args->last ? buffer : partial;
    BeginStrip(*args, row, partial, sums);
    for (int g = 0; g < kGroups; ++g) {
      MultiplyTokens<Dot, kKind>(*args, group + g, sums + g * kGroupRows * args->tokens);
    }
    if (args->last) {
      for (int r = 0; r < kStripRows; r += kEpilogueRows) {
        store(e, sums + r * args->tokens, row + r, args->tokens, out + r * row_bytes);
      }
    }
    if (partial != nullptr) partial += kStripRows * args->tokens;
    out += kStripRows * row_bytes;
  }
}

}  // namespace
}  // namespace fastep
