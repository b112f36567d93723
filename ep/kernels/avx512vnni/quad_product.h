// Products on the quad layout: dense and R x 4 blocks.
#pragma once

#include "kernels/avx512vnni/epilogue.h"

namespace fastep::avx512vnni {
namespace {

// A product needs its accumulator 5 cycles later and two start per cycle: with fewer accumulators than this, blocks go
// in turn to several sets of them, which are added up at the end.
constexpr int kMinAccumulators = 10;
constexpr int kMaxAccumulators = 16;

constexpr int SetsFor(int accumulators) {
  int sets = 1;
  while (accumulators * sets < kMinAccumulators && accumulators * (sets + 1) <= kMaxAccumulators) ++sets;
  return sets;
}

// The blocks of a K-block in storage order: a row group's end is the next one's beginning.
template <int V, bool kIndexed>
struct BlockStream {
  const uint8_t* lhs;
  const uint16_t* index;
  const int8_t* values;
};

// Where the activations of block j, counted from the stream's place, stand.
template <int V, bool kIndexed>
FASTEP_INLINE const uint8_t* LhsOf(const BlockStream<V, kIndexed>& stream, size_t j) {
  return stream.lhs + (kIndexed ? size_t{stream.index[j]} * V : j * (64 * V));
}

// A tile is as large as the nearest cache or larger, and products that were issued for a load that then misses it are
// issued again. Asking for activations this many blocks early gains 1 % of an encoder of 4x4 weights, 3 to 6 % while
// the core's other thread needs that cache, too. Blocks of fewer rows have no load to spare.
constexpr size_t kLhsAheadBlocks = 12;
template <int V, int kBlockRows>
FASTEP_INLINE void FetchLhsAhead(const BlockStream<V, true>& stream) {
  if constexpr (kBlockRows >= 4) {
    const uint8_t* x = LhsOf(stream, kLhsAheadBlocks);
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) FetchAhead(x, 64 * v);
  }
}

// acc[r][v] += w[r] . x[v] for one block of R rows.
template <bool kInPlace, int R, int V>
FASTEP_INLINE void MultiplyBlock(const uint8_t* x, const int8_t* w, I32x16 (&acc)[R][V]) {
  U8x64 xv[V];
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) xv[v] = Load(x + 64 * v);
  FASTEP_UNROLL
  for (int r = 0; r < R; ++r) {
    const __m512i wr = Broadcast32(w + 4 * r);
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) DotAccumulate<kInPlace>(acc[r][v], xv[v], wr);
  }
}

template <int V, bool kIndexed>
FASTEP_INLINE void Advance(BlockStream<V, kIndexed>& stream, size_t blocks, size_t block_bytes) {
  if (kIndexed) {
    stream.index += blocks;
  } else {
    stream.lhs += blocks * (64 * V);
  }
  stream.values += blocks * block_bytes;
}

// acc += `count` blocks, R rows of each, from the stream's place on. Blocks have kBlockRows rows; the stream points to
// the first of the R.
template <int R, int V, int kBlockRows, bool kIndexed>
FASTEP_INLINE void MultiplyGroup(BlockStream<V, kIndexed> stream, size_t count, I32x16 (&acc)[R][V]) {
  constexpr int kSets = SetsFor(R * V);
  constexpr int kBlockBytes = 4 * kBlockRows;
  I32x16 more[kSets][R][V];  // the first is not used
  FASTEP_UNROLL
  for (int i = R * V; i < kSets * R * V; ++i) more[i / (R * V)][i / V % R][i % V] = _mm512_setzero_si512();
  const int8_t* const end = stream.values + count * kBlockBytes;
  // What does not fill all sets comes first: with a loop behind the main loop, gcc 12 copies accumulators in it.
  const int8_t* const sets_begin = stream.values + count % kSets * kBlockBytes;
  while (kSets > 1 && stream.values != sets_begin) {
    MultiplyBlock<(kSets > 1), R, V>(LhsOf(stream, 0), stream.values, acc);
    Advance(stream, 1, kBlockBytes);
  }
  while (stream.values != end) {
    FetchAhead(stream.values, kIndexed ? kSparseAheadBytes : kDenseAheadBytes);
    if constexpr (kIndexed) FetchLhsAhead<V, kBlockRows>(stream);
    MultiplyBlock<(kSets > 1), R, V>(LhsOf(stream, 0), stream.values, acc);
    FASTEP_UNROLL
    for (int s = 1; s < kSets; ++s) {
      MultiplyBlock<(kSets > 1), R, V>(LhsOf(stream, s), stream.values + s * kBlockBytes, more[s]);
    }
    Advance(stream, kSets, kBlockBytes);
  }
  FASTEP_UNROLL
  for (int i = R * V; i < kSets * R * V; ++i) {
    I32x16& sum = acc[i / V % R][i % V];
    sum = _mm512_add_epi32(sum, more[i / (R * V)][i / V % R][i % V]);
  }
}

}  // namespace
}  // namespace fastep::avx512vnni
