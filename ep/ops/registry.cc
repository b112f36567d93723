#include "ops/registry.h"

#include <algorithm>

#include "core/error.h"
#include "ops/embed_layer_norm.h"
#include "ops/fattention.h"
#include "ops/qattention.h"
#include "ops/qlinear.h"
#include "ops/skip_layer_norm.h"

namespace fastep {
namespace {

struct Family {
  const char* name;
  void (*add_variants)(std::vector<std::unique_ptr<const Op>>& ops);
};

constexpr Family kFamilies[] = {
    {"QLinear", AddQLinearVariants},
    {"QAttention", AddQAttentionVariants},
    {"FAttention", AddFAttentionVariants},
    {"SkipLayerNorm", AddSkipLayerNormVariants},
    {"EmbedLayerNorm", AddEmbedLayerNormVariants},
};

}  // namespace

const std::vector<std::unique_ptr<const Op>>& AllOps() {
  static const auto ops = [] {
    std::vector<std::unique_ptr<const Op>> all;
    for (const Family& family : kFamilies) family.add_variants(all);
    return all;
  }();
  return ops;
}

const std::vector<std::string>& OpFamilies() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Family& family : kFamilies) all.emplace_back(family.name);
    return all;
  }();
  return names;
}

const Op* FindOp(std::string_view name) {
  const auto& ops = AllOps();
  const auto found = std::find_if(ops.begin(), ops.end(), [&](const auto& op) { return op->name() == name; });
  return found == ops.end() ? nullptr : found->get();
}

const Op& RequireOp(const NodeView& node, int version) {
  const Op* op = FindOp(node.op_type());
  if (op != nullptr && version == kOpVersion) return *op;
  std::string known;
  for (const std::string& family : OpFamilies()) known += (known.empty() ? "" : ", ") + family;
  const std::string expected = ": expected a variant of " + known + " in version " + std::to_string(kOpVersion);
  const std::string found = op == nullptr ? "an op of another name" : "version " + std::to_string(version);
  throw Error(node.Where() + expected + ", found " + found + "; update FastEP, or convert the model with this version");
}

}  // namespace fastep
