#include "ops/plan_key.h"

#include <optional>

#include "core/hash.h"
#include "ops/graph_builder.h"
#include "ops/registry.h"

namespace fastep {
namespace {

// A node that takes down what is read of it.
class HashedNode final : public NodeView {
 public:
  HashedNode(const NodeView& node, Hash& hash) : node_(node), hash_(hash) {
    hash_.Add(node.name());
    hash_.Add(node.op_type());
  }

  const std::string& name() const override { return node_.name(); }
  const std::string& op_type() const override { return node_.op_type(); }
  size_t InputCount() const override { return node_.InputCount(); }

  InputInfo Input(size_t index) const override {
    InputInfo info = node_.Input(index);
    hash_.Add(info.name);
    hash_.Add(static_cast<uint64_t>(info.type));
    return info;
  }
  std::string OutputName(size_t index) const override {
    std::string name = node_.OutputName(index);
    hash_.Add(name);
    return name;
  }
  TensorView Constant(size_t index) const override {
    const TensorView value = node_.Constant(index);
    hash_.Add(value.shape);
    hash_.Add(value.data, static_cast<size_t>(ElementCount(value.shape)) * ElementBytes(value.type));
    return value;
  }
  std::optional<std::vector<int64_t>> Ints(const std::string& attribute) const override {
    auto value = node_.Ints(attribute);
    if (value) hash_.Add(*value);
    return value;
  }
  std::optional<int64_t> Int(const std::string& attribute) const override {
    const auto value = node_.Int(attribute);
    if (value) hash_.Add(static_cast<uint64_t>(*value));
    return value;
  }
  std::optional<float> Float(const std::string& attribute) const override {
    const auto value = node_.Float(attribute);
    if (value) hash_.Add(&*value, sizeof(float));
    return value;
  }

 private:
  const NodeView& node_;
  Hash& hash_;
};

}  // namespace

PlanKey KeyOf(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
              const GraphPlanOptions& options) {
  Hash hash;
  GraphBuilder builder;
  for (const NodeView* node : nodes) {
    const HashedNode hashed(*node, hash);
    RequireOp(hashed, kOpVersion).AddTo(builder, hashed);
  }
  for (const std::string& name : outputs) hash.Add(name);
  hash.Add(static_cast<uint64_t>(options.tier));
  hash.Add(static_cast<uint64_t>(options.skip_padding));
  return hash.value();
}

}  // namespace fastep
