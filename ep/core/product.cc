#include "core/product.h"

#include <algorithm>

namespace fastep {
namespace {

// Bytes of weights of a pass: they share a second cache of 1 or 2 MB with a tile and its outputs.
constexpr int64_t kPassBytes = 768 * 1024;
// Their partial sums and outputs must stay cached, too.
constexpr int64_t kMaxPassRows = 1024;

// Bytes of one quad of inputs in a tile.
size_t QuadBytes(const KernelTable& kernels, RhsKind kind, int32_t tokens) {
  const bool fixed = kind == RhsKind::k4x1 && kernels.planar_row_bytes != 0;
  return size_t{4} * static_cast<size_t>(fixed ? kernels.planar_row_bytes : tokens);
}

}  // namespace

size_t LhsTileBytes(const KernelTable& kernels, RhsKind kind, int32_t k_quads, int32_t tokens) {
  return RoundUp(static_cast<size_t>(k_quads) * QuadBytes(kernels, kind, tokens), kCacheLine);
}

void PackLhs(const KernelTable& kernels, RhsKind kind, const uint8_t* x, int64_t k, int32_t m, int32_t tokens,
             int32_t quad_begin, int32_t quad_end, uint8_t flip, uint8_t* tile) {
  const auto pack = kind == RhsKind::k4x1 ? kernels.pack_planar : kernels.pack_quad;
  uint8_t* out = tile + static_cast<size_t>(quad_begin) * QuadBytes(kernels, kind, tokens);
  pack(x, static_cast<size_t>(k), m, static_cast<int32_t>(k), quad_begin, quad_end, tokens, flip, out);
}

size_t OutTileBytes(OutputKind kind, int32_t rows, int32_t tokens) {
  const bool quantized = kind == OutputKind::kQuantU8 || kind == OutputKind::kQuantS8;
  return static_cast<size_t>(rows) * static_cast<size_t>(tokens) * (quantized ? 1 : 4);
}

size_t PartialBytes(const PackedRhs& rhs, int32_t rows, int32_t tokens) {
  return rhs.k_blocks() == 1 ? 0 : static_cast<size_t>(rows) * static_cast<size_t>(tokens) * sizeof(int32_t);
}

int32_t RowsPerPass(const PackedRhs& rhs) {
  const int64_t bytes_per_row = std::max<int64_t>(1, static_cast<int64_t>(rhs.bytes()) / rhs.rows());
  const int64_t fitting = std::max<int64_t>(kPassBytes / bytes_per_row / kCacheLine * kCacheLine, kCacheLine);
  return static_cast<int32_t>(std::min<int64_t>({fitting, kMaxPassRows, rhs.rows()}));
}

void MultiplyTile(const KernelTable& kernels, const PackedRhs& rhs, const uint8_t* tile, int32_t tokens,
                  int32_t row_begin, int32_t row_end, const Epilogue& epilogue, int32_t* partial, void* out) {
  const int rows_per_group = RowsPerGroup(rhs.kind());
  ProductArgs args;
  args.tokens = tokens;
  args.group_begin = row_begin / rows_per_group;
  args.group_end = row_end / rows_per_group;
  args.partial = rhs.k_blocks() == 1 ? nullptr : partial;
  args.epilogue = &epilogue;
  args.out = out;
  for (int32_t b = 0; b < rhs.k_blocks(); ++b) {
    args.lhs = tile + static_cast<size_t>(rhs.QuadBegin(b)) * QuadBytes(kernels, rhs.kind(), tokens);
    args.rhs = rhs.View(b);
    args.first = b == 0;
    args.last = b + 1 == rhs.k_blocks();
    kernels.product[static_cast<int>(rhs.kind())](&args);
  }
}

}  // namespace fastep
