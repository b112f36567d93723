// What ops read of a node, written down: enough to put the node into a plan again, without the model that it was in.
#pragma once

#include <string>
#include <vector>

#include "core/archive.h"
#include "ops/node_view.h"
#include "ops/op.h"

namespace fastep {

struct TensorRecord {
  DataType type = DataType::kUndefined;
  Shape shape;
  SharedArray<uint8_t> bytes;

  TensorRecord() = default;
  explicit TensorRecord(const TensorView& view);  // borrows what the view borrows
  size_t ByteCount() const;  // that type and shape ask for. Throws Error if there is no such tensor
  TensorView View() const;   // Throws Error if there are not as many bytes.

  template <class Archive, class Self>
  static void Fields(Archive& archive, Self& self) {
    archive(self.type, self.shape, self.bytes);
  }
};

struct NodeRecord {
  struct Input {
    bool present = false, constant = false;
    bool read = false;  // as a constant: `value` is there
    std::string name;
    TensorRecord value;  // without bytes if a packed product holds what they say; of any other input, type and shape

    template <class Archive, class Self>
    static void Fields(Archive& archive, Self& self) {
      archive(self.present, self.constant, self.read, self.name, self.value);
    }
  };
  // Of one name: an attribute that was asked for and is there, in the form that was asked for.
  struct Attribute {
    std::string name;
    int32_t form = 0;  // 0: ints, 1: one int, 2: one float
    std::vector<int64_t> ints;
    float real = 0;

    template <class Archive, class Self>
    static void Fields(Archive& archive, Self& self) {
      archive(self.name, self.form, self.ints, self.real);
    }
  };
  std::string op_type, name;
  std::vector<Input> inputs;
  std::vector<std::string> outputs;
  std::vector<Attribute> attributes;

  template <class Archive, class Self>
  static void Fields(Archive& archive, Self& self) {
    archive(self.op_type, self.name, self.inputs, self.outputs, self.attributes);
  }
};

// A node that takes down what is read of it.
class RecordingNode final : public NodeView {
 public:
  // keep_packed: also the values that only packing reads.
  RecordingNode(const NodeView& node, bool keep_packed);

  const NodeRecord& record() const { return record_; }

  const std::string& name() const override { return record_.name; }
  const std::string& op_type() const override { return record_.op_type; }
  size_t InputCount() const override { return record_.inputs.size(); }
  InputInfo Input(size_t index) const override { return node_.Input(index); }
  TensorView Constant(size_t index) const override;
  std::string OutputName(size_t index) const override { return node_.OutputName(index); }
  std::optional<std::vector<int64_t>> Ints(const std::string& attribute) const override;
  std::optional<int64_t> Int(const std::string& attribute) const override;
  std::optional<float> Float(const std::string& attribute) const override;

 private:
  void Keep(NodeRecord::Attribute attribute) const;

  const NodeView& node_;
  const Op& op_;
  bool keep_packed_;
  mutable NodeRecord record_;
};

// A node as it was taken down. Throws Error where a reader asks for more.
class RecordedNode final : public NodeView {
 public:
  // `record` outlives the node.
  explicit RecordedNode(const NodeRecord& record) : record_(record) {}

  const std::string& name() const override { return record_.name; }
  const std::string& op_type() const override { return record_.op_type; }
  size_t InputCount() const override { return record_.inputs.size(); }
  InputInfo Input(size_t index) const override;
  TensorView Constant(size_t index) const override;
  std::string OutputName(size_t index) const override;
  std::optional<std::vector<int64_t>> Ints(const std::string& attribute) const override;
  std::optional<int64_t> Int(const std::string& attribute) const override;
  std::optional<float> Float(const std::string& attribute) const override;

 private:
  const NodeRecord::Attribute* Find(const std::string& attribute, int32_t form) const;

  const NodeRecord& record_;
};

}  // namespace fastep
