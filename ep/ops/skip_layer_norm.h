// SkipLayerNorm: y = LayerNormalization(x + residual); docs/op-contract-encoder.md is the contract.
#pragma once

#include <memory>
#include <vector>

#include "ops/op.h"

namespace fastep {

// Every variant that the contract names.
void AddSkipLayerNormVariants(std::vector<std::unique_ptr<const Op>>& ops);

}  // namespace fastep
