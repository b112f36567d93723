// One or several linears that read the same value, packed as one product.
#pragma once

#include <cstdint>
#include <vector>

#include "core/epilogue_params.h"
#include "core/linear.h"
#include "core/packed_rhs.h"
#include "core/shared_array.h"

namespace fastep {

class PackedLinears {
 public:
  // Rows of the second follow those of the first, and so on; all but the last have N a multiple of kRowStep. Throws
  // fastep::Error if a spec breaks the contract.
  PackedLinears(const std::vector<const LinearSpec*>& specs, const KernelTable& kernels);
  PackedLinears() = default;  // to be read from an archive

  const PackedRhs& rhs() const { return rhs_; }
  const LinearInfo& info() const { return info_; }
  int32_t n() const { return n_; }
  int32_t k() const { return k_; }
  int32_t x_zero_point() const { return x_zero_point_; }  // as u8
  void MoveInto(PagePool& pool);
  // token_sum is filled in by the caller.
  Epilogue View() const;

  // Of what was read from an archive: throws Error unless it is the product of these linears on these kernels. Weights,
  // scales and biases of the specs are not looked at.
  void Check(const std::vector<const LinearSpec*>& specs, const KernelTable& kernels) const;

  template <class Archive, class Self>
  static void Fields(Archive& archive, Self& self) {
    auto& e = self.epilogue_;
    archive(self.n_, self.k_, self.x_zero_point_);
    archive(e.kind, e.activation, e.out_scale, e.out_zero_point, e.lo, e.hi, e.bounded);
    archive(self.acc_init_, self.scale_, self.bias_, self.rhs_zero_point_);
    archive(self.rhs_, self.info_.kind, self.info_.density, self.info_.work_density, self.info_.packed_bytes);
    archive(self.info_.predicted_cycles_per_token);
    for (auto& density : self.info_.kind_density) archive(density);
  }

 private:
  class Parts;

  PackedRhs rhs_;
  LinearInfo info_;
  int32_t n_ = 0, k_ = 0, x_zero_point_ = 0;
  Epilogue epilogue_{};
  SharedArray<int32_t> acc_init_;
  SharedArray<float> scale_, bias_;
  SharedArray<int32_t> rhs_zero_point_;  // empty: all are 0
};

// True if these can be one product.
bool CanMerge(const LinearSpec& first, const LinearSpec& next);

}  // namespace fastep
