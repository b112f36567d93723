// A layer with a random weight of a given structure, packed, and a way to run only its product.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/epilogue_params.h"
#include "core/packed_rhs.h"
#include "core/rhs_profile.h"
#include "core/weights.h"

namespace fastep::bench {

// Blocks of rows x cols, of which a share 1 - sparsity is kept, drawn without regard to rows: row groups are uneven, as
// pruning leaves them.
struct Pattern {
  std::string name;
  RhsKind kind;
  int rows, cols;
  double sparsity;
};

struct Shape {
  int64_t n, k;
};

Weights MakeWeights(const Pattern& pattern, const Shape& shape, uint32_t seed = 1);

class BenchLayer {
 public:
  BenchLayer(const Pattern& pattern, const Shape& shape, Tier tier);

  // Runs epilogue(X . W^T) once on packed tiles of `tokens` tokens; outputs stay in tile layout.
  void Multiply(int64_t tokens, bool accumulators);

  int64_t non_zeros() const { return profile_.non_zeros; }
  const RhsProfile& profile() const { return profile_; }
  const PackedRhs& rhs() const { return *rhs_; }

 private:
  // The packed tiles of `tokens` random tokens, all `stride` bytes apart.
  const uint8_t* PackedTokens(int64_t tokens, size_t stride) const;
  int32_t widest() const { return kernels_.blocking[static_cast<int>(rhs_->kind())].tile_tokens; }

  const KernelTable& kernels_;
  int64_t k_;
  RhsProfile profile_;
  std::unique_ptr<PackedRhs> rhs_;
  std::unique_ptr<EpilogueParams> epilogue_;
};

}  // namespace fastep::bench
