#include "ops/fattention.h"

#include "ops/attention.h"

namespace fastep {

void AddFAttentionVariants(std::vector<std::unique_ptr<const Op>>& ops) {
  AddAttentionVariants(AttentionFamily::kFloat, ops);
}

}  // namespace fastep
