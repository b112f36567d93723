#include "bench/sweep.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "bench/machine.h"

namespace fastep::bench {
namespace {

constexpr Shape kShapes[] = {{768, 768}, {3072, 768}, {768, 3072}, {384, 384}, {1536, 384}, {384, 1536}};
constexpr int64_t kTokens[] = {32, 128, 384};
constexpr double kMinSeconds = 0.0005;  // of one measurement, in which the median of kRepeats is taken
constexpr int kRepeats = 5;

struct Samples {
  std::vector<double> micros, share, macs;
};

// The yardstick is taken before and after every measurement, because the clock of a shared machine changes.
void Measure(const Options& options, BenchLayer& layer, const Cell& cell, Samples& samples) {
  const double peak_before = MeasurePeak(options.tier), hertz_before = MeasureHertz();
  const double seconds = TimeOne(layer, cell.tokens, cell.accumulators);
  const double peak = std::max(peak_before, MeasurePeak(options.tier));
  const double hertz = std::max(hertz_before, MeasureHertz());
  const double rate = static_cast<double>(layer.non_zeros() * cell.tokens) / seconds;
  samples.micros.push_back(seconds * 1e6);
  samples.share.push_back(peak > 0 ? rate / peak : 0);
  samples.macs.push_back(rate / hertz);
}

bool Selected(const Options& options, int64_t tokens) {
  return options.tokens.empty() ||
         std::find(options.tokens.begin(), options.tokens.end(), tokens) != options.tokens.end();
}

}  // namespace

double TimeOne(BenchLayer& layer, int64_t tokens, bool accumulators) {
  layer.Multiply(tokens, accumulators);
  const double start = ThreadSeconds();
  layer.Multiply(tokens, accumulators);
  const int in_a_row = static_cast<int>(std::ceil(kMinSeconds / kRepeats / (ThreadSeconds() - start)));
  std::vector<double> seconds;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const double begin = ThreadSeconds();
    for (int i = 0; i < in_a_row; ++i) layer.Multiply(tokens, accumulators);
    seconds.push_back((ThreadSeconds() - begin) / in_a_row);
  }
  return SpreadOf(seconds).median;
}

std::vector<Pattern> Patterns() {
  struct Block {
    const char* name;
    RhsKind kind;
    int rows, cols;
  };
  constexpr Block kBlocks[] = {{"4x4", RhsKind::k4x4, 4, 4},
                               {"4x1", RhsKind::k4x1, 4, 1},
                               {"2x4", RhsKind::k2x4, 2, 4},
                               {"8x4", RhsKind::k8x4, 8, 4},
                               {"1x4", RhsKind::k1x4, 1, 4}};
  std::vector<Pattern> patterns = {{"dense", RhsKind::kDense, 1, 1, 0}};
  for (const Block& b : kBlocks) {
    for (const double sparsity : {0.8, 0.9}) patterns.push_back({b.name, b.kind, b.rows, b.cols, sparsity});
  }
  return patterns;
}

// Rounds are outermost, so that a disturbance of the machine hits one sample of many cells, not all samples of one.
std::vector<Cell> RunSweep(const Options& options) {
  std::vector<Cell> cells;
  std::vector<std::shared_ptr<BenchLayer>> layers;
  for (const Pattern& pattern : Patterns()) {
    if (pattern.name.find(options.pattern) == std::string::npos) continue;
    for (const Shape& shape : kShapes) {
      for (const int64_t tokens : kTokens) {
        if (!Selected(options, tokens)) continue;
        const auto layer = std::make_shared<BenchLayer>(pattern, shape, options.tier);
        for (const bool accumulators : {true, false}) {
          cells.push_back({pattern, shape, tokens, accumulators, {}, {}, {}});
          layers.push_back(layer);
        }
      }
    }
  }
  std::vector<Samples> samples(cells.size());
  for (int round = 0; round < options.rounds; ++round) {
    for (size_t i = 0; i < cells.size(); ++i) Measure(options, *layers[i], cells[i], samples[i]);
  }
  for (size_t i = 0; i < cells.size(); ++i) {
    cells[i].micros = SpreadOf(samples[i].micros);
    cells[i].share_of_peak = SpreadOf(samples[i].share);
    cells[i].macs_per_cycle = SpreadOf(samples[i].macs);
  }
  return cells;
}

}  // namespace fastep::bench
