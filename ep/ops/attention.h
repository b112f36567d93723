// What QAttention and FAttention share: all but the types of q, k and v. docs/op-contract-encoder.md is the contract.
#pragma once

#include <memory>
#include <vector>

#include "ops/op.h"

namespace fastep {

enum class AttentionFamily { kQuantized, kFloat };

// Every variant of a family that the contract names.
void AddAttentionVariants(AttentionFamily family, std::vector<std::unique_ptr<const Op>>& ops);

}  // namespace fastep
