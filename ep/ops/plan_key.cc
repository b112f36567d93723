#include "ops/plan_key.h"

#include <cstring>
#include <deque>
#include <optional>

#include "ops/graph_builder.h"
#include "ops/registry.h"

namespace fastep {
namespace {

// Two chains of xor or add, multiply, rotate: each step is a bijection of its word, so a single change is never lost.
class Hash {
 public:
  void Add(uint64_t word) {
    first_ = Rotate((first_ ^ word) * 0x9E3779B97F4A7C15u, 29);
    second_ = Rotate((second_ + word) * 0xC2B2AE3D27D4EB4Fu, 31);
  }
  void Add(const void* data, size_t bytes) {
    Add(bytes);
    const auto* at = static_cast<const uint8_t*>(data);
    for (; bytes >= sizeof(uint64_t); bytes -= sizeof(uint64_t), at += sizeof(uint64_t)) AddWord(at, sizeof(uint64_t));
    if (bytes > 0) AddWord(at, bytes);
  }
  void Add(const std::string& text) { Add(text.data(), text.size()); }
  void Add(const std::vector<int64_t>& values) { Add(values.data(), values.size() * sizeof(int64_t)); }
  PlanKey key() const { return {first_, second_}; }

 private:
  static uint64_t Rotate(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }
  void AddWord(const uint8_t* at, size_t bytes) {
    uint64_t word = 0;
    std::memcpy(&word, at, bytes);
    Add(word);
  }

  uint64_t first_ = 1, second_ = 2;
};

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
  return hash.key();
}

}  // namespace fastep
