// Tier scalar: plain C++ for any x86-64 CPU. Written to be read: the vector tiers must give these bits.
// Layouts and the contract of every kernel: core/kernel_table.h.

#include "core/kernel_table.h"
#include "kernels/generic/gelu.h"
#include "kernels/scalar/encoder.h"
#include "kernels/scalar/scalar_ops.h"

namespace fastep {
namespace {

// ---- Epilogue ----

float Activate(Activation activation, float v) {
  switch (activation) {
    case Activation::kRelu:
      return ScalarOps::Max(v, 0.0f);
    case Activation::kGelu:
      return GeluErf<ScalarOps>(v);
    case Activation::kGeluTanh:
      return GeluTanh<ScalarOps>(v);
    case Activation::kNone:
      break;
  }
  return v;
}

float ActivateForBytes(const Epilogue& e, float v) {
  if (e.out_scale > kCoarseGeluScale) return Activate(e.activation, v);
  return e.activation == Activation::kGelu ? CoarseGeluErf<ScalarOps>(v) : CoarseGeluTanh<ScalarOps>(v);
}

// Relu of a quantized output is in `lo`. The clamp comes before the rounding, so that any float has an integer.
int32_t Quantize(const Epilogue& e, float v) {
  if (e.activation == Activation::kGelu || e.activation == Activation::kGeluTanh) {
    v = __builtin_fmaf(ActivateForBytes(e, v), e.out_scale, e.out_zero_point);
  }
  v = ScalarOps::Min(ScalarOps::Max(v, static_cast<float>(e.lo)), static_cast<float>(e.hi));
  return static_cast<int32_t>((v + kRoundToInt) - kRoundToInt);
}

// One output row: `row` counts in the layer, `out_row` in the output of this call.
void StoreRow(const ProductArgs& args, int32_t row, int32_t out_row, const int32_t* acc) {
  const Epilogue& e = *args.epilogue;
  for (int32_t t = 0; t < args.tokens; ++t) {
    uint32_t bits = static_cast<uint32_t>(acc[t]);  // may leave int32 on the way to a result inside it
    if (e.rhs_zero_point != nullptr) {
      bits -= static_cast<uint32_t>(e.rhs_zero_point[row]) * static_cast<uint32_t>(e.token_sum[t]);
    }
    const int32_t sum = static_cast<int32_t>(bits);
    const size_t at = static_cast<size_t>(out_row) * args.tokens + t;
    if (e.kind == OutputKind::kInt32) {
      static_cast<int32_t*>(args.out)[at] = sum;
      continue;
    }
    const float scale = e.token_scale != nullptr ? e.token_scale[t] : e.scale[row];
    const float v = __builtin_fmaf(static_cast<float>(sum), scale, e.bias[row]);
    if (e.kind == OutputKind::kResidual) {
      static_cast<float*>(args.out)[at] += v;
    } else if (e.kind == OutputKind::kFloat) {
      static_cast<float*>(args.out)[at] = Activate(e.activation, v);
    } else {
      const size_t quad = static_cast<size_t>(out_row / 4) * args.tokens + t;
      static_cast<uint8_t*>(args.out)[quad * 4 + out_row % 4] = static_cast<uint8_t>(Quantize(e, v));
    }
  }
}

// ---- Products ----

void BeginRow(const ProductArgs& args, int32_t row, int32_t out_row, int32_t* acc) {
  const size_t at = static_cast<size_t>(out_row) * args.tokens;
  for (int32_t t = 0; t < args.tokens; ++t) acc[t] = args.first ? args.epilogue->acc_init[row] : args.partial[at + t];
}

void EndRow(const ProductArgs& args, int32_t row, int32_t out_row, const int32_t* acc) {
  if (args.last) return StoreRow(args, row, out_row, acc);
  int32_t* partial = args.partial + static_cast<size_t>(out_row) * args.tokens;
  for (int32_t t = 0; t < args.tokens; ++t) partial[t] = acc[t];
}

// acc[t] += sum_c x[c][t] w[c]; token t of input c is x[c][t * token_stride].
void AddBlockRow(const uint8_t* const x[4], int32_t token_stride, const int8_t* w, int32_t tokens, int32_t* acc) {
  for (int32_t t = 0; t < tokens; ++t) {
    const int32_t at = t * token_stride;
    acc[t] += x[0][at] * w[0] + x[1][at] * w[1] + x[2][at] * w[2] + x[3][at] * w[3];
  }
}

// Where the four inputs of block `j` of a group start.
template <RhsKind kKind>
void FindInputs(const ProductArgs& args, uint32_t j, uint32_t block, const uint8_t* x[4]) {
  const size_t scale = args.tokens / kTileTokenStep;
  for (int c = 0; c < 4; ++c) {
    if constexpr (kKind == RhsKind::kDense) {
      x[c] = args.lhs + static_cast<size_t>(j) * args.tokens * 4 + c;
    } else if constexpr (kKind == RhsKind::k4x1) {
      x[c] = args.lhs + args.rhs.index[static_cast<size_t>(block) * 4 + c] * scale;
    } else {
      x[c] = args.lhs + args.rhs.index[block] * scale + c;
    }
  }
}

template <RhsKind kKind>
void Product(const ProductArgs* args) {
  constexpr int kRows = RowsPerGroup(kKind);
  constexpr int32_t kTokenStride = kKind == RhsKind::k4x1 ? 1 : 4;
  const RhsView& rhs = args->rhs;
  int32_t acc[kRows][kMaxTileTokens];
  for (int32_t group = args->group_begin; group < args->group_end; ++group) {
    const int32_t row = group * kRows;
    const int32_t out_row = (group - args->group_begin) * kRows;
    for (int r = 0; r < kRows; ++r) BeginRow(*args, row + r, out_row + r, acc[r]);

    const bool dense = kKind == RhsKind::kDense;
    const uint32_t begin = dense ? static_cast<uint32_t>(group * rhs.k_quads) : rhs.group_ptr[group];
    const uint32_t end = dense ? begin + static_cast<uint32_t>(rhs.k_quads) : rhs.group_ptr[group + 1];
    for (uint32_t block = begin; block < end; ++block) {
      const uint8_t* x[4];
      FindInputs<kKind>(*args, block - begin, block, x);
      const int8_t* w = static_cast<const int8_t*>(rhs.values) + static_cast<size_t>(block) * kRows * 4;
      for (int r = 0; r < kRows; ++r) AddBlockRow(x, kTokenStride, w + r * 4, args->tokens, acc[r]);
    }

    for (int r = 0; r < kRows; ++r) EndRow(*args, row + r, out_row + r, acc[r]);
  }
}

// ---- Packing ----

uint8_t Input(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t token, int32_t input, uint8_t flip) {
  return token < m && input < k ? static_cast<uint8_t>(x[token * stride_bytes + input] ^ flip) : 0;
}

void PackQuad(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
              int32_t tokens, uint8_t flip, uint8_t* out) {
  for (int32_t quad = quad_begin; quad < quad_end; ++quad) {
    for (int32_t t = 0; t < tokens; ++t) {
      for (int32_t c = 0; c < 4; ++c) *out++ = Input(x, stride_bytes, m, k, t, quad * 4 + c, flip);
    }
  }
}

// Tokens in natural order.
void PackPlanar(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
                int32_t tokens, uint8_t flip, uint8_t* out) {
  for (int32_t input = quad_begin * 4; input < quad_end * 4; ++input) {
    for (int32_t t = 0; t < tokens; ++t) *out++ = Input(x, stride_bytes, m, k, t, input, flip);
  }
}

void UnpackQuad(const uint8_t* tile, int32_t rows, int32_t m, int32_t tokens, uint8_t* y, size_t stride_bytes) {
  for (int32_t t = 0; t < m; ++t) {
    for (int32_t r = 0; r < rows; ++r) {
      y[t * stride_bytes + r] = tile[(static_cast<size_t>(r / 4) * tokens + t) * 4 + r % 4];
    }
  }
}

// The words may be integers, so they are copied as bytes.
void UnpackF32(const float* tile, int32_t rows, int32_t m, int32_t tokens, float* y, size_t stride_bytes) {
  for (int32_t t = 0; t < m; ++t) {
    uint8_t* out = reinterpret_cast<uint8_t*>(y) + t * stride_bytes;
    for (int32_t r = 0; r < rows; ++r) {
      __builtin_memcpy(out + 4 * static_cast<size_t>(r), tile + static_cast<size_t>(r) * tokens + t, 4);
    }
  }
}

constexpr Blocking kBlocking = {16, 512};  // 32 KB of activations

constexpr EncoderKernels kEncoder = {
    scalar::PackF32,      scalar::PlanarFromQuad, scalar::LayerNormStats, scalar::LayerNorm,     scalar::Embed,
    scalar::PackKeys,     scalar::PackValues,     scalar::Softmax,        scalar::PackFloatKeys, scalar::FloatScores,
    scalar::FloatSoftmax, scalar::FloatSums,      scalar::FloatFinish,
};

constexpr KernelTable kTable = {
    /*tier=*/0,
    /*value_bytes=*/1,
    /*planar_row_bytes=*/0,
    /*blocking=*/{kBlocking, kBlocking, kBlocking, kBlocking, kBlocking, kBlocking},
    /*product=*/
    {Product<RhsKind::kDense>, Product<RhsKind::k1x4>, Product<RhsKind::k2x4>, Product<RhsKind::k4x4>,
     Product<RhsKind::k8x4>, Product<RhsKind::k4x1>},
    PackQuad,
    PackPlanar,
    UnpackQuad,
    UnpackF32,
    kResidualEpilogue | kTokenScaleEpilogue,
    kEncoder,
};

}  // namespace

const KernelTable* ScalarKernels() { return &kTable; }

}  // namespace fastep
