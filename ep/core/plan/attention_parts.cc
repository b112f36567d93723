#include "core/plan/attention_parts.h"

#include <algorithm>

namespace fastep {

StepWork AttentionWork(const RunContext& run, const KeyMap& keys, int64_t features) {
  StepWork work;
  for (size_t i = 0; i < run.tokens.sequences().size(); ++i) {
    const int64_t queries = run.tokens.sequences()[i].count;
    work.macs += 2 * queries * keys.keys(i) * features;
    work.dense_macs += 2 * queries * queries * features;
  }
  return work;
}

StepNeeds AttentionNeeds(int32_t heads, size_t shared_bytes, size_t worker_bytes) {
  StepNeeds needs{{static_cast<size_t>(heads), static_cast<size_t>(heads)}};
  needs.joins = true;
  needs.shared_bytes = shared_bytes;
  needs.worker_bytes = worker_bytes;
  return needs;
}

AttentionBias::AttentionBias(const RunContext& run, InputId bias, const KeyMap& keys, size_t sequence, int32_t head)
    : keys_(keys), sequence_(sequence) {
  const PlanTensor& tensor = run.inputs[static_cast<size_t>(bias)];
  const std::vector<int64_t>& shape = tensor.shape;
  const auto stride = [&](size_t dim, int64_t size) { return shape[dim] == 1 ? 0 : size; };
  const int64_t batch = stride(0, shape[1] * shape[2] * shape[3]), heads = stride(1, shape[2] * shape[3]);
  query_stride_ = stride(2, shape[3]);
  key_stride_ = stride(3, 1);
  data_ = static_cast<const float*>(tensor.data) + run.tokens.sequences()[sequence].index * batch + head * heads;
}

void AttentionBias::Fill(int64_t position, int32_t count, int32_t lane, int32_t width, float* out) const {
  for (const KeyMap::Run& visible : keys_.OfSequence(sequence_)) {
    for (int64_t key = visible.position; key < visible.position + visible.count; ++key) {
      std::fill(out, out + width, 0.0f);
      for (int32_t t = 0; t < count; ++t) {
        out[lane + t] = data_[(position + t) * query_stride_ + key * key_stride_] * static_cast<float>(kLog2E);
      }
      out += width;
    }
  }
}

}  // namespace fastep
