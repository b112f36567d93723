// The custom-op door: the same ops one node at a time, on ONNX Runtime's CPU provider.
#pragma once

#include "api/ort_api.h"

namespace fastep {

// Adds the domain fastep to the session options. Throws.
void AddCustomOps(OrtSessionOptions* session_options);

}  // namespace fastep
