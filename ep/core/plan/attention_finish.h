// The end of attention where the product's own epilogue cannot do it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/kernel_table.h"

namespace fastep {

// y = fma(acc, token_scale[t], zero_point), rounded and clamped where `kind` is quantized; acc [rows][tokens].
void ScaleTokens(const int32_t* acc, int32_t rows, int32_t tokens, const float* token_scale, OutputKind kind,
                 float zero_point, uint8_t* y);

// y = zero_point, in `bytes` bytes.
void FillZeroPoint(OutputKind kind, float zero_point, size_t bytes, uint8_t* y);

}  // namespace fastep
