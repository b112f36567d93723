#include "bench/kernel_profile.h"

#include <time.h>

namespace fastep::bench {
namespace {

const KernelTable* inner = nullptr;
std::array<double, kPhases> seconds{};

// Wall time: asking for a thread's own time is a system call. Medians leave the disturbances out.
double Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

class Timer {
 public:
  explicit Timer(Phase phase) : phase_(phase), start_(Now()) {}
  ~Timer() { seconds[static_cast<size_t>(phase_)] += Now() - start_; }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  Phase phase_;
  double start_;
};

Phase PhaseOf(const Epilogue& epilogue) {
  if (epilogue.token_scale != nullptr) return Phase::kWeightedSum;
  if (epilogue.kind == OutputKind::kInt32) return Phase::kScores;
  if (epilogue.activation == Activation::kGelu) return Phase::kGelu;
  const bool quantized = epilogue.kind == OutputKind::kQuantU8 || epilogue.kind == OutputKind::kQuantS8;
  return quantized ? Phase::kQuantized : Phase::kResidual;
}

template <int kKind>
void Product(const ProductArgs* args) {
  const Timer timer(PhaseOf(*args->epilogue));
  inner->product[kKind](args);
}

void ByteProduct(const ProductArgs* args) {
  const Timer timer(PhaseOf(*args->epilogue));
  inner->byte_product(args);
}

// The entry of a table's encoder kernels, measured.
template <auto kEntry, Phase kPhase>
struct Measured;
template <class... Arguments, void (*EncoderKernels::*kEntry)(Arguments...), Phase kPhase>
struct Measured<kEntry, kPhase> {
  static void Run(Arguments... arguments) {
    const Timer timer(kPhase);
    (inner->encoder.*kEntry)(arguments...);
  }
};

template <auto kEntry, Phase kPhase>
void Wrap(EncoderKernels& encoder) {
  if (encoder.*kEntry != nullptr) encoder.*kEntry = Measured<kEntry, kPhase>::Run;
}

void UnpackF32(const float* tile, int32_t rows, int32_t m, int32_t tokens, float* y, size_t stride_bytes) {
  const Timer timer(Phase::kTransfer);
  inner->unpack_f32(tile, rows, m, tokens, y, stride_bytes);
}

template <int... kKinds>
void WrapProducts(KernelTable& table) {
  ((table.product[kKinds] = table.product[kKinds] == nullptr ? nullptr : Product<kKinds>), ...);
}

}  // namespace

const char* PhaseName(Phase phase) {
  constexpr const char* kNames[] = {"qkv",          "up, gelu",   "to residual", "scores", "pack keys", "softmax",
                                    "weighted sum", "statistics", "normalize",   "embed",  "transfer"};
  static_assert(sizeof kNames / sizeof *kNames == kPhases, "a name per phase");
  return kNames[static_cast<int>(phase)];
}

const KernelTable& ProfiledKernels(const KernelTable& kernels) {
  static KernelTable table;
  inner = &kernels;
  table = kernels;
  WrapProducts<0, 1, 2, 3, 4, 5>(table);
  if (table.byte_product != nullptr) table.byte_product = ByteProduct;
  table.unpack_f32 = UnpackF32;
  EncoderKernels& encoder = table.encoder;
  Wrap<&EncoderKernels::planar_from_quad, Phase::kTransfer>(encoder);
  Wrap<&EncoderKernels::layer_norm_stats, Phase::kNormStats>(encoder);
  Wrap<&EncoderKernels::layer_norm, Phase::kNorm>(encoder);
  Wrap<&EncoderKernels::embed, Phase::kEmbed>(encoder);
  Wrap<&EncoderKernels::pack_keys, Phase::kPackKeys>(encoder);
  Wrap<&EncoderKernels::pack_values, Phase::kPackKeys>(encoder);
  Wrap<&EncoderKernels::softmax, Phase::kSoftmax>(encoder);
  Wrap<&EncoderKernels::pack_float_keys, Phase::kPackKeys>(encoder);
  Wrap<&EncoderKernels::float_scores, Phase::kScores>(encoder);
  Wrap<&EncoderKernels::float_softmax, Phase::kSoftmax>(encoder);
  Wrap<&EncoderKernels::float_sums, Phase::kWeightedSum>(encoder);
  Wrap<&EncoderKernels::float_finish, Phase::kWeightedSum>(encoder);
  return table;
}

std::array<double, kPhases> TakeSeconds() {
  const std::array<double, kPhases> taken = seconds;
  seconds = {};
  return taken;
}

}  // namespace fastep::bench
