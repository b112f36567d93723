#include "kernels/avx512vnni/quad_product.h"

#include "kernels/avx512vnni/kernels.h"

namespace fastep::avx512vnni {
namespace {

// Rows are finished four at a time (a quad of outputs), and at most 24 vectors of accumulators are held, so that
// nothing spills: of 64 tokens, four rows.
//
// What a row group needs from memory besides its blocks is read before the stores of the group before it, and as little
// as possible: a load that follows a store to the same place of another 4 KB page waits until that store has its data.
template <RhsKind kKind, int V>
void ProductOfWidth(const ProductArgs& args) {
  constexpr bool kIndexed = kKind != RhsKind::kDense;
  constexpr int kGroupRows = RowsPerGroup(kKind);
  constexpr int kRows = kGroupRows == 8 && V == 4 ? 4 : kGroupRows;  // in one pass over the blocks
  constexpr int kUnit = kRows < 4 ? 4 : kRows;
  constexpr int kBlockBytes = kGroupRows * 4;
  const Output output = OutputOf(args, kGroupRows);
  const int32_t rows = (args.group_end - args.group_begin) * kGroupRows;
  const uint32_t* group_ptr = kIndexed ? args.rhs.group_ptr + args.group_begin : nullptr;
  const size_t first = kIndexed ? *group_ptr : static_cast<size_t>(args.group_begin) * args.rhs.k_quads;
  BlockStream<V, kIndexed> stream{args.lhs, kIndexed ? args.rhs.index + first : nullptr,
                                  static_cast<const int8_t*>(args.rhs.values) + first * kBlockBytes};
  size_t count = kIndexed ? group_ptr[1] - group_ptr[0] : args.rhs.k_quads;
  for (int32_t row = 0; row < rows; row += kUnit) {
    I32x16 acc[kUnit / kRows][kRows][V];
    FASTEP_UNROLL
    for (int i = 0; i < kUnit / kRows; ++i) {
      Begin<kRows, V>(output, row + i * kRows, acc[i]);
      MultiplyGroup<kRows, V, kGroupRows>(stream, count, acc[i]);
      if (kRows < kGroupRows && row % kGroupRows == 0) {
        stream.values += kRows * 4;  // the other rows of the same blocks
        continue;
      }
      if (kRows < kGroupRows) stream.values -= (kGroupRows - kRows) * 4;
      if constexpr (kIndexed) {
        Advance(stream, count, kBlockBytes);
        ++group_ptr;
        count = group_ptr[1] - group_ptr[0];
      } else {
        stream.values += count * kBlockBytes;
      }
    }
    FASTEP_UNROLL
    for (int i = 0; i < kUnit; i += 4) {
      I32x16 four[4][V];
      FASTEP_UNROLL
      for (int j = 0; j < 4 * V; ++j) four[j / V][j % V] = acc[(i + j / V) / kRows][(i + j / V) % kRows][j % V];
      Finish<!kIndexed, V>(output, row + i, four);
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
