#include "bench/plan_bench.h"

#include <algorithm>
#include <cstdio>

#include "bench/encoder_model.h"
#include "bench/kernel_profile.h"
#include "bench/machine.h"

namespace fastep::bench {
namespace {

const EncoderShape kShapes[] = {{"DistilBERT-base", 6, 768, 12, 3072}, {"MiniLM-L6", 6, 384, 12, 1536}};

struct Input {
  int64_t batch, length;
};
constexpr Input kInputs[] = {{1, 32}, {1, 128}, {1, 384}, {8, 128}};

struct PlanSamples {
  std::vector<double> seconds, share;
  std::vector<double> phases[kPhases];
};

bool Selected(const Options& options, const Pattern& pattern) {
  const bool usual =
      pattern.name == "dense" || pattern.name == "4x4" || (pattern.name == "4x1" && pattern.sparsity < 0.85);
  return options.pattern.empty() ? usual : pattern.name == options.pattern;
}

bool Selected(const Options& options, const Input& input) {
  return options.tokens.empty() ||
         std::find(options.tokens.begin(), options.tokens.end(), input.batch * input.length) != options.tokens.end();
}

// The yardstick is taken around every run, because the clock of a shared machine changes.
PlanSamples Measure(const Options& options, const EncoderModel& model, const EncoderModel& profiled,
                    const Input& input) {
  EncoderRun run(model, input.batch, input.length), measured(profiled, input.batch, input.length);
  const double products = model.Products(input.batch, input.length);
  PlanSamples samples;
  run.Run();
  measured.Run();
  for (int round = 0; round < options.rounds; ++round) {
    const double before = MeasurePeak(options.tier), start = ThreadSeconds();
    run.Run();
    const double seconds = ThreadSeconds() - start;
    const double peak = std::max(before, MeasurePeak(options.tier));
    samples.seconds.push_back(seconds);
    samples.share.push_back(peak > 0 ? products / peak / seconds : 0);
    TakeSeconds();
    measured.Run();
    const std::array<double, kPhases> phases = TakeSeconds();
    for (size_t i = 0; i < kPhases; ++i) samples.phases[i].push_back(phases[i]);
  }
  return samples;
}

void PrintRow(const EncoderModel& model, const Pattern& pattern, const Input& input, const PlanSamples& samples) {
  const Spread ms = SpreadOf(samples.seconds), share = SpreadOf(samples.share);
  std::printf("%-15s %-5s %3.0f%% %2lldx%-4lld %8.3f %8.3f %6.1f %6.1f ", model.shape.name.c_str(),
              pattern.name.c_str(), pattern.sparsity * 100, static_cast<long long>(input.batch),
              static_cast<long long>(input.length),
              *std::min_element(samples.seconds.begin(), samples.seconds.end()) * 1e3, ms.median * 1e3,
              *std::max_element(samples.share.begin(), samples.share.end()) * 100, share.median * 100);
  // The least of each: disturbances only add to wall time.
  double rest = *std::min_element(samples.seconds.begin(), samples.seconds.end());
  for (const std::vector<double>& phase : samples.phases) {
    const double least = *std::min_element(phase.begin(), phase.end());
    rest -= least;
    std::printf(" %7.3f", least * 1e3);
  }
  std::printf(" %7.3f\n", rest * 1e3);
  std::fflush(stdout);
}

void PrintHead(const Options& options) {
  std::printf("%s, tier %s, one thread, %d rounds; encoder from ids to the last LayerNorm\n", CpuModel().c_str(),
              std::string(TierName(options.tier)).c_str(), options.rounds);
  std::printf(
      "ms: least and median; %%: of the time that products of non-zero weights and of attention would take at the peak "
      "measured around each run, best and median; then the least ms of each phase\n\n");
  std::printf("%-15s %-10s %-7s %8s %8s %6s %6s ", "model", "blocks", "tokens", "ms min", "median", "% best", "median");
  for (int i = 0; i < kPhases; ++i) std::printf(" %7.7s", PhaseName(static_cast<Phase>(i)));
  std::printf(" %7s\n", "rest");
}

}  // namespace

void PrintPlans(const Options& options) {
  PrintHead(options);
  const KernelTable& kernels = KernelsOf(options.tier);
  for (EncoderShape shape : kShapes) {
    shape.float_attention = options.float_attention;
    for (const Pattern& pattern : Patterns()) {
      if (!Selected(options, pattern)) continue;
      const EncoderModel model = BuildEncoder(shape, pattern, kernels);
      const EncoderModel profiled = BuildEncoder(shape, pattern, ProfiledKernels(kernels));
      for (const Input& input : kInputs) {
        if (Selected(options, input)) PrintRow(model, pattern, input, Measure(options, model, profiled, input));
      }
    }
  }
}

}  // namespace fastep::bench
