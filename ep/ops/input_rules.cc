#include "ops/input_rules.h"

#include <algorithm>

#include "core/error.h"

namespace fastep {
namespace {

constexpr const char* kConvertAgain = "; convert the model again with this version of FastEP";

std::string TypesText(const std::vector<DataType>& types) {
  std::string text;
  for (const DataType type : types) text += (text.empty() ? "" : " or ") + DataTypeName(type);
  return text;
}

bool Fits(const Shape& shape, const Shape& rule) {
  return shape.size() == rule.size() &&
         std::equal(shape.begin(), shape.end(), rule.begin(),
                    [](int64_t dim, int64_t wanted) { return wanted < 0 || dim == wanted; });
}

void CheckInput(const NodeView& node, const std::vector<InputDef>& defs, size_t index) {
  const InputDef& def = defs[index];
  const InputInfo info = node.Input(index);
  const std::string where = InputWhere(node, defs, index);
  if (!info.present) throw Error(where + ": expected a value, found none" + kConvertAgain);
  if (std::find(def.types.begin(), def.types.end(), info.type) == def.types.end()) {
    throw Error(where + ": expected " + TypesText(def.types) + ", found " + DataTypeName(info.type) + " ('" +
                info.name + "')" + kConvertAgain);
  }
  if (!def.runtime && !info.constant) {
    throw Error(where + ": expected a constant, found the computed or fed value '" + info.name +
                "'; store it as an initializer that is not also a graph input");
  }
}

}  // namespace

std::string InputWhere(const NodeView& node, const std::vector<InputDef>& defs, size_t index) {
  return node.Where() + ": input " + std::to_string(index) + " '" + defs[index].name + "'";
}

void CheckInputs(const NodeView& node, const std::vector<InputDef>& defs) {
  if (node.InputCount() != defs.size()) {
    throw Error(node.Where() + ": expected " + std::to_string(defs.size()) + " inputs, found " +
                std::to_string(node.InputCount()) + kConvertAgain);
  }
  for (size_t i = 0; i < defs.size(); ++i) CheckInput(node, defs, i);
}

void CheckSameType(const NodeView& node, const std::vector<InputDef>& defs, size_t index, size_t other) {
  const DataType expected = node.Input(other).type;
  const DataType found = node.Input(index).type;
  if (expected == found) return;
  throw Error(InputWhere(node, defs, index) + ": expected " + DataTypeName(expected) + ", the type of '" +
              defs[other].name + "', found " + DataTypeName(found) + kConvertAgain);
}

TensorView ReadConstant(const NodeView& node, const std::vector<InputDef>& defs, size_t index,
                        const std::vector<Shape>& allowed) {
  TensorView tensor = node.Constant(index);
  const auto fits = [&](const Shape& rule) { return Fits(tensor.shape, rule); };
  if (std::any_of(allowed.begin(), allowed.end(), fits)) return tensor;
  std::string expected;
  for (const Shape& rule : allowed) expected += (expected.empty() ? "" : " or ") + ShapeText(rule);
  throw Error(InputWhere(node, defs, index) + ": expected shape " + expected + ", found " + ShapeText(tensor.shape) +
              kConvertAgain);
}

}  // namespace fastep
