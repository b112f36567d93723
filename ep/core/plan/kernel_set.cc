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
  Fill(all.pack_float_keys, scalar.pack_float_keys);
  Fill(all.float_scores, scalar.float_scores);
  Fill(all.float_softmax, scalar.float_softmax);
  Fill(all.float_sums, scalar.float_sums);
  Fill(all.float_finish, scalar.float_finish);
  return all;
}

}  // namespace fastep
