// C ABI for tests: build and run an EncoderPlan.

#include <vector>

#include "capi/linear_args.h"
#include "capi/status.h"
#include "capi/thread_parallel.h"
#include "core/plan/plan_builder.h"

namespace fastep::capi {

// Specs with C types; tests/kernels/plan_capi.py mirrors them. Enumerations as in core/plan/types.h.
struct QuantizationArgs {
  int32_t type;
  float scale;
  int32_t zero_point;
};

struct NormArgs {
  const char* name;
  int64_t features;
  const float* gamma;
  const float* beta;
  float epsilon;
  int32_t wants_float;
  QuantizationArgs quantized;
};

struct TableArgs {
  const void* data;
  int64_t rows;
  QuantizationArgs quantization;
  int32_t ids;
};

struct AttentionArgs {
  const char* name;
  int64_t num_heads;
  float scale;
  QuantizationArgs q, k, v, y;
  int32_t mask, bias;
};

struct TensorArgs {
  int32_t type;
  int32_t rank;
  int64_t shape[8];
  void* data;
};

using PlanHandle = std::shared_ptr<const EncoderPlan>;

namespace {

Quantization ToQuantization(const QuantizationArgs& args) {
  return {static_cast<ElementType>(args.type), args.scale, args.zero_point};
}

NormSpec ToNorm(const NormArgs& args) {
  return {args.name,
          args.features,
          args.gamma,
          args.beta,
          args.epsilon,
          args.wants_float != 0,
          ToQuantization(args.quantized)};
}

std::vector<PlanTensor> ToTensors(const TensorArgs* args, int32_t count) {
  std::vector<PlanTensor> tensors;
  for (int32_t i = 0; i < count; ++i) {
    const TensorArgs& a = args[i];
    tensors.push_back({static_cast<TensorType>(a.type), {a.shape, a.shape + a.rank}, a.data});
  }
  return tensors;
}

}  // namespace

FASTEP_CAPI PlanBuilder* fastep_plan_builder() { return new PlanBuilder; }
FASTEP_CAPI void fastep_plan_builder_free(PlanBuilder* builder) { delete builder; }

FASTEP_CAPI int fastep_plan_activation(PlanBuilder* builder, const char* name, int type, int64_t features) {
  return builder->Activation(name, static_cast<ElementType>(type), features);
}
FASTEP_CAPI int fastep_plan_ids(PlanBuilder* builder, const char* name) { return builder->Ids(name); }
FASTEP_CAPI int fastep_plan_mask(PlanBuilder* builder, const char* name) { return builder->Mask(name); }
FASTEP_CAPI int fastep_plan_bias(PlanBuilder* builder, const char* name, int64_t heads) {
  return builder->Bias(name, heads);
}
FASTEP_CAPI void fastep_plan_output(PlanBuilder* builder, int value) { builder->Output(value); }
FASTEP_CAPI void fastep_plan_skip_padding(PlanBuilder* builder, int mask) { builder->SkipPadding(mask); }

FASTEP_CAPI int fastep_plan_linear(PlanBuilder* builder, int x, const LinearArgs* args, int32_t* y) {
  return Guard([&] { *y = builder->Linear(x, ToSpec(*args)); });
}

// y: as float, quantized.
FASTEP_CAPI int fastep_plan_skip_layer_norm(PlanBuilder* builder, int x, int residual, const NormArgs* args,
                                            int32_t* y) {
  return Guard([&] {
    const NormValues values = builder->SkipLayerNorm(x, residual, ToNorm(*args));
    y[0] = values.as_float;
    y[1] = values.quantized;
  });
}

FASTEP_CAPI int fastep_plan_embed_layer_norm(PlanBuilder* builder, const NormArgs* norm, const TableArgs* tables,
                                             int32_t count, int32_t* y) {
  return Guard([&] {
    EmbedSpec spec{ToNorm(*norm), {}};
    for (int32_t i = 0; i < count; ++i) {
      spec.tables.push_back({tables[i].data, tables[i].rows, ToQuantization(tables[i].quantization), tables[i].ids});
    }
    const NormValues values = builder->EmbedLayerNorm(spec);
    y[0] = values.as_float;
    y[1] = values.quantized;
  });
}

FASTEP_CAPI int fastep_plan_attention(PlanBuilder* builder, int q, int k, int v, const AttentionArgs* args,
                                      int32_t* y) {
  return Guard([&] {
    const AttentionSpec spec{args->name,
                             args->num_heads,
                             args->scale,
                             ToQuantization(args->q),
                             ToQuantization(args->k),
                             ToQuantization(args->v),
                             ToQuantization(args->y),
                             args->mask,
                             args->bias};
    *y = spec.IsFloat() ? builder->FAttention(q, k, v, spec) : builder->QAttention(q, k, v, spec);
  });
}

FASTEP_CAPI int fastep_plan_build(const PlanBuilder* builder, int tier, PlanHandle** out) {
  return Guard([&] { *out = new PlanHandle(builder->Build(static_cast<Tier>(tier))); });
}

FASTEP_CAPI void fastep_plan_free(PlanHandle* plan) { delete plan; }

// Steps of the plan, as its summary says.
FASTEP_CAPI int fastep_plan_summary(const PlanHandle* plan, char* out, int64_t size) {
  return static_cast<int>((*plan)->Summary().copy(out, static_cast<size_t>(size)));
}

// Fills rank and shape of `outputs`.
FASTEP_CAPI int fastep_plan_output_shapes(const PlanHandle* plan, const TensorArgs* inputs, int32_t input_count,
                                          TensorArgs* outputs) {
  return Guard([&] {
    for (const std::vector<int64_t>& shape : (*plan)->OutputShapes(ToTensors(inputs, input_count))) {
      outputs->rank = static_cast<int32_t>(shape.size());
      std::copy(shape.begin(), shape.end(), outputs->shape);
      ++outputs;
    }
  });
}

FASTEP_CAPI int fastep_plan_run(const PlanHandle* plan, const TensorArgs* inputs, int32_t input_count,
                                const TensorArgs* outputs, int32_t output_count, int threads) {
  return Guard([&] {
    std::vector<void*> data;
    for (int32_t i = 0; i < output_count; ++i) data.push_back(outputs[i].data);
    ThreadParallel parallel(static_cast<size_t>(threads));
    Arena arena;
    (*plan)->Run(ToTensors(inputs, input_count), data, parallel, arena);
  });
}

}  // namespace fastep::capi
