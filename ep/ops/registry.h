// The only list of ops.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ops/op.h"

namespace fastep {

const std::vector<std::unique_ptr<const Op>>& AllOps();  // every variant of every op, in a fixed order
const std::vector<std::string>& OpFamilies();            // "QLinear", ...: the part of the names before the variant

const Op* FindOp(std::string_view name);  // null: not an op of this library
// As FindOp, but throws Error naming the node, the version and the known ops.
const Op& RequireOp(const NodeView& node, int version);

}  // namespace fastep
