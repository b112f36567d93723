#include "api/plan_runner.h"

#include <utility>

#include "api/parallel_for.h"
#include "api/tensor_view.h"

namespace fastep {

InputSource::InputSource(const TensorView& constant) : constant_(constant) {
  const auto* data = constant.As<uint8_t>();
  bytes_.assign(data, data + static_cast<size_t>(ElementCount(constant.shape)) * ElementBytes(constant.type));
  // An empty one has no data, which is what marks a constant.
  if (bytes_.empty()) bytes_.push_back(0);
}

TensorView InputSource::Read(const OrtKernelContext* context) const {
  if (!bytes_.empty()) return {constant_.type, constant_.shape, bytes_.data()};
  const OrtValue* value = nullptr;
  Ort::ThrowOnError(Api().KernelContext_GetInput(context, index_, &value));
  return ViewTensor(value);
}

PlanRunner::PlanRunner(std::shared_ptr<const Plan> plan, std::vector<InputSource> inputs,
                       std::shared_ptr<ArenaPool> arenas, size_t threads)
    : plan_(std::move(plan)), inputs_(std::move(inputs)), arenas_(std::move(arenas)), threads_(threads) {}

void PlanRunner::Profile(std::shared_ptr<Profiler> profiler, const std::string& name) {
  profiler_ = std::move(profiler);
  subgraph_ = profiler_->AddSubgraph(name, *plan_);
  step_count_ = plan_->Steps().size();
}

void PlanRunner::Run(OrtKernelContext* context) const {
  if (plan_ == nullptr) return;
  if (profiler_ == nullptr) return Compute(context, nullptr);
  RunRecord record(step_count_);
  const int64_t start = NowNanoseconds();
  Compute(context, &record);
  profiler_->Add(subgraph_, record, NowNanoseconds() - start);
}

void PlanRunner::Compute(OrtKernelContext* context, RunRecord* record) const {
  std::vector<TensorView> inputs;
  inputs.reserve(inputs_.size());
  for (const InputSource& input : inputs_) inputs.push_back(input.Read(context));
  const std::vector<Shape> shapes = plan_->OutputShapes(inputs);
  std::vector<void*> outputs(shapes.size());
  for (size_t i = 0; i < shapes.size(); ++i) {
    OrtValue* value = nullptr;
    Ort::ThrowOnError(Api().KernelContext_GetOutput(context, i, shapes[i].data(), shapes[i].size(), &value));
    Ort::ThrowOnError(Api().GetTensorMutableData(value, &outputs[i]));
  }
  OrtParallel parallel(context, threads_);
  const ArenaPool::Lease lease = arenas_->Take();
  plan_->Run(inputs, outputs, parallel, *lease, record);
}

}  // namespace fastep
