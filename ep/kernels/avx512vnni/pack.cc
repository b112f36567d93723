// Row-major activations to tiles and back. All features of 16 tokens, then the next: more rows at a time are more pages
// than the address cache for stores holds.
#include "kernels/avx512vnni/kernels.h"
#include "kernels/avx512vnni/transpose.h"

namespace fastep::avx512vnni {
namespace {

constexpr int kChunkQuads = 16;  // 64 bytes of every row

struct Source {
  const uint8_t* x;
  size_t stride_bytes;
  int32_t m, k;
  uint8_t flip;
};

// 16 tokens x 16 quads, of which quads [quad, quad_end) are stored, at out + i * quad_stride.
FASTEP_INLINE void PackSquare(const Source& source, int32_t token, int32_t quad, int32_t quad_end, size_t quad_stride,
                              uint8_t* out) {
  const __mmask64 inputs = LowBits64(int64_t{source.k} - int64_t{quad} * 4);
  const __m512i flip = _mm512_maskz_set1_epi8(inputs, static_cast<char>(source.flip));
  const uint8_t* x = source.x + token * source.stride_bytes + size_t(quad) * 4;
  __m512i r[16];
  FASTEP_UNROLL
  for (int t = 0; t < 16; ++t) {
    r[t] = _mm512_setzero_si512();
    if (token + t < source.m)
      r[t] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(inputs, x + t * source.stride_bytes), flip);
  }
  Transpose16x16(r);
  const int32_t count = quad_end - quad;
  FASTEP_UNROLL
  for (int q = 0; q < kChunkQuads; ++q) {
    if (q < count) Store(out + q * quad_stride, r[q]);
  }
}

// One quad of 64 tokens to four planar rows. Row c, 128-bit lane L, word v: input c of tokens 16 v + 4 L .. + 3, the
// order that the interleave of gather_product.cc turns back.
// The quad may be narrower, of V vectors; what is missing is 0.
template <int V>
FASTEP_INLINE void StorePlanarRows(const uint8_t* quad, uint8_t* out) {
  const __m512i transpose = _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400);
  __m512i v[4];
  FASTEP_UNROLL
  for (int i = 0; i < 4; ++i) {
    v[i] = i < V ? _mm512_shuffle_epi8(Load(quad + 64 * i), transpose) : _mm512_setzero_si512();
  }
  const __m512i lo01 = _mm512_unpacklo_epi32(v[0], v[1]), hi01 = _mm512_unpackhi_epi32(v[0], v[1]);
  const __m512i lo23 = _mm512_unpacklo_epi32(v[2], v[3]), hi23 = _mm512_unpackhi_epi32(v[2], v[3]);
  Store(out, _mm512_unpacklo_epi64(lo01, lo23));
  Store(out + kPlanarRowBytes, _mm512_unpackhi_epi64(lo01, lo23));
  Store(out + 2 * kPlanarRowBytes, _mm512_unpacklo_epi64(hi01, hi23));
  Store(out + 3 * kPlanarRowBytes, _mm512_unpackhi_epi64(hi01, hi23));
}

template <int V>
void PlanarFromQuadOfWidth(const uint8_t* tile, int32_t quads, uint8_t* out) {
  for (int32_t q = 0; q < quads; ++q)
    StorePlanarRows<V>(tile + size_t(q) * (64 * V), out + size_t(q) * 4 * kPlanarRowBytes);
}

}  // namespace

void PackQuad(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
              int32_t tokens, uint8_t flip, uint8_t* out) {
  const Source source{x, stride_bytes, m, k, flip};
  const size_t quad_stride = size_t(tokens) * 4;
  for (int32_t quad = quad_begin; quad < quad_end; quad += kChunkQuads, out += kChunkQuads * quad_stride) {
    for (int32_t token = 0; token < tokens; token += 16) {
      PackSquare(source, token, quad, quad_end, quad_stride, out + token * 4);
    }
  }
}

// Planar rows are 64 bytes whatever the width of the tile.
void PackPlanar(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
                int32_t tokens, uint8_t flip, uint8_t* out) {
  constexpr size_t kQuadStride = kMaxTileTokens * 4;
  const Source source{x, stride_bytes, m, k, flip};
  alignas(64) uint8_t quads[kChunkQuads * kQuadStride];
  for (size_t i = 0; i < sizeof quads; i += 64) Store(quads + i, _mm512_setzero_si512());
  for (int32_t quad = quad_begin; quad < quad_end; quad += kChunkQuads) {
    for (int32_t token = 0; token < tokens; token += 16) {
      PackSquare(source, token, quad, quad_end, kQuadStride, quads + token * 4);
    }
    for (int32_t q = 0; q < kChunkQuads && quad + q < quad_end; ++q, out += 4 * kPlanarRowBytes) {
      StorePlanarRows<4>(quads + q * kQuadStride, out);
    }
  }
}

void PlanarFromQuad(const uint8_t* tile, int32_t quads, int32_t tokens, uint8_t* out) {
  switch (tokens / kLanes) {
    case 1:
      return PlanarFromQuadOfWidth<1>(tile, quads, out);
    case 2:
      return PlanarFromQuadOfWidth<2>(tile, quads, out);
    case 3:
      return PlanarFromQuadOfWidth<3>(tile, quads, out);
    default:
      return PlanarFromQuadOfWidth<4>(tile, quads, out);
  }
}

void UnpackQuad(const uint8_t* tile, int32_t rows, int32_t m, int32_t tokens, uint8_t* y, size_t stride_bytes) {
  for (int32_t token = 0; token < m; token += 16) {
    for (int32_t row = 0; row < rows; row += 64) {
      const __mmask64 columns = LowBits64(rows - row);
      __m512i r[16];
      FASTEP_UNROLL
      for (int q = 0; q < 16; ++q) {
        r[q] = _mm512_setzero_si512();
        if (row + q * 4 < rows) r[q] = Load(tile + (size_t(row / 4 + q) * tokens + token) * 4);
      }
      Transpose16x16(r);
      FASTEP_UNROLL
      for (int t = 0; t < 16; ++t) {
        if (token + t < m) _mm512_mask_storeu_epi8(y + (token + t) * stride_bytes + row, columns, r[t]);
      }
    }
  }
}

void UnpackF32(const float* tile, int32_t rows, int32_t m, int32_t tokens, float* y, size_t stride_bytes) {
  auto* bytes = reinterpret_cast<uint8_t*>(y);
  for (int32_t token = 0; token < m; token += 16) {
    for (int32_t row = 0; row < rows; row += 16) {
      const __mmask16 columns = LowBits16(rows - row);
      __m512i r[16];
      FASTEP_UNROLL
      for (int i = 0; i < 16; ++i) {
        r[i] = _mm512_setzero_si512();
        if (row + i < rows) r[i] = Load(tile + size_t(row + i) * tokens + token);
      }
      Transpose16x16(r);
      FASTEP_UNROLL
      for (int t = 0; t < 16; ++t) {
        if (token + t < m)
          _mm512_mask_storeu_epi32(bytes + (token + t) * stride_bytes + size_t(row) * 4, columns, r[t]);
      }
    }
  }
}

void PackF32(const float* x, size_t stride_bytes, int32_t rows, int32_t m, int32_t tokens, float* tile) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(x);
  for (int32_t token = 0; token < tokens; token += 16) {
    for (int32_t row = 0; row < rows; row += 16) {
      const __mmask16 columns = LowBits16(rows - row);
      __m512i r[16];
      FASTEP_UNROLL
      for (int t = 0; t < 16; ++t) {
        r[t] = _mm512_setzero_si512();
        if (token + t < m)
          r[t] = _mm512_maskz_loadu_epi32(columns, bytes + (token + t) * stride_bytes + size_t(row) * 4);
      }
      Transpose16x16(r);
      FASTEP_UNROLL
      for (int i = 0; i < 16; ++i) {
        if (row + i < rows) Store(tile + size_t(row + i) * tokens + token, r[i]);
      }
    }
  }
}

}  // namespace fastep::avx512vnni
