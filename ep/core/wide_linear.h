// Layers whose sums of products may leave int32 (K beyond some 30000): exact, with 64-bit sums, and slow.
#pragma once

#include <memory>

#include "core/linear.h"
#include "core/rhs_profile.h"
#include "core/weights.h"

namespace fastep {

std::shared_ptr<const Linear> CreateWideLinear(const LinearSpec& spec, Weights weights, const RhsProfile& profile);

}  // namespace fastep
