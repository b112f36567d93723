// Checks of a node's inputs that every op shares; a broken rule is an Error that says where, what was expected, what
// was found and what to do.
#pragma once

#include <string>
#include <vector>

#include "ops/node_view.h"
#include "ops/op.h"

namespace fastep {

// As many inputs as `defs`, all present, each of an allowed type, constant where it must be.
void CheckInputs(const NodeView& node, const std::vector<InputDef>& defs);

// Two inputs of one type, such as x and its zero point.
void CheckSameType(const NodeView& node, const std::vector<InputDef>& defs, size_t index, size_t other);

// The value of constant input `index`, whose shape is one of `allowed` (-1: any size).
TensorView ReadConstant(const NodeView& node, const std::vector<InputDef>& defs, size_t index,
                        const std::vector<Shape>& allowed);

// The part of a message that names an input: "node 'n' (fastep::QLinear_u8): input 4 'w_scale'".
std::string InputWhere(const NodeView& node, const std::vector<InputDef>& defs, size_t index);

}  // namespace fastep
