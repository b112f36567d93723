// The kernels of the encoder's other ops, as the table of this tier lists them. Contracts: core/kernel_table.h.
#pragma once

#include "core/kernel_table.h"

namespace fastep::scalar {

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

}  // namespace fastep::scalar
