// Output shapes of custom ops. ONNX Runtime's C++ wrapper cannot set symbolic dimensions, so this speaks the C API.
#pragma once

#include "api/ort_api.h"
#include "ops/op.h"

namespace fastep {

// Sets the shape of output 0 if the shape of input 0 is known. Throws.
void InferOutputShape(const Op& op, OrtShapeInferContext* context);

}  // namespace fastep
