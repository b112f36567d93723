#include "api/custom_ops.h"

#include <memory>
#include <mutex>
#include <vector>

#include "api/kernel_node.h"
#include "api/log.h"
#include "api/plan_runner.h"
#include "api/shape_inference.h"
#include "api/status.h"
#include "ops/plan_cache.h"
#include "ops/registry.h"

namespace fastep {
namespace {

// Kernels of all sessions share one pool, freed with the last of them.
std::shared_ptr<ArenaPool> SharedArenas() {
  static std::mutex mutex;
  static std::weak_ptr<ArenaPool> shared;
  const std::lock_guard<std::mutex> lock(mutex);
  auto arenas = shared.lock();
  if (arenas == nullptr) shared = arenas = std::make_shared<ArenaPool>();
  return arenas;
}

struct Kernel {
  PlanRunner runner;
  OrtStatus* ComputeV2(OrtKernelContext* context) noexcept {
    return ToStatus([&] { runner.Run(context); });
  }
};

// Where the kernel has the inputs of its plan, constant or not.
std::vector<InputSource> FindSources(const std::vector<std::string>& inputs, const NodeView& node) {
  std::vector<InputSource> sources;
  for (const std::string& name : inputs) {
    size_t index = 0;
    while (index < node.InputCount() && node.Input(index).name != name) ++index;
    sources.emplace_back(index);
  }
  return sources;
}

// Describes one Op to ONNX Runtime.
class CustomOp final : public Ort::CustomOpBase<CustomOp, Kernel, true> {
 public:
  explicit CustomOp(const Op& op) : op_(op) {
    version = ApiVersion();
    start_ver_ = kOpVersion;
    end_ver_ = kOpVersion;
    InferOutputShapeFn = [](const OrtCustomOp* self, OrtShapeInferContext* context) -> OrtStatus* {
      return ToStatus([&] { InferOutputShapes(static_cast<const CustomOp*>(self)->op_, context); });
    };
  }

  const char* GetName() const { return op_.name().c_str(); }
  size_t GetInputTypeCount() const { return op_.inputs().size(); }
  size_t GetOutputTypeCount() const { return op_.outputs().size(); }
  ONNXTensorElementDataType GetOutputType(size_t index) const {
    return static_cast<ONNXTensorElementDataType>(op_.outputs()[index]);
  }
  // Undefined: of several types; the op checks it when the kernel is created.
  ONNXTensorElementDataType GetInputType(size_t index) const {
    const auto& types = op_.inputs()[index].types;
    return types.size() == 1 ? static_cast<ONNXTensorElementDataType>(types[0])
                             : ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }

  OrtStatus* CreateKernelV2(const OrtApi&, const OrtKernelInfo* info, void** kernel) const noexcept {
    *kernel = nullptr;
    return ToStatus([&] {
      const KernelNode node(info, op_.name());
      std::vector<std::string> outputs;
      for (size_t i = 0; i < op_.outputs().size(); ++i) outputs.push_back(node.OutputName(i));
      const SharedPlan plan = MakeOrSharePlan({&node}, outputs, {ChooseTier()});
      Log(node.logger(), LogLevel::kDebug, node.Where() + ": " + plan.NodeSummary(node.name()));
      *kernel = new Kernel{PlanRunner(plan.plan, FindSources(plan.inputs, node), SharedArenas(), 0)};
    });
  }

 private:
  const Op& op_;
};

// Sessions refer to the domain and the ops in it, so both live as long as the library.
OrtCustomOpDomain* Domain() {
  static OrtCustomOpDomain* const domain = [] {
    OrtCustomOpDomain* created = nullptr;
    Ort::ThrowOnError(Api().CreateCustomOpDomain(kDomain, &created));
    for (const auto& op : AllOps()) Ort::ThrowOnError(Api().CustomOpDomain_Add(created, new CustomOp(*op)));
    return created;
  }();
  return domain;
}

}  // namespace

void AddCustomOps(OrtSessionOptions* session_options) {
  Ort::ThrowOnError(Api().AddCustomOpDomain(session_options, Domain()));
}

}  // namespace fastep
