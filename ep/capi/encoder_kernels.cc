// C ABI for tests: the kernels of an encoder's other ops, one tier at a time. The argument structs of
// core/kernel_table.h are mirrored by tests/kernels/encoder_capi.py.
//
// Every function returns 1: done; 0: the tier has no such kernel of its own.

#include <string_view>
#include <utility>

#include "capi/status.h"
#include "core/kernel_table.h"
#include "core/tier.h"

namespace fastep::capi {
namespace {

const EncoderKernels& Encoder(int tier) { return KernelsOf(static_cast<Tier>(tier)).encoder; }

template <class... Parameters, class... Arguments>
int Call(void (*kernel)(Parameters...), Arguments... arguments) {
  if (kernel == nullptr) return 0;
  kernel(arguments...);
  return 1;
}

}  // namespace

// Size of a struct that the tests mirror; 0: none of that name.
FASTEP_CAPI uint64_t fastep_struct_bytes(const char* name) {
  const std::pair<std::string_view, size_t> sizes[] = {
      {"LayerNormArgs", sizeof(LayerNormArgs)},
      {"EmbedTable", sizeof(EmbedTable)},
      {"EmbedArgs", sizeof(EmbedArgs)},
      {"KeyRun", sizeof(KeyRun)},
      {"SoftmaxArgs", sizeof(SoftmaxArgs)},
      {"FloatKeyRun", sizeof(FloatKeyRun)},
      {"FloatProductArgs", sizeof(FloatProductArgs)},
      {"FloatSoftmaxArgs", sizeof(FloatSoftmaxArgs)},
      {"FloatFinishArgs", sizeof(FloatFinishArgs)},
      {"RhsView", sizeof(RhsView)},
      {"Epilogue", sizeof(Epilogue)},
      {"ProductArgs", sizeof(ProductArgs)},
  };
  for (const auto& [known, bytes] : sizes) {
    if (name == known) return bytes;
  }
  return 0;
}

FASTEP_CAPI int fastep_value_bytes(int tier) { return KernelsOf(static_cast<Tier>(tier)).value_bytes; }

FASTEP_CAPI int fastep_extras(int tier) { return static_cast<int>(KernelsOf(static_cast<Tier>(tier)).extras); }

FASTEP_CAPI int fastep_pack_f32(int tier, const float* x, uint64_t stride_bytes, int rows, int m, int tokens,
                                float* tile) {
  return Call(Encoder(tier).pack_f32, x, stride_bytes, rows, m, tokens, tile);
}

FASTEP_CAPI int fastep_planar_from_quad(int tier, const uint8_t* tile, int quads, int tokens, uint8_t* out) {
  return Call(Encoder(tier).planar_from_quad, tile, quads, tokens, out);
}

FASTEP_CAPI int fastep_layer_norm_stats(int tier, const float* x, float* z, int rows, int tokens, float* stats) {
  return Call(Encoder(tier).layer_norm_stats, x, z, rows, tokens, stats);
}

FASTEP_CAPI int fastep_layer_norm(int tier, const LayerNormArgs* args) { return Call(Encoder(tier).layer_norm, args); }

FASTEP_CAPI int fastep_embed(int tier, const EmbedArgs* args) { return Call(Encoder(tier).embed, args); }

FASTEP_CAPI int fastep_pack_keys(int tier, const KeyRun* run) { return Call(Encoder(tier).pack_keys, run); }

FASTEP_CAPI int fastep_pack_values(int tier, const KeyRun* run) { return Call(Encoder(tier).pack_values, run); }

FASTEP_CAPI int fastep_softmax(int tier, const SoftmaxArgs* args) { return Call(Encoder(tier).softmax, args); }

FASTEP_CAPI int fastep_pack_float_keys(int tier, const FloatKeyRun* run) {
  return Call(Encoder(tier).pack_float_keys, run);
}

FASTEP_CAPI int fastep_float_scores(int tier, const FloatProductArgs* args) {
  return Call(Encoder(tier).float_scores, args);
}

FASTEP_CAPI int fastep_float_softmax(int tier, const FloatSoftmaxArgs* args) {
  return Call(Encoder(tier).float_softmax, args);
}

FASTEP_CAPI int fastep_float_sums(int tier, const FloatProductArgs* args) {
  return Call(Encoder(tier).float_sums, args);
}

FASTEP_CAPI int fastep_float_finish(int tier, const FloatFinishArgs* args) {
  return Call(Encoder(tier).float_finish, args);
}

// A product over one K-block, with any epilogue.
FASTEP_CAPI int fastep_product(int tier, int kind, const ProductArgs* args) {
  return Call(KernelsOf(static_cast<Tier>(tier)).product[kind], args);
}

// The dense product of bytes, of a tier whose other weights are wider.
FASTEP_CAPI int fastep_byte_product(int tier, const ProductArgs* args) {
  return Call(KernelsOf(static_cast<Tier>(tier)).byte_product, args);
}

}  // namespace fastep::capi
