// Where the products of a plan come from: packed from weights, or read from a compiled model.
#pragma once

#include <vector>

#include "core/archive.h"
#include "core/page_pool.h"
#include "core/plan/packed_linear.h"

namespace fastep {

// Lowering asks for one product after the other; the order follows from the graph alone.
class Packer {
 public:
  virtual ~Packer() = default;
  // These linears as one product. Throws Error.
  virtual PackedLinears Pack(const std::vector<const LinearSpec*>& specs, const KernelTable& kernels) {
    PackedLinears linears(specs, kernels);
    linears.MoveInto(pool_);
    return linears;
  }

 private:
  PagePool pool_;
};

// Packs, and keeps what it packed.
class KeepingPacker final : public Packer {
 public:
  PackedLinears Pack(const std::vector<const LinearSpec*>& specs, const KernelTable& kernels) override {
    return products_.emplace_back(Packer::Pack(specs, kernels));
  }
  const std::vector<PackedLinears>& products() const { return products_; }

 private:
  std::vector<PackedLinears> products_;
};

// Hands out products that were packed before, in the same order. Nothing reads the weights of the specs.
class ReadyPacker final : public Packer {
 public:
  explicit ReadyPacker(std::vector<PackedLinears> products) : products_(std::move(products)) {}

  PackedLinears Pack(const std::vector<const LinearSpec*>& specs, const KernelTable& kernels) override {
    if (next_ == products_.size()) throw Error("it holds fewer products than the plan needs");
    products_[next_].Check(specs, kernels);
    return products_[next_++];
  }

 private:
  std::vector<PackedLinears> products_;
  size_t next_ = 0;
};

}  // namespace fastep
