// Output shapes of custom ops. ONNX Runtime's C++ wrapper cannot set symbolic dimensions, so this speaks the C API.
#pragma once

#include "api/ort_api.h"
#include "ops/op.h"

namespace fastep {

// Sets the shapes of the outputs, as far as they are known. Throws.
void InferOutputShapes(const Op& op, OrtShapeInferContext* context);

}  // namespace fastep
