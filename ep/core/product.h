// One product on packed operands: the step between packing and unpacking, on one tile. Everything that runs product
// kernels goes through here: a single Linear, a plan that keeps activations in tiles from layer to layer, the
// benchmark.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/kernel_table.h"
#include "core/packed_rhs.h"
#include "core/tiling.h"

namespace fastep {

// Bytes of a packed lhs tile, a multiple of 64.
size_t LhsTileBytes(const KernelTable& kernels, RhsKind kind, int32_t k_quads, int32_t tokens);

// Packs quads [quad_begin, quad_end) of a tile; x is its first row. flip: 0x80 for s8, 0 for u8.
void PackLhs(const KernelTable& kernels, RhsKind kind, const uint8_t* x, int64_t k, int32_t m, int32_t tokens,
             int32_t quad_begin, int32_t quad_end, uint8_t flip, uint8_t* tile);

// Bytes of the output of `rows` rows in the tile layout of `kind`, a multiple of 64.
size_t OutTileBytes(OutputKind kind, int32_t rows, int32_t tokens);
// Bytes of partial sums that MultiplyTile needs for `rows` rows: 0 if K is not split.
size_t PartialBytes(const PackedRhs& rhs, int32_t rows, int32_t tokens);

// Output rows whose weights fit the second cache beside the activations: the rows that all tiles should run before the
// next ones. A multiple of kCacheLine, or all rows.
int32_t RowsPerPass(const PackedRhs& rhs);

// out = epilogue(tile . rhs^T) for rows [row_begin, row_end), multiples of kRowStep. out: the first of these rows.
void MultiplyTile(const KernelTable& kernels, const PackedRhs& rhs, const uint8_t* tile, int32_t tokens,
                  int32_t row_begin, int32_t row_end, const Epilogue& epilogue, int32_t* partial, void* out);

}  // namespace fastep
