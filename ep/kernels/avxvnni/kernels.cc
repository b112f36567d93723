// Tier avxvnni: 256-bit vpdpbusd in its VEX form (Alder Lake and later client CPUs, Zen 5), 16 registers.
//
// vpdpbusd adds four products u8 x s8 to an int32 without saturation, so the weights stay bytes.
//
// instruction                 ports, latency   Alder Lake   Zen 5
//   vpdpbusd ymm                               p01, 5       FP01, 4
//   vpunpck*, ymm                              p15, 1       FP12, 1
//   vpbroadcastd ymm, m32                      load         load
// (Agner Fog, "Instruction tables"; uops.info.) Two per cycle of latency 5 want ten sums in flight; with the inputs, 16
// registers hold twelve (4 x 4 blocks, 24 tokens) or eight.

#include "kernels/generic/ymm_attention.h"
#include "kernels/generic/ymm_float_attention.h"
#include "kernels/generic/ymm_layer_norm.h"
#include "kernels/generic/ymm_pack.h"
#include "kernels/generic/ymm_product.h"

namespace fastep {
namespace {

struct AvxVnniDot {
  using Value = int8_t;
  using Weights = __m256i;
  using Lhs = __m256i;
  static constexpr bool kCoupled = false;
  static constexpr bool kWholeStrips = false;
  // dense, 1x4, 2x4, 4x4, 8x4, 4x1
  static constexpr int kRows[kRhsKinds] = {4, 1, 2, 4, 4, 4};
  static constexpr int kVectors[kRhsKinds] = {3, 8, 6, 3, 3, 2};

  // clang reads the weights of later rows ahead, for which there is no register, and spills sums; the barrier stops it.
  static FASTEP_INLINE Weights LoadWeights(const Value* w) {
#ifdef __clang__
    __asm__ volatile("" ::: "memory");
#endif
    int32_t quad;
    __builtin_memcpy(&quad, w, sizeof(quad));
    return _mm256_set1_epi32(quad);
  }

  static FASTEP_INLINE Lhs LoadQuad(const uint8_t* x) { return LoadYmm(x); }

  template <PlanarRun kRun>
  static FASTEP_INLINE void LoadPlanar(const uint8_t* const (&input)[4], Lhs (&out)[2]) {
    QuadFromPlanar<kRun>(input, out);
  }

  static FASTEP_INLINE I32x8 Accumulate(I32x8 acc, Lhs x, Weights w) { return _mm256_dpbusd_avx_epi32(acc, x, w); }
};

constexpr Blocking kBlocking = {48, 192};  // 36 KB of activations
constexpr Blocking kGather = {32, 256};
constexpr Blocking kWide = {64, 128};

constexpr KernelTable kTable = {
    /*tier=*/2,
    /*value_bytes=*/1,
    /*planar_row_bytes=*/0,
    /*blocking=*/{kBlocking, kWide, kBlocking, kBlocking, kBlocking, kGather},
    /*product=*/
    {Product<AvxVnniDot, RhsKind::kDense>, Product<AvxVnniDot, RhsKind::k1x4>, Product<AvxVnniDot, RhsKind::k2x4>,
     Product<AvxVnniDot, RhsKind::k4x4>, Product<AvxVnniDot, RhsKind::k8x4>, Product<AvxVnniDot, RhsKind::k4x1>},
    PackQuad,
    PackPlanar,
    UnpackQuad,
    UnpackF32,
    kResidualEpilogue | kTokenScaleEpilogue | kPlanarEpilogue,
    {PackF32, PlanarFromQuad, LayerNormStats, LayerNorm, Embed, PackKeys, PackValues, Softmax, PackFloatKeys,
     FloatScores, FloatSoftmax, FloatSums, FloatFinish},
};

}  // namespace

const KernelTable* AvxVnniKernels() { return &kTable; }

}  // namespace fastep
