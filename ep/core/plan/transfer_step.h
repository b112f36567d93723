// Row-major tensors to tiles and back, at the borders of a plan.
#pragma once

#include "core/plan/step.h"

namespace fastep {

// Input `input`, [..., features] of `type`, to a value.
class ImportStep final : public Step {
 public:
  ImportStep(InputId input, ElementType type, View y) : input_(input), type_(type), y_(y) {}
  const char* Op() const override { return "import"; }
  std::vector<StorageId> Touches() const override { return {y_.storage}; }
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;

 private:
  size_t RowBytes() const;
  void ImportTile(const RunContext& run, const TileTurn& turn) const;

  InputId input_;
  ElementType type_;
  View y_;
};

// A value to output `output`. Tokens that are not computed become zeros.
class ExportStep final : public Step {
 public:
  ExportStep(View x, ElementType type, size_t output) : x_(x), type_(type), output_(output) {}
  const char* Op() const override { return "export"; }
  std::vector<StorageId> Touches() const override { return {x_.storage}; }
  StepNeeds Needs(const RunContext& run) const override;
  void Run(const RunContext& run, TileTurn& turn) const override;

 private:
  size_t RowBytes() const;
  void ExportTile(const RunContext& run, const TileTurn& turn) const;

  View x_;
  ElementType type_;
  size_t output_;
};

}  // namespace fastep
