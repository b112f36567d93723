#include "kernels/avx512vnni/quad_product.h"

#include "kernels/avx512vnni/kernels.h"

namespace fastep::avx512vnni {
namespace {

// All blocks of the row groups of a call, in order.
template <RhsKind kKind, int V>
FASTEP_INLINE BlockStream<V, kKind != RhsKind::kDense> StreamOf(const ProductArgs& args, size_t first_block) {
  constexpr bool kIndexed = kKind != RhsKind::kDense;
  return {args.lhs, kIndexed ? args.rhs.index + first_block : nullptr,
          static_cast<const int8_t*>(args.rhs.values) + first_block * RowsPerGroup(kKind) * 4};
}

// The rows of `acc` are finished four at a time, a quad of outputs.
template <bool kDense, int kPasses, int kRows, int V>
FASTEP_INLINE void FinishAll(const Output& output, int32_t row, I32x16 (&acc)[kPasses][kRows][V]) {
  FASTEP_UNROLL
  for (int i = 0; i < kPasses * kRows; i += 4) {
    I32x16 four[4][V];
    FASTEP_UNROLL
    for (int j = 0; j < 4 * V; ++j) four[j / V][j % V] = acc[(i + j / V) / kRows][(i + j / V) % kRows][j % V];
    Finish<kDense, V>(output, row + i, four);
  }
}

// At most 24 vectors of accumulators are held, so that nothing spills: of 64 tokens, four rows.
//
// What a row group needs from memory besides its blocks is read before the stores of the group before it, and as
// little as possible: the first products of a group wait for it.
template <RhsKind kKind, int V>
void ProductOfWidth(const ProductArgs& args) {
  constexpr bool kIndexed = kKind != RhsKind::kDense;
  constexpr int kGroupRows = RowsPerGroup(kKind);
  constexpr int kRows = kGroupRows == 8 && V == 4 ? 4 : kGroupRows;  // in one pass over the blocks of a group
  constexpr int kPasses = kRows < 4 ? 4 / kRows : 1;                 // for a quad of outputs
  const int32_t rows = (args.group_end - args.group_begin) * kGroupRows;
  Output output = OutputOf(args, kGroupRows, !kIndexed);
  alignas(64) int32_t shift[kLanes * V];
  if (!kIndexed && output.rhs_zero_point != nullptr && FindShift<V>(output, rows, shift)) output.shift = shift;
  const uint32_t* group_ptr = kIndexed ? args.rhs.group_ptr + args.group_begin : nullptr;
  auto stream = StreamOf<kKind, V>(
      args, kIndexed ? *group_ptr : static_cast<size_t>(args.group_begin) * static_cast<size_t>(args.rhs.k_quads));
  size_t count = kIndexed ? group_ptr[1] - group_ptr[0] : args.rhs.k_quads;
  for (int32_t row = 0; row < rows; row += kPasses * kRows) {
    I32x16 acc[kPasses][kRows][V];
    FASTEP_UNROLL
    for (int i = 0; i < kPasses; ++i) {
      Begin<kRows, V>(output, row + i * kRows, acc[i]);
      MultiplyGroup<kRows, V, kGroupRows>(stream, count, acc[i]);
      if (kRows < kGroupRows && row % kGroupRows == 0) {
        stream.values += kRows * 4;  // the other rows of the same blocks
        continue;
      }
      stream.values += count * kGroupRows * 4 - (kGroupRows - kRows) * 4;
      if constexpr (kIndexed) {
        stream.index += count;
        ++group_ptr;
        count = group_ptr[1] - group_ptr[0];
      }
    }
    FinishAll<!kIndexed>(output, row, acc);
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
