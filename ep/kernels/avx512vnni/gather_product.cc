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
FASTEP_INLINE void MultiplyBlock(const uint8_t* lhs, const uint16_t* index, const int8_t* w, I32x16 (&acc)[4][V]) {
  U8x64 x[V];
  Interleave<V>(lhs, index, x);
  FASTEP_UNROLL
  for (int r = 0; r < 4; ++r) {
    const __m512i wr = Broadcast32(w + 4 * r);
    FASTEP_UNROLL
    for (int v = 0; v < V; ++v) acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], x[v], wr);
  }
}

template <int V>
void ProductOfWidth(const ProductArgs& args) {
  const RhsView& rhs = args.rhs;
  for (int32_t group = args.group_begin; group < args.group_end; ++group) {
    const int32_t row = group * 4, out_row = (group - args.group_begin) * 4;
    I32x16 acc[4][V];
    Begin<4, V>(args, row, out_row, acc);
    const size_t begin = rhs.group_ptr[group], end = rhs.group_ptr[group + 1];
    const uint16_t* index = rhs.index + begin * 4;
    const auto* w = static_cast<const int8_t*>(rhs.values) + begin * 16;
    for (size_t j = begin; j < end; ++j, index += 4, w += 16) MultiplyBlock<V>(args.lhs, index, w, acc);
    Finish<V>(args, row, out_row, acc);
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
