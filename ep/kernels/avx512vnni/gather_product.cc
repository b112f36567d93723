// 4x1 blocks: four inputs, anywhere, of four consecutive outputs. Planar rows are gathered and interleaved into quads
// in registers.
#include "kernels/avx512vnni/epilogue.h"
#include "kernels/avx512vnni/kernels.h"

namespace fastep::avx512vnni {
namespace {

// Rows of four inputs to V vectors [16 tokens][4 inputs]. A planar row keeps the four tokens of 32-bit lane 4 L + v of
// its 64 bytes where the interleave puts them into 128-bit lane L of vector v (pack.cc), so narrower tiles need only
// the lower interleaves.
template <int V>
FASTEP_INLINE void Interleave(const uint8_t* lhs, const uint16_t* index, U8x64 (&quads)[V]) {
  constexpr size_t kScale = kPlanarRowBytes / kTileTokenStep;
  U8x64 x[4];
  FASTEP_UNROLL
  for (int i = 0; i < 4; ++i) x[i] = Load(lhs + index[i] * kScale);
  const __m512i lo01 = _mm512_unpacklo_epi8(x[0], x[1]), lo23 = _mm512_unpacklo_epi8(x[2], x[3]);
  quads[0] = _mm512_unpacklo_epi16(lo01, lo23);
  if constexpr (V > 1) quads[1] = _mm512_unpackhi_epi16(lo01, lo23);
  if constexpr (V > 2) {
    const __m512i hi01 = _mm512_unpackhi_epi8(x[0], x[1]), hi23 = _mm512_unpackhi_epi8(x[2], x[3]);
    quads[2] = _mm512_unpacklo_epi16(hi01, hi23);
    if constexpr (V > 3) quads[3] = _mm512_unpackhi_epi16(hi01, hi23);
  }
}

template <int V>
FASTEP_INLINE void MultiplyBlock(const U8x64 (&x)[V], const int8_t* w, I32x16 (&acc)[4][V]) {
  FASTEP_UNROLL
  for (int r = 0; r < 4; ++r) {
    const __m512i wr = Broadcast32(w + 4 * r);
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) DotAccumulate<false>(acc[r][v], x[v], wr);
  }
}

// Each block is gathered before the products of the block before it, the first of a row group before the outputs of the
// group before: products that wait for no load find both of their ports free sooner (4 to 9 % of the time). The one
// after the last block is not used; its index is readable.
template <int V>
void ProductOfWidth(const ProductArgs& args) {
  const Output output = OutputOf(args, 4, false);
  const uint32_t* group_ptr = args.rhs.group_ptr + args.group_begin;
  const uint16_t* index = args.rhs.index + size_t{*group_ptr} * 4;
  const auto* values = static_cast<const int8_t*>(args.rhs.values) + size_t{*group_ptr} * 16;
  const uint8_t* lhs = args.lhs;
  const int32_t rows = (args.group_end - args.group_begin) * 4;
  size_t count = group_ptr[1] - group_ptr[0];
  U8x64 x[V], next[V];
  Interleave<V>(lhs, index, x);
  for (int32_t row = 0; row < rows; row += 4) {
    I32x16 acc[4][V];
    Begin<4, V>(output, row, acc);
    const int8_t* const end = values + count * 16;
    for (; values != end; values += 16) {
      FetchAhead(values, kSparseAheadBytes);
      FetchAhead(index, kSparseAheadBytes / 2);
      index += 4;
      Interleave<V>(lhs, index, next);
      MultiplyBlock<V>(x, values, acc);
      FASTEP_UNROLL
      for (int v = 0; v < V; ++v) x[v] = next[v];
    }
    ++group_ptr;
    count = group_ptr[1] - group_ptr[0];
    Finish<false, V>(output, row, acc);
  }
}

}  // namespace

void Product4x1(const ProductArgs* args) {
  switch (args->tokens / kLanes) {
    case 1:
      return ProductOfWidth<1>(*args);
    case 2:
      return ProductOfWidth<2>(*args);
    case 3:
      return ProductOfWidth<3>(*args);
    default:
      return ProductOfWidth<4>(*args);
  }
}

}  // namespace fastep::avx512vnni
