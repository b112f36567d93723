#include "kernels/avx512vnni/kernels.h"

namespace fastep {
namespace avx512vnni {
namespace {

constexpr Blocking kWide = {64, kMaxBlockQuads};

constexpr KernelTable kTable = {
    /*tier=*/3,
    /*value_bytes=*/1,
    kPlanarRowBytes,
    /*blocking=*/{kWide, kWide, kWide, kWide, kWide, kWide},
    /*product=*/{DenseProduct, Product1x4, Product2x4, Product4x4, Product8x4, Product4x1},
    PackQuad,
    PackPlanar,
    UnpackQuad,
    UnpackF32,
};

}  // namespace
}  // namespace avx512vnni

const KernelTable* Avx512VnniKernels() { return &avx512vnni::kTable; }

}  // namespace fastep
