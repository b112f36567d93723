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

// Where block j of a row group finds its activations.
struct DenseBlocks {
  const uint8_t* lhs;
  template <int V>
  FASTEP_INLINE const uint8_t* At(const DenseBlocks& self, size_t j) {
    return self.lhs + j * (64 * V);
  }
};
struct IndexedBlocks {
  const uint8_t* lhs;
  const uint16_t* index;
  template <int V>
  FASTEP_INLINE const uint8_t* At(const IndexedBlocks& self, size_t j) {
    return self.lhs + size_t{self.index[j]} * V;
  }
};

// acc[r][v] += w[r] . x[v] for one block of R rows.
template <int R, int V>
FASTEP_INLINE void MultiplyBlock(const uint8_t* x, const int8_t* w, I32x16 (&acc)[R][V]) {
  U8x64 xv[V];
  FASTEP_UNROLL
  for (int v = 0; v < V; ++v) xv[v] = Load(x + 64 * v);
  FASTEP_UNROLL
  for (int r = 0; r < R; ++r) {
    const __m512i wr = Broadcast32(w + 4 * r);
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], xv[v], wr);
  }
}

// R rows of a group whose blocks have kBlockRows rows (w: the first of the R). `count` blocks.
template <int R, int V, int kBlockRows, class Blocks>
FASTEP_INLINE void MultiplyGroup(const Blocks& blocks, const int8_t* w, size_t count, I32x16 (&acc)[R][V]) {
  constexpr int kSets = SetsFor(R * V);
  constexpr int kBlockBytes = 4 * kBlockRows;
  if constexpr (kSets == 1) {
    for (size_t j = 0; j < count; ++j, w += kBlockBytes) MultiplyBlock<R, V>(Blocks::template At<V>(blocks, j), w, acc);
  } else {
    I32x16 more[kSets - 1][R][V];
    FASTEP_UNROLL
    for (int s = 0; s < kSets - 1; ++s) {
      FASTEP_UNROLL
      for (int i = 0; i < R * V; ++i) more[s][i / V][i % V] = _mm512_setzero_si512();
    }
    size_t j = 0;
    for (; j + kSets <= count; j += kSets, w += kSets * kBlockBytes) {
      MultiplyBlock<R, V>(Blocks::template At<V>(blocks, j), w, acc);
      FASTEP_UNROLL
      for (int s = 1; s < kSets; ++s) {
        MultiplyBlock<R, V>(Blocks::template At<V>(blocks, j + s), w + s * kBlockBytes, more[s - 1]);
      }
    }
    for (; j < count; ++j, w += kBlockBytes) MultiplyBlock<R, V>(Blocks::template At<V>(blocks, j), w, acc);
    FASTEP_UNROLL
    for (int s = 0; s < kSets - 1; ++s) {
      FASTEP_UNROLL
      for (int i = 0; i < R * V; ++i) {
        acc[i / V][i % V] = _mm512_add_epi32(acc[i / V][i % V], more[s][i / V][i % V]);
      }
    }
  }
}

}  // namespace
}  // namespace fastep::avx512vnni
