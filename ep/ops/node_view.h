// A node as an op sees it, whichever door it came through (a graph node of the execution provider, a custom-op kernel).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ops/tensor.h"

namespace fastep {

struct InputInfo {
  bool present = false;
  std::string name;
  DataType type = DataType::kUndefined;
  Shape shape;  // empty: a scalar, or nothing known about it
  bool constant = false;
};

class NodeView {
 public:
  virtual ~NodeView() = default;

  virtual const std::string& name() const = 0;
  virtual const std::string& op_type() const = 0;
  virtual size_t InputCount() const = 0;
  virtual InputInfo Input(size_t index) const = 0;         // cheap: reads no weights
  virtual std::string OutputName(size_t index) const = 0;  // empty: nobody wants it

  // The value of a constant input, valid as long as the node is, or as its owner.
  virtual TensorView Constant(size_t index) const = 0;

  // nullopt: the node has no such attribute of integers.
  virtual std::optional<std::vector<int64_t>> Ints(const std::string& attribute) const = 0;
  // nullopt: the node has no such attribute of one integer, or of one float.
  virtual std::optional<int64_t> Int(const std::string& attribute) const = 0;
  virtual std::optional<float> Float(const std::string& attribute) const = 0;

  // "node 'encoder.0.query' (fastep::QLinear_u8)", how every message starts.
  std::string Where() const { return "node '" + name() + "' (fastep::" + op_type() + ")"; }
};

}  // namespace fastep
