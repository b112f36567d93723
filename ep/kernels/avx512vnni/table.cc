#include "kernels/avx512vnni/kernels.h"

namespace fastep {
namespace avx512vnni {
namespace {

// Measured on a Xeon with two products per cycle (README.md of this folder). Kinds of eight rows hold 8 x 48
// accumulators and read each activation once; the others amortize weights over 64 tokens. K is split only where an
// index would not fit: partial sums cost more than activations from the second cache.
constexpr Blocking kEightRows = {48, kMaxBlockQuads};
constexpr Blocking kFourRows = {64, kMaxBlockQuads};

constexpr KernelTable kTable = {
    /*tier=*/3,
    /*value_bytes=*/1,
    kPlanarRowBytes,
    /*blocking=*/{kEightRows, kFourRows, kFourRows, kFourRows, kEightRows, kFourRows},
    /*product=*/{DenseProduct, Product1x4, Product2x4, Product4x4, Product8x4, Product4x1},
    PackQuad,
    PackPlanar,
    UnpackQuad,
    UnpackF32,
    kResidualEpilogue | kTokenScaleEpilogue | kTokenMaxEpilogue | kPlanarEpilogue | kOffsetScores,
    {PackF32, PlanarFromQuad, LayerNormStats, LayerNorm, Embed, PackKeys, PackValues, Softmax, PackFloatKeys,
     FloatScores, FloatSoftmax, FloatSums, FloatFinish},
};

}  // namespace
}  // namespace avx512vnni

const KernelTable* Avx512VnniKernels() { return &avx512vnni::kTable; }

}  // namespace fastep
