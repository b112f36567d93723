#include "ops/qattention.h"

#include "ops/attention.h"

namespace fastep {

void AddQAttentionVariants(std::vector<std::unique_ptr<const Op>>& ops) {
  AddAttentionVariants(AttentionFamily::kQuantized, ops);
}

}  // namespace fastep
