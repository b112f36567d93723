#include "core/plan/kernel_set.h"

#include "core/tier.h"

namespace fastep {
namespace {

template <class Kernel>
void Fill(Kernel*& kernel, Kernel* instead) {
  if (kernel == nullptr) kernel = instead;
}

}  // namespace

// planar_from_quad stays null: the layout is the tier's own.
EncoderKernels CompleteKernels(const KernelTable& kernels) {
  EncoderKernels all = kernels.encoder;
  const EncoderKernels& scalar = KernelsOf(Tier::kScalar).encoder;
  Fill(all.pack_f32, scalar.pack_f32);
  Fill(all.layer_norm_stats, scalar.layer_norm_stats);
  Fill(all.layer_norm, scalar.layer_norm);
  Fill(all.embed, scalar.embed);
  Fill(all.pack_keys, scalar.pack_keys);
  Fill(all.pack_values, scalar.pack_values);
  Fill(all.softmax, scalar.softmax);
  return all;
}

}  // namespace fastep
