// The interface between the doors (ep/api) and the fused ops: an Op checks a node and plans it, a Plan runs it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/parallel.h"
#include "core/plan/step_profile.h"
#include "core/tier.h"
#include "ops/node_view.h"
#include "ops/tensor.h"

namespace fastep {

// Domain and version of every op here (docs/op-contract.md).
constexpr const char* kDomain = "fastep";
constexpr int kOpVersion = 1;

// One dimension in shape inference: a number, a symbol, or neither.
struct Dimension {
  int64_t value = -1;
  std::string symbol;
};

struct InputDef {
  std::string name;
  std::vector<DataType> types;  // any of these
  bool runtime = false;         // otherwise it must be a constant initializer
  bool external = false;        // ids, masks: no node of the same plan may compute it
  bool packed = false;          // only packing reads the value: a packed product takes its place
};

// What shape inference knows of a node.
class ShapeContext {
 public:
  virtual ~ShapeContext() = default;
  virtual std::vector<Dimension> InputShape(size_t index) const = 0;   // empty: a scalar, or nothing known
  virtual std::vector<int64_t> Ints(const char* attribute) const = 0;  // empty: no such attribute
};

// One node with its weights packed. Immutable: Run is safe from any number of threads at once.
class Plan {
 public:
  virtual ~Plan() = default;
  // `inputs`: the runtime inputs in order. Throws Error if their types or shapes do not fit the node.
  virtual std::vector<Shape> OutputShapes(const std::vector<TensorView>& inputs) const = 0;
  virtual std::vector<DataType> OutputTypes() const = 0;
  // `outputs`: memory for each output, of its type, row-major. `arena` is used by this call alone while it runs.
  // `record`, with an entry per step, is told what each took; null: nobody wants to know.
  virtual void Run(const std::vector<TensorView>& inputs, const std::vector<void*>& outputs, Parallel& parallel,
                   Arena& arena, RunRecord* record) const = 0;
  virtual std::vector<StepLabel> Steps() const = 0;
  virtual std::string Summary() const = 0;                                         // which kernel and why, for the log
  virtual std::string NodeSummary(const std::string&) const { return Summary(); }  // the part of one node
};

class GraphBuilder;

// One named variant of a fused op; the name alone says what it computes.
class Op {
 public:
  virtual ~Op() = default;
  virtual const std::string& name() const = 0;
  virtual const std::vector<InputDef>& inputs() const = 0;
  virtual const std::vector<DataType>& outputs() const = 0;

  // Cheap and deterministic. Throws Error naming node, input, what was expected and found, and what to do.
  virtual void Check(const NodeView& node) const = 0;
  // Check, then read and pack the constants for `tier`. Throws Error.
  virtual std::unique_ptr<const Plan> MakePlan(const NodeView& node, Tier tier) const = 0;
  // Check, then add the node to a plan of several; constants are read when that is built. Throws Error.
  virtual void AddTo(GraphBuilder& builder, const NodeView& node) const = 0;
  // True if the checked node can be part of a plan of several. As cheap as Check.
  virtual bool CanJoin(const NodeView& /*node*/) const { return true; }
  // The shape of each output; an empty one is not known.
  virtual std::vector<std::vector<Dimension>> InferShapes(const ShapeContext& context) const = 0;
};

}  // namespace fastep
