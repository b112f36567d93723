// Compiled models: subgraphs as nodes com.microsoft::EPContext, whose content is a compiled plan (ops/compiled_plan.h)
// in an attribute, or in a file beside the model.
#pragma once

#include <memory>
#include <string>

#include "api/context_file.h"
#include "api/options.h"
#include "api/ort_api.h"
#include "ops/compiled_plan.h"

namespace fastep {

// What a session says about the writing of compiled models; ONNX Runtime's own entries.
struct ContextOptions {
  bool enable = false;
  bool embed = false;
  std::string model_path;  // of the compiled model; empty: ONNX Runtime's default, or in memory
};
ContextOptions ParseContextOptions(const ConfigEntries& entries);

// True if the node is the content of a plan of ours.
bool IsContextNode(Ort::ConstNode node);

// Writes the compiled plans of one session.
class ContextWriter {
 public:
  explicit ContextWriter(ContextOptions options) : options_(std::move(options)) {}

  bool enabled() const { return options_.enable; }
  // A node that stands for the fused one. `graph`: what was fused. Throws Error.
  OrtNode* Write(Ort::ConstGraph graph, Ort::ConstNode fused, const PlanRecord& record, Tier tier);
  // What was written is complete.
  void Commit();

 private:
  std::string FilePath(Ort::ConstGraph graph) const;

  ContextOptions options_;
  std::unique_ptr<ContextFile> file_;
};

// Where the content of an EPContext node stands. `model_path`: of the compiled model, if it was read from memory.
struct ContextContent {
  BlobSource source;
  std::string partition;
};
ContextContent ReadContext(Ort::ConstGraph graph, Ort::ConstNode node, const std::string& model_path);

}  // namespace fastep
