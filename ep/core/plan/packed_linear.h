// One or several linears that read the same value, packed as one product.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/epilogue_params.h"
#include "core/linear.h"
#include "core/packed_rhs.h"

namespace fastep {

class PackedLinears {
 public:
  // Rows of the second follow those of the first, and so on; all but the last have N a multiple of kRowStep. Throws
  // fastep::Error if a spec breaks the contract.
  PackedLinears(const std::vector<const LinearSpec*>& specs, const KernelTable& kernels);

  const PackedRhs& rhs() const { return *rhs_; }
  const LinearInfo& info() const { return info_; }
  int32_t n() const { return n_; }
  int32_t k() const { return k_; }
  int32_t x_zero_point() const { return x_zero_point_; }  // as u8
  // token_sum is filled in by the caller.
  Epilogue View() const;

 private:
  void Append(const Epilogue& part, int64_t n);

  std::unique_ptr<const PackedRhs> rhs_;
  LinearInfo info_;
  int32_t n_ = 0, k_ = 0, x_zero_point_ = 0;
  Epilogue epilogue_;
  AlignedVector<int32_t> acc_init_, rhs_zero_point_;
  AlignedVector<float> scale_, bias_;
};

// True if these can be one product.
bool CanMerge(const LinearSpec& first, const LinearSpec& next);

}  // namespace fastep
