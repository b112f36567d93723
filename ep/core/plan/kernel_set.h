// A tier's kernels for plans, with those of the tier scalar where it has none of its own.
#pragma once

#include "core/kernel_table.h"

namespace fastep {

EncoderKernels CompleteKernels(const KernelTable& kernels);

}  // namespace fastep
