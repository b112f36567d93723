// The product kernels of the 256-bit tiers: R output rows x V vectors of 8 tokens in registers, one packed block at a
// time.
//
// What a tier says about itself, in a struct `Dot`:
//   Value            element of the packed weights
//   Weights          four weights of one row, in registers
//   Lhs              four inputs of eight tokens, in registers
//   LoadWeights(const Value*)
//   LoadQuad(const uint8_t*)                                                  a quad of eight tokens, for dense and R x
//   4 LoadPlanar<PlanarRun>(const uint8_t* const (&input)[4], Lhs (&out)[2])    16 tokens of four inputs, for 4 x 1
//   Accumulate(I32x8 acc, Lhs, Weights)
//   kRows[RhsKind]          R: rows of a group at once; a divisor of RowsPerGroup
//   kVectors[RhsKind]       largest V that suits the 16 registers; 4 x 1: always 2
//   AddGroup(args, at, acc) only where the packed blocks have a form of their own: takes the place of all but R and V
//   MultiplyStrip(args, at) only where kWholeStrips: takes the place of all but R
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

// Weights of a whole encoder stand in the third cache or beyond, and the hardware reads ahead only to the end of a 4 KB
// page.
constexpr size_t kAheadBytes = 2048;
FASTEP_INLINE void FetchAhead(const void* p) { _mm_prefetch(static_cast<const char*>(p) + kAheadBytes, _MM_HINT_T0); }

// Some or all rows of a group at one run of tokens.
struct GroupAt {
  int32_t group;
  int32_t part;       // first of the rows inside the group
  int32_t row;        // the same, counted in the layer
  int32_t token;      // first token of the run
  const int32_t* in;  // sums of an earlier K-block [rows][tokens]; null: start from acc_init
  int32_t* out;       // [rows][tokens]
};

// acc += x * w of every row; the weights are read row by row.
template <class Dot, int kRows, int kVectors>
FASTEP_INLINE void AddRows(const typename Dot::Value* w, const typename Dot::Lhs (&x)[kVectors],
                           I32x8 (&acc)[kRows][kVectors]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const typename Dot::Weights weights = Dot::LoadWeights(w + r * 4);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[r][v] = Dot::Accumulate(acc[r][v], x[v], weights);
  }
}

// Adds one packed block; `j` counts the blocks of the group. kSteps: tokens / 16 of the tile.
//
// The side with more registers is read one at a time: with four rows or more the weights, with fewer the inputs.
template <class Dot, RhsKind kKind, int kSteps, int kRows, int kVectors>
FASTEP_INLINE void AddQuadBlock(const ProductArgs& args, size_t j, size_t block, int32_t token,
                                const typename Dot::Value* w, I32x8 (&acc)[kRows][kVectors]) {
  constexpr size_t kQuadBytes = size_t{kSteps} * kTileTokenStep * 4;
  const size_t offset = kKind == RhsKind::kDense ? j * kQuadBytes : size_t{args.rhs.index[block]} * kSteps;
  const uint8_t* quad = args.lhs + offset + token * 4;
  if constexpr (kRows >= 4) {
    typename Dot::Lhs x[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) x[v] = Dot::LoadQuad(quad + v * kLanes * 4);
    AddRows<Dot>(w, x, acc);
  } else {
    typename Dot::Weights weights[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) weights[r] = Dot::LoadWeights(w + r * 4);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const typename Dot::Lhs x = Dot::LoadQuad(quad + v * kLanes * 4);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) acc[r][v] = Dot::Accumulate(acc[r][v], x, weights[r]);
    }
  }
}

// Where four inputs of a planar tile stand.
struct Gathered {
  const uint8_t* input[4];
};

template <int kSteps>
FASTEP_INLINE Gathered Gather(const uint8_t* base, const uint16_t* index) {
  return {{base + size_t{index[0]} * kSteps, base + size_t{index[1]} * kSteps, base + size_t{index[2]} * kSteps,
           base + size_t{index[3]} * kSteps}};
}

// The first token of a planar run of which the tokens from `token` on are a part.
template <PlanarRun kRun>
FASTEP_INLINE int32_t RunBegin(int32_t token) {
  return kRun == PlanarRun::kLongHigh ? token - kLongRun / 2 : token;
}

// `token` is where the run starts.
template <class Dot, int kSteps, PlanarRun kRun, int kRows, int kVectors>
FASTEP_INLINE void AddGatherBlock(const ProductArgs& args, size_t block, int32_t token, const typename Dot::Value* w,
                                  I32x8 (&acc)[kRows][kVectors]) {
  static_assert(kVectors == 2, "planar tiles are read 16 tokens at a time");
  typename Dot::Lhs x[kVectors];
  Dot::template LoadPlanar<kRun>(Gather<kSteps>(args.lhs + token, args.rhs.index + block * 4).input, x);
  AddRows<Dot>(w, x, acc);
}

// acc += all blocks of a group.
template <class Dot, RhsKind kKind, int kSteps, PlanarRun kRun, int kRows, int kVectors>
FASTEP_INLINE void AddGroup(const ProductArgs& args, const GroupAt& at, I32x8 (&acc)[kRows][kVectors]) {
  constexpr int kBlockRows = RowsPerGroup(kKind);
  const BlockRange blocks = BlocksOf<kKind>(args.rhs, at.group);
  const auto* w =
      static_cast<const typename Dot::Value*>(args.rhs.values) + (size_t{blocks.begin} * kBlockRows + at.part) * 4;
#pragma GCC unroll 2
  for (size_t block = blocks.begin; block < blocks.end; ++block, w += kBlockRows * 4) {
    FetchAhead(w);
    if constexpr (kKind == RhsKind::k4x1) {
      AddGatherBlock<Dot, kSteps, kRun>(args, block, RunBegin<kRun>(at.token), w, acc);
    } else {
      AddQuadBlock<Dot, kKind, kSteps>(args, block - blocks.begin, block, at.token, w, acc);
    }
  }
}

template <class Dot, RhsKind kKind, int kSteps, int kVectors, PlanarRun kRun = PlanarRun::kShort>
FASTEP_INLINE void MultiplyGroup(const ProductArgs& args, const GroupAt& at) {
  constexpr int kRows = Dot::kRows[static_cast<int>(kKind)];
  constexpr int kTokens = kSteps * kTileTokenStep;
  const int32_t* offset = args.rhs.couple_offset;
  I32x8 acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const I32x8 init = _mm256_set1_epi32(args.epilogue->acc_init[at.row + r]);
    const I32x8 begin = Dot::kCoupled ? _mm256_add_epi32(init, _mm256_set1_epi32(offset[at.row + r])) : init;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) acc[r][v] = at.in == nullptr ? begin : LoadYmm(at.in + r * kTokens + v * kLanes);
  }
  if constexpr (Dot::kCoupled) {
    Dot::template AddGroup<kKind, kSteps, kRun>(args, at, acc);
  } else {
    AddGroup<Dot, kKind, kSteps, kRun>(args, at, acc);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) StoreYmm(at.out + r * kTokens + v * kLanes, acc[r][v]);
  }
}

// Four weights of a row, as bytes, in every 32-bit lane.
FASTEP_INLINE __m256i BroadcastQuad(const int8_t* p) {
  int32_t word;
  __builtin_memcpy(&word, p, sizeof(word));
  return _mm256_set1_epi32(word);
}

// Moves on to the next tokens.
FASTEP_INLINE void Advance(GroupAt& at, int32_t tokens) {
  at.token += tokens;
  at.out += tokens;
  if (at.in != nullptr) at.in += tokens;
}

// The largest number of vectors, at most `most`, that divides a tile.
constexpr int VectorsAtOnce(int tile_vectors, int most) {
  return tile_vectors % most == 0 ? most : VectorsAtOnce(tile_vectors, most - 1);
}

// All tokens of one group.
template <class Dot, RhsKind kKind, int kSteps>
FASTEP_INLINE void MultiplyTokens(const ProductArgs& args, GroupAt at) {
  constexpr int kTokens = kSteps * kTileTokenStep;
  constexpr int kVectors = VectorsAtOnce(kTokens / kLanes, Dot::kVectors[static_cast<int>(kKind)]);
  for (; at.token < kTokens; Advance(at, kVectors * kLanes)) MultiplyGroup<Dot, kKind, kSteps, kVectors>(args, at);
}

// The same for planar tiles: both halves of each long run, then a short one.
template <class Dot, int kSteps>
FASTEP_INLINE void GatherTokens(const ProductArgs& args, GroupAt at) {
  constexpr int kTokens = kSteps * kTileTokenStep;
  while (at.token + kLongRun <= kTokens) {
    MultiplyGroup<Dot, RhsKind::k4x1, kSteps, 2, PlanarRun::kLongLow>(args, at);
    Advance(at, kLongRun / 2);
    MultiplyGroup<Dot, RhsKind::k4x1, kSteps, 2, PlanarRun::kLongHigh>(args, at);
    Advance(at, kLongRun / 2);
  }
  if constexpr (kTokens % kLongRun != 0) MultiplyGroup<Dot, RhsKind::k4x1, kSteps, 2>(args, at);
}

// Strips of kStripRows rows: sums into a buffer, from there through the epilogue. Sums that are the output, or that
// another K-block continues, go straight to their place. `args`: a copy, which no store of sums can change.
template <class Dot, RhsKind kKind, int kSteps>
void ProductOfWidth(const ProductArgs args) {
  constexpr int kTokens = kSteps * kTileTokenStep;
  constexpr int kGroupRows = RowsPerGroup(kKind);
  alignas(64) int32_t buffer[kStripRows * kTokens];
  const Epilogue& e = *args.epilogue;
  const bool plain = e.kind == OutputKind::kInt32 && e.rhs_zero_point == nullptr;
  const StoreRowsFn store = args.last && !plain ? ChooseStoreRows(e) : nullptr;
  const size_t out_row_bytes = OutputBytes(e.kind) * kTokens;

  for (int32_t group = args.group_begin; group < args.group_end; group += kStripRows / kGroupRows) {
    const int32_t row = group * kGroupRows;
    const int32_t out_row = row - args.group_begin * kGroupRows;
    int32_t* partial = args.partial == nullptr ? nullptr : args.partial + static_cast<size_t>(out_row) * kTokens;
    uint8_t* out = static_cast<uint8_t*>(args.out) + out_row * out_row_bytes;
    int32_t* sums = !args.last ? partial : plain ? reinterpret_cast<int32_t*>(out) : buffer;
    for (int32_t r = 0; r < kStripRows; r += Dot::kRows[static_cast<int>(kKind)]) {
      const int32_t* in = args.first ? nullptr : partial + r * kTokens;
      const GroupAt at = {group + r / kGroupRows, r % kGroupRows, row + r, 0, in, sums + r * kTokens};
      if constexpr (Dot::kWholeStrips) {
        Dot::template MultiplyStrip<kSteps>(args, at);
      } else if constexpr (kKind == RhsKind::k4x1) {
        GatherTokens<Dot, kSteps>(args, at);
      } else {
        MultiplyTokens<Dot, kKind, kSteps>(args, at);
      }
    }
    for (int32_t r = 0; store != nullptr && r < kStripRows; r += kEpilogueRows) {
      store(e, sums + r * kTokens, row + r, kTokens, out + r * out_row_bytes);
    }
  }
}

// The width is a constant inside, so that an index needs no multiplication.
template <class Dot, RhsKind kKind>
void Product(const ProductArgs* args) {
  switch (args->tokens / kTileTokenStep) {
    case 1:
      return ProductOfWidth<Dot, kKind, 1>(*args);
    case 2:
      return ProductOfWidth<Dot, kKind, 2>(*args);
    case 3:
      return ProductOfWidth<Dot, kKind, 3>(*args);
    default:
      return ProductOfWidth<Dot, kKind, 4>(*args);
  }
}

}  // namespace
}  // namespace fastep
