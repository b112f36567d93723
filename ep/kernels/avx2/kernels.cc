// Tier avx2: exact products from AVX2 + FMA alone.

#include "kernels/avx2/couples.h"
#include "kernels/avx2/pairs.h"
#include "kernels/avx2/words.h"
#include "kernels/generic/ymm_attention.h"
#include "kernels/generic/ymm_float_attention.h"
#include "kernels/generic/ymm_layer_norm.h"
#include "kernels/generic/ymm_pack.h"
#include "kernels/generic/ymm_product.h"

namespace fastep {
namespace {

template <RhsKind kKind>
void BlockProduct(const ProductArgs* args) {
  return args->rhs.couple_offset != nullptr ? Product<CoupleDot, kKind>(args) : Product<WordDot, kKind>(args);
}

constexpr Blocking kBlocking = {32, 192};  // 24 KB of activations
// Weights with zero points alone, of 16 bits and not sparse: a wider tile reads them less often.
constexpr Blocking kFull = {64, 192};
constexpr Blocking kWide = {64, 96};

constexpr KernelTable kTable = {
    /*tier=*/1,
    /*value_bytes=*/2,
    /*planar_row_bytes=*/0,
    /*blocking=*/{kFull, kWide, kBlocking, kBlocking, kBlocking, kBlocking},
    /*product=*/
    {Product<WordDot, RhsKind::kDense>, BlockProduct<RhsKind::k1x4>, BlockProduct<RhsKind::k2x4>,
     BlockProduct<RhsKind::k4x4>, BlockProduct<RhsKind::k8x4>, BlockProduct<RhsKind::k4x1>},
    PackQuad,
    PackPlanar,
    UnpackQuad,
    UnpackF32,
    kResidualEpilogue | kTokenScaleEpilogue | kPlanarEpilogue | kCoupledBlocks,
    {PackF32, PlanarFromQuad, LayerNormStats, LayerNorm, Embed, PackKeys, PackValues, Softmax, PackFloatKeys,
     FloatScores, FloatSoftmax, FloatSums, FloatFinish},
    /*byte_product=*/Product<PairDot, RhsKind::kDense>,
};

}  // namespace

const KernelTable* Avx2Kernels() { return &kTable; }

}  // namespace fastep
