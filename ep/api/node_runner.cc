#include "api/node_runner.h"

#include <utility>

#include "api/parallel_for.h"
#include "api/tensor_view.h"

namespace fastep {

NodeRunner::NodeRunner(std::unique_ptr<const Plan> plan, std::vector<size_t> inputs, std::shared_ptr<ArenaPool> arenas,
                       size_t threads)
    : plan_(std::move(plan)), inputs_(std::move(inputs)), arenas_(std::move(arenas)), threads_(threads) {}

void NodeRunner::Run(OrtKernelContext* context) const {
  std::vector<TensorView> inputs;
  inputs.reserve(inputs_.size());
  for (const size_t index : inputs_) {
    const OrtValue* value = nullptr;
    Ort::ThrowOnError(Api().KernelContext_GetInput(context, index, &value));
    inputs.push_back(ViewTensor(value));
  }
  const std::vector<Shape> shapes = plan_->OutputShapes(inputs);
  std::vector<void*> outputs(shapes.size());
  for (size_t i = 0; i < shapes.size(); ++i) {
    OrtValue* value = nullptr;
    Ort::ThrowOnError(Api().KernelContext_GetOutput(context, i, shapes[i].data(), shapes[i].size(), &value));
    Ort::ThrowOnError(Api().GetTensorMutableData(value, &outputs[i]));
  }
  OrtParallel parallel(context, threads_);
  const ArenaPool::Lease lease = arenas_->Take();
  plan_->Run(inputs, outputs, parallel, *lease);
}

}  // namespace fastep
