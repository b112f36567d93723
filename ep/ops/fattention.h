// FAttention: softmax(q k^T * scale + mask) v on float operands; docs/op-contract-encoder.md is the contract.
#pragma once

#include <memory>
#include <vector>

#include "ops/op.h"

namespace fastep {

// Every variant that the contract names.
void AddFAttentionVariants(std::vector<std::unique_ptr<const Op>>& ops);

}  // namespace fastep
