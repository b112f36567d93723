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
  const Shape shape = plan_->OutputShape(inputs);
  OrtValue* output = nullptr;
  Ort::ThrowOnError(Api().KernelContext_GetOutput(context, 0, shape.data(), shape.size(), &output));
  if (ElementCount(shape) == 0) return;
  void* y = nullptr;
  Ort::ThrowOnError(Api().GetTensorMutableData(output, &y));
  OrtParallel parallel(context, threads_);
  const ArenaPool::Lease lease = arenas_->Take();
  plan_->Run(inputs, y, parallel, *lease);
}

}  // namespace fastep
