#include "kernels/avx512vnni/quad_product.h"

#include "kernels/avx512vnni/kernels.h"

namespace fastep::avx512vnni {
namespace {

template <RhsKind kKind, int R, int V>
FASTEP_INLINE void MultiplyRows(const ProductArgs& args, int32_t row, I32x16 (&acc)[R][V]) {
  constexpr int kGroupRows = RowsPerGroup(kKind);
  const int32_t group = row / kGroupRows;
  const RhsView& rhs = args.rhs;
  const auto* values = static_cast<const int8_t*>(rhs.values) + row % kGroupRows * 4;
  if constexpr (kKind == RhsKind::kDense) {
    const size_t first = size_t(group) * rhs.k_quads;
    MultiplyGroup<R, V, kGroupRows>(DenseBlocks{args.lhs}, values + first * kGroupRows * 4, rhs.k_quads, acc);
  } else {
    const size_t first = rhs.group_ptr[group];
    MultiplyGroup<R, V, kGroupRows>(IndexedBlocks{args.lhs, rhs.index + first}, values + first * kGroupRows * 4,
                                    rhs.group_ptr[group + 1] - first, acc);
  }
}

// Rows are finished four at a time (a quad of outputs), and at most 24 vectors of accumulators are held, so that
// nothing spills: of 64 tokens, four rows.
template <RhsKind kKind, int V>
void ProductOfWidth(const ProductArgs& args) {
  constexpr int kGroupRows = RowsPerGroup(kKind);
  constexpr int kRows = kGroupRows == 8 && V == 4 ? 4 : kGroupRows;  // in one pass over the blocks
  constexpr int kUnit = kRows < 4 ? 4 : kRows;
  const int32_t row_begin = args.group_begin * kGroupRows, row_end = args.group_end * kGroupRows;
  for (int32_t row = row_begin; row < row_end; row += kUnit) {
    const int32_t out_row = row - row_begin;
    I32x16 acc[kUnit / kRows][kRows][V];
    FASTEP_UNROLL
    for (int i = 0; i < kUnit / kRows; ++i) {
      Begin<kRows, V>(args, row + i * kRows, out_row + i * kRows, acc[i]);
      MultiplyRows<kKind, kRows, V>(args, row + i * kRows, acc[i]);
    }
    FASTEP_UNROLL
    for (int i = 0; i < kUnit; i += 4) {
      I32x16 four[4][V];
      FASTEP_UNROLL
      for (int j = 0; j < 4 * V; ++j) four[j / V][j % V] = acc[(i + j / V) / kRows][(i + j / V) % kRows][j % V];
      Finish<V>(args, row + i, out_row + i, four);
    }
  }
}

template <RhsKind kKind>
FASTEP_INLINE void Product(const ProductArgs& args) {
  switch (args.tokens / kLanes) {
    case 1:
      return ProductOfWidth<kKind, 1>(args);
    case 2:
      return ProductOfWidth<kKind, 2>(args);
    case 3:
      return ProductOfWidth<kKind, 3>(args);
    default:
      return ProductOfWidth<kKind, 4>(args);
  }
}

}  // namespace

void DenseProduct(const ProductArgs* args) { Product<RhsKind::kDense>(*args); }
void Product1x4(const ProductArgs* args) { Product<RhsKind::k1x4>(*args); }
void Product2x4(const ProductArgs* args) { Product<RhsKind::k2x4>(*args); }
void Product4x4(const ProductArgs* args) { Product<RhsKind::k4x4>(*args); }
void Product8x4(const ProductArgs* args) { Product<RhsKind::k8x4>(*args); }

}  // namespace fastep::avx512vnni
