// QLinear: y = quantize(act(dequantize(x) . dequantize(W)^T + bias)); docs/op-contract.md is the contract.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/kernel_table.h"
#include "core/linear.h"
#include "ops/op.h"

namespace fastep {

// What a name such as QLinear_gelu_u8_sparse says.
struct QLinearVariant {
  Activation activation = Activation::kNone;
  ElementType y_type = ElementType::kF32;
  bool sparse = false;  // W is stored as blocks

  std::string Name() const;
  std::vector<InputDef> Inputs() const;
};

// Every variant that the contract names.
void AddQLinearVariants(std::vector<std::unique_ptr<const Op>>& ops);

}  // namespace fastep
