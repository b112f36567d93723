// C ABI for tests: single entries of a tier's kernel table.

#include <algorithm>
#include <new>
#include <vector>

#include "capi/status.h"
#include "core/kernel_table.h"
#include "core/tier.h"

namespace fastep::capi {
namespace {

const KernelTable& Table(int tier) { return KernelsOf(static_cast<Tier>(tier)); }

// gelu(x) as the product kernel of the tier computes it: rows without weights whose bias is x. rows is a multiple
// of 16.
void GeluOfRows(const KernelTable& table, Activation activation, const float* x, int32_t rows, float* y) {
  const std::vector<uint32_t> group_ptr(rows / 4 + 2, 0);  // one past its end may be read
  const std::vector<int32_t> zeros(rows, 0);
  const std::vector<float> ones(rows, 1.0f);
  alignas(64) static const uint8_t nothing[64 * kMaxTileTokens] = {};
  float* tile = static_cast<float*>(::operator new(sizeof(float) * rows * kTileTokenStep, std::align_val_t{64}));

  Epilogue epilogue = {};
  epilogue.kind = OutputKind::kFloat;
  epilogue.activation = activation;
  epilogue.acc_init = zeros.data();
  epilogue.scale = ones.data();
  epilogue.bias = x;
  ProductArgs args = {};
  args.lhs = nothing;
  args.tokens = kTileTokenStep;
  args.rhs = {group_ptr.data(), reinterpret_cast<const uint16_t*>(nothing), nothing, 1};
  args.group_end = rows / 4;
  args.first = args.last = true;
  args.epilogue = &epilogue;
  args.out = tile;
  table.product[static_cast<int>(RhsKind::k4x4)](&args);
  for (int32_t r = 0; r < rows; ++r) y[r] = tile[r * kTileTokenStep + r % kTileTokenStep];
  ::operator delete(tile, std::align_val_t{64});
}

}  // namespace

// 1: the tier has a product kernel for this kind.
FASTEP_CAPI int fastep_offers(int tier, int kind) { return Table(tier).product[kind] != nullptr ? 1 : 0; }

FASTEP_CAPI int fastep_planar_row_bytes(int tier) { return Table(tier).planar_row_bytes; }

FASTEP_CAPI void fastep_pack_quad(int tier, const uint8_t* x, uint64_t stride_bytes, int m, int k, int quad_begin,
                                  int quad_end, int tokens, int flip, uint8_t* out) {
  Table(tier).pack_quad(x, stride_bytes, m, k, quad_begin, quad_end, tokens, static_cast<uint8_t>(flip), out);
}

// 1: done; 0: the tier has no planar layout.
FASTEP_CAPI int fastep_pack_planar(int tier, const uint8_t* x, uint64_t stride_bytes, int m, int k, int quad_begin,
                                   int quad_end, int tokens, int flip, uint8_t* out) {
  const auto pack = Table(tier).pack_planar;
  if (pack == nullptr) return 0;
  pack(x, stride_bytes, m, k, quad_begin, quad_end, tokens, static_cast<uint8_t>(flip), out);
  return 1;
}

FASTEP_CAPI void fastep_unpack_quad(int tier, const uint8_t* tile, int rows, int m, int tokens, uint8_t* y,
                                    uint64_t stride_bytes) {
  Table(tier).unpack_quad(tile, rows, m, tokens, y, stride_bytes);
}

FASTEP_CAPI void fastep_unpack_f32(int tier, const float* tile, int rows, int m, int tokens, float* y,
                                   uint64_t stride_bytes) {
  Table(tier).unpack_f32(tile, rows, m, tokens, y, stride_bytes);
}

// y[i] = gelu(x[i]), or gelu_tanh.
FASTEP_CAPI void fastep_gelu(int tier, int tanh, const float* x, int64_t count, float* y) {
  constexpr int64_t kChunk = 4096;
  const Activation activation = tanh != 0 ? Activation::kGeluTanh : Activation::kGelu;
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t n = std::min(kChunk, count - begin);
    std::vector<float> in(static_cast<size_t>((n + kRowStep - 1) / kRowStep * kRowStep), 0.0f);
    std::copy(x + begin, x + begin + n, in.begin());
    std::vector<float> out(in.size());
    GeluOfRows(Table(tier), activation, in.data(), static_cast<int32_t>(in.size()), out.data());
    std::copy(out.begin(), out.begin() + n, y + begin);
  }
}

}  // namespace fastep::capi
