// The kernels of this tier, as its table lists them. Contracts: core/kernel_table.h.
#pragma once

#include "core/kernel_table.h"

namespace fastep::avx512vnni {

void DenseProduct(const ProductArgs* args);
void Product1x4(const ProductArgs* args);
void Product2x4(const ProductArgs* args);
void Product4x4(const ProductArgs* args);
void Product8x4(const ProductArgs* args);
void Product4x1(const ProductArgs* args);

void PackQuad(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
              int32_t tokens, uint8_t flip, uint8_t* out);
void PackPlanar(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
                int32_t tokens, uint8_t flip, uint8_t* out);
void UnpackQuad(const uint8_t* tile, int32_t rows, int32_t m, int32_t tokens, uint8_t* y, size_t stride_bytes);
void UnpackF32(const float* tile, int32_t rows, int32_t m, int32_t tokens, float* y, size_t stride_bytes);

void PackF32(const float* x, size_t stride_bytes, int32_t rows, int32_t m, int32_t tokens, float* tile);
void PlanarFromQuad(const uint8_t* tile, int32_t quads, int32_t tokens, uint8_t* out);

void LayerNormStats(const float* x, float* z, int32_t rows, int32_t tokens, float* stats);
void LayerNorm(const LayerNormArgs* args);
void Embed(const EmbedArgs* args);
void PackKeys(const KeyRun* run);
void PackValues(const KeyRun* run);
void Softmax(const SoftmaxArgs* args);

void PackFloatKeys(const FloatKeyRun* run);
void FloatScores(const FloatProductArgs* args);
void FloatSoftmax(const FloatSoftmaxArgs* args);
void FloatSums(const FloatProductArgs* args);
void FloatFinish(const FloatFinishArgs* args);

// Bytes per input of a planar tile; the order inside stands in pack.cc.
constexpr int kPlanarRowBytes = 64;

}  // namespace fastep::avx512vnni
