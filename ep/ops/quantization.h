// Scales and zero points among a node's inputs.
#pragma once

#include <vector>

#include "core/plan/types.h"
#include "ops/op.h"

namespace fastep {

DataType DataTypeOf(ElementType type);

// Inputs `scale` and `scale` + 1, both constant scalars; the type is that of the zero point. Throws Error.
Quantization ReadQuantization(const NodeView& node, const std::vector<InputDef>& inputs, size_t scale);

}  // namespace fastep
