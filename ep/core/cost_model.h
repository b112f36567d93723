// Which RhsKind a layer gets: the one with the lowest predicted time on its tier.
#pragma once

#include "core/kernel_table.h"
#include "core/rhs_profile.h"
#include "core/tier.h"

namespace fastep {

// Cycles per token that the products of a layer of n outputs take, packed as `kind`; without lhs packing and unpacking.
double PredictCyclesPerToken(RhsKind kind, const RhsProfile& profile, int64_t n, Tier tier);

// The same of weights without zeros, packed as what suits them best.
double PredictFullCyclesPerToken(int64_t n, int64_t k, const KernelTable& kernels);

// The cheapest kind that the tier's table offers.
RhsKind ChooseRhsKind(const RhsProfile& profile, int64_t n, const KernelTable& kernels);

}  // namespace fastep
