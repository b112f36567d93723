// What SkipLayerNorm and EmbedLayerNorm have in common: the forms of y, gamma, beta, epsilon.
#pragma once

#include <string>
#include <vector>

#include "core/plan/types.h"
#include "ops/graph_builder.h"
#include "ops/op.h"

namespace fastep {

// The part {f32|{q}|f32_{q}} of a name.
struct NormOutputs {
  bool as_float = false;
  ElementType quantized = ElementType::kF32;  // kF32: none

  std::string Suffix() const;
  std::vector<DataType> Types() const;
};

const std::vector<NormOutputs>& AllNormOutputs();

// Appends gamma, beta and, for a quantized output, its scale and zero point.
void AddNormInputs(const NormOutputs& outputs, std::vector<InputDef>& inputs);

// `gamma`: index of that input; the others follow it. Throws Error.
NormSpec ReadNorm(const NodeView& node, const std::vector<InputDef>& inputs, size_t gamma, const NormOutputs& outputs);
void CheckNorm(const NodeView& node);

void DefineNorm(GraphBuilder& builder, const NodeView& node, const NormValues& values);

}  // namespace fastep
