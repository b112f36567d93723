#include "bench/fit.h"

#include <cstdio>
#include <vector>

#include "bench/machine.h"

namespace fastep::bench {
namespace {

constexpr Shape kShape = {768, 768};
constexpr int64_t kTokens = 384;
constexpr double kSparsities[] = {0.95, 0.9, 0.8, 0.65, 0.5};
constexpr Shape kDenseShapes[] = {{768, 256}, {768, 512}, {768, 768}, {768, 1024}};

struct Point {
  double blocks_per_group;
  double cycles;  // of a group, per token
};

Point Measure(const Options& options, const Pattern& pattern, const Shape& shape) {
  BenchLayer layer(pattern, shape, options.tier);
  const auto kind = static_cast<int>(pattern.kind);
  const double groups = static_cast<double>(shape.n) / RowsPerGroup(pattern.kind);
  std::vector<double> cycles;
  for (int round = 0; round < options.rounds; ++round) {
    const double hertz = MeasureHertz();
    const double seconds = TimeOne(layer, kTokens, /*accumulators=*/false);
    cycles.push_back(seconds * hertz / static_cast<double>(kTokens) / groups);
  }
  // What is slower was disturbed: medians make group and block of a busy machine depend on chance.
  return {static_cast<double>(layer.profile().blocks[kind]) / groups, SpreadOf(cycles).p10};
}

// Least squares, relative errors weighted alike.
void PrintLine(const char* name, const std::vector<Point>& points) {
  double w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;
  for (const Point& p : points) {
    const double weight = 1 / (p.cycles * p.cycles);
    w += weight;
    wx += weight * p.blocks_per_group;
    wy += weight * p.cycles;
    wxx += weight * p.blocks_per_group * p.blocks_per_group;
    wxy += weight * p.blocks_per_group * p.cycles;
  }
  const double block = (w * wxy - wx * wy) / (w * wxx - wx * wx);
  std::printf("%-6s group %7.4f  block %7.4f\n", name, (wy - block * wx) / w, block);
}

}  // namespace

void PrintCostTable(const Options& options) {
  std::printf("%s, tier %s: cycles per token\n", CpuModel().c_str(), std::string(TierName(options.tier)).c_str());
  std::vector<Point> points;
  for (const Shape& shape : kDenseShapes) points.push_back(Measure(options, Patterns()[0], shape));
  PrintLine("dense", points);
  for (Pattern pattern : Patterns()) {
    if (pattern.sparsity != 0.8) continue;
    points.clear();
    for (const double sparsity : kSparsities) {
      pattern.sparsity = sparsity;
      points.push_back(Measure(options, pattern, kShape));
    }
    PrintLine(pattern.name.c_str(), points);
  }
}

}  // namespace fastep::bench
