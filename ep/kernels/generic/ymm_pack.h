// Between row-major tensors and tiles (256-bit tiers). Everything is a transposition of 8 x 8 words of 32 bits; edges
// go word by word.
#pragma once

#include "kernels/generic/ymm_ops.h"

namespace fastep {
namespace {

// v[i] word j <-> v[j] word i.
FASTEP_INLINE void Transpose8x8(__m256i (&v)[8]) {
  __m256i pair[8], quad[8];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    pair[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
    pair[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    quad[i] = _mm256_unpacklo_epi64(pair[i], pair[i + 2]);
    quad[i + 1] = _mm256_unpackhi_epi64(pair[i], pair[i + 2]);
    quad[i + 2] = _mm256_unpacklo_epi64(pair[i + 1], pair[i + 3]);
    quad[i + 3] = _mm256_unpackhi_epi64(pair[i + 1], pair[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2x128_si256(quad[i], quad[i + 4], 0x20);
    v[i + 4] = _mm256_permute2x128_si256(quad[i], quad[i + 4], 0x31);
  }
}

// A row-major activation tensor.
struct LhsSource {
  const uint8_t* x;
  size_t stride_bytes;
  int32_t m, k;
  uint8_t flip;
};

FASTEP_INLINE uint32_t LoadQuadOf(const LhsSource& src, int32_t token, int32_t quad) {
  uint8_t bytes[4] = {};
  if (token < src.m) {
    const uint8_t* row = src.x + token * src.stride_bytes;
    for (int32_t c = 0; c < 4 && quad * 4 + c < src.k; ++c) bytes[c] = row[quad * 4 + c] ^ src.flip;
  }
  uint32_t word;
  __builtin_memcpy(&word, bytes, 4);
  return word;
}

// v[q] = quad (quad + q) of tokens [token, token + 8).
FASTEP_INLINE void LoadQuads(const LhsSource& src, int32_t token, int32_t quad, __m256i (&v)[8]) {
  if ((quad + 8) * 4 <= src.k) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(src.flip));
#pragma GCC unroll 8
    for (int t = 0; t < 8; ++t) {
      const uint8_t* row = src.x + (token + t) * src.stride_bytes + quad * 4;
      v[t] = token + t < src.m ? _mm256_xor_si256(LoadYmm(row), flip) : _mm256_setzero_si256();
    }
    Transpose8x8(v);
    return;
  }
  for (int q = 0; q < 8; ++q) {
    alignas(32) uint32_t words[8];
    for (int t = 0; t < 8; ++t) words[t] = LoadQuadOf(src, token + t, quad + q);
    v[q] = LoadYmm(words);
  }
}

void PackQuad(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
              int32_t tokens, uint8_t flip, uint8_t* out) {
  const LhsSource src = {x, stride_bytes, m, k, flip};
  for (int32_t quad = quad_begin; quad < quad_end; quad += 8) {
    const int32_t quads = quad_end - quad < 8 ? quad_end - quad : 8;
    for (int32_t token = 0; token < tokens; token += kLanes) {
      __m256i v[8];
      LoadQuads(src, token, quad, v);
      uint8_t* to = out + (static_cast<size_t>(quad - quad_begin) * tokens + token) * 4;
      for (int32_t q = 0; q < quads; ++q) StoreYmm(to + static_cast<size_t>(q) * tokens * 4, v[q]);
    }
  }
}

// Four inputs of 16 tokens: out[c] = input c, the tokens in the order of the four vectors.
FASTEP_INLINE void SplitInputs(const __m128i (&quads)[4], __m128i (&out)[4]) {
  const __m128i by_input = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  __m128i v[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) v[i] = _mm_shuffle_epi8(quads[i], by_input);
  const __m128i lo01 = _mm_unpacklo_epi32(v[0], v[1]), hi01 = _mm_unpackhi_epi32(v[0], v[1]);
  const __m128i lo23 = _mm_unpacklo_epi32(v[2], v[3]), hi23 = _mm_unpackhi_epi32(v[2], v[3]);
  out[0] = _mm_unpacklo_epi64(lo01, lo23);
  out[1] = _mm_unpackhi_epi64(lo01, lo23);
  out[2] = _mm_unpacklo_epi64(hi01, hi23);
  out[3] = _mm_unpackhi_epi64(hi01, hi23);
}

// Eight quads of 16 tokens, as vectors of four tokens: out[q][i] = tokens 4i to 4i + 3.
FASTEP_INLINE void LoadTokenFours(const LhsSource& src, int32_t token, int32_t quad, __m128i (&out)[8][4]) {
  __m256i first[8], second[8];
  LoadQuads(src, token, quad, first);
  LoadQuads(src, token + 8, quad, second);
#pragma GCC unroll 8
  for (int q = 0; q < 8; ++q) {
    out[q][0] = _mm256_castsi256_si128(first[q]);
    out[q][1] = _mm256_extracti128_si256(first[q], 1);
    out[q][2] = _mm256_castsi256_si128(second[q]);
    out[q][3] = _mm256_extracti128_si256(second[q], 1);
  }
}

// One quad, 16 tokens in the order of `fours`, to four rows of a planar tile.
FASTEP_INLINE void StoreInputs(const __m128i (&fours)[4], int32_t row_bytes, uint8_t* out) {
  __m128i inputs[4];
  SplitInputs(fours, inputs);
  for (int c = 0; c < 4; ++c) StoreXmm(out + static_cast<size_t>(c) * row_bytes, inputs[c]);
}

// The order of the tokens: PlanarRun.
void PackPlanar(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
                int32_t tokens, uint8_t flip, uint8_t* out) {
  const LhsSource src = {x, stride_bytes, m, k, flip};
  for (int32_t quad = quad_begin; quad < quad_end; quad += 8) {
    const int32_t quads = quad_end - quad < 8 ? quad_end - quad : 8;
    for (int32_t token = 0; token < tokens;) {
      const bool is_long = token + kLongRun <= tokens;
      __m128i lo[8][4], hi[8][4];
      LoadTokenFours(src, token, quad, lo);
      if (is_long) LoadTokenFours(src, token + 16, quad, hi);
      for (int32_t q = 0; q < quads; ++q) {
        uint8_t* to = out + static_cast<size_t>(quad + q - quad_begin) * 4 * tokens + token;
        if (is_long) {
          StoreInputs({lo[q][0], lo[q][2], hi[q][0], hi[q][2]}, tokens, to);
          StoreInputs({lo[q][1], lo[q][3], hi[q][1], hi[q][3]}, tokens, to + 16);
        } else {
          StoreInputs({lo[q][0], lo[q][2], lo[q][1], lo[q][3]}, tokens, to);
        }
      }
      token += is_long ? kLongRun : 16;
    }
  }
}

// words [word_rows][tokens] -> y[token] words [0, word_rows).
FASTEP_INLINE void UnpackWords(const void* tile, int32_t word_rows, int32_t m, int32_t tokens, void* y,
                               size_t stride_bytes) {
  const uint8_t* in = static_cast<const uint8_t*>(tile);
  uint8_t* out = static_cast<uint8_t*>(y);
  const size_t row_bytes = static_cast<size_t>(tokens) * 4;
  for (int32_t row = 0; row < word_rows; row += 8) {
    const int32_t rows = word_rows - row < 8 ? word_rows - row : 8;
    for (int32_t token = 0; token < m; token += 8) {
      const int32_t count = m - token < 8 ? m - token : 8;
      __m256i v[8];
      for (int32_t r = 0; r < 8; ++r) {
        v[r] = r < rows ? LoadYmm(in + (row + r) * row_bytes + token * 4) : _mm256_setzero_si256();
      }
      Transpose8x8(v);
      for (int32_t t = 0; t < count; ++t) {
        uint8_t* to = out + (token + t) * stride_bytes + row * 4;
        if (rows == 8) {
          StoreYmm(to, v[t]);
        } else {
          alignas(32) uint8_t bytes[32];
          StoreYmm(bytes, v[t]);
          __builtin_memcpy(to, bytes, static_cast<size_t>(rows) * 4);
        }
      }
    }
  }
}

void UnpackQuad(const uint8_t* tile, int32_t rows, int32_t m, int32_t tokens, uint8_t* y, size_t stride_bytes) {
  const int32_t whole = rows / 4;
  UnpackWords(tile, whole, m, tokens, y, stride_bytes);
  const uint8_t* last = tile + static_cast<size_t>(whole) * tokens * 4;
  for (int32_t t = 0; t < m; ++t) {
    for (int32_t r = whole * 4; r < rows; ++r) y[t * stride_bytes + r] = last[t * 4 + r % 4];
  }
}

void UnpackF32(const float* tile, int32_t rows, int32_t m, int32_t tokens, float* y, size_t stride_bytes) {
  UnpackWords(tile, rows, m, tokens, y, stride_bytes);
}

void PackF32(const float* x, size_t stride_bytes, int32_t rows, int32_t m, int32_t tokens, float* tile) {
  const uint8_t* in = reinterpret_cast<const uint8_t*>(x);
  for (int32_t token = 0; token < tokens; token += 8) {
    for (int32_t row = 0; row < rows; row += 8) {
      const int32_t count = rows - row < 8 ? rows - row : 8;
      __m256i v[8];
      for (int32_t t = 0; t < 8; ++t) {
        alignas(32) uint8_t words[32] = {};
        if (token + t < m) __builtin_memcpy(words, in + (token + t) * stride_bytes + row * 4, count * size_t{4});
        v[t] = LoadYmm(words);
      }
      Transpose8x8(v);
      for (int32_t r = 0; r < count; ++r) StoreYmm(tile + static_cast<size_t>(row + r) * tokens + token, v[r]);
    }
  }
}

// The order of the tokens: PlanarRun.
void PlanarFromQuad(const uint8_t* tile, int32_t quads, int32_t tokens, uint8_t* out) {
  for (int32_t quad = 0; quad < quads; ++quad, out += tokens * 4) {
    for (int32_t token = 0; token < tokens;) {
      const uint8_t* four = tile + (static_cast<size_t>(quad) * tokens + token) * 4;
      const auto load = [&](int i) __attribute__((always_inline)) { return LoadXmm(four + i * 16); };
      if (token + kLongRun <= tokens) {
        StoreInputs({load(0), load(2), load(4), load(6)}, tokens, out + token);
        StoreInputs({load(1), load(3), load(5), load(7)}, tokens, out + token + 16);
        token += kLongRun;
      } else {
        StoreInputs({load(0), load(2), load(1), load(3)}, tokens, out + token);
        token += 16;
      }
    }
  }
}

}  // namespace
}  // namespace fastep
