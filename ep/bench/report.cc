#include "bench/report.h"

#include <cstdio>
#include <string>

#include "bench/machine.h"

namespace fastep::bench {
namespace {

const char* OutputName(const Cell& cell) { return cell.accumulators ? "i32" : "u8"; }
std::string TierText(const Options& options) { return std::string(TierName(options.tier)); }

// The figures that targets are set on: the large layers, where fixed costs do not hide the kernel.
bool InMean(const Cell& cell) { return cell.shape.k >= 768 && cell.tokens >= 128; }

// Share of peak in percent, or MAC/cycle for tiers without a product instruction.
double Rate(const Cell& cell) {
  return cell.share_of_peak.median > 0 ? cell.share_of_peak.median * 100 : cell.macs_per_cycle.median;
}

struct Mean {
  double geometric, lowest;
  int count;
};

Mean MeanOf(const std::vector<Cell>& cells, const Pattern& pattern, bool accumulators) {
  std::vector<double> rates;
  double lowest = 0;
  for (const Cell& cell : cells) {
    if (cell.pattern.name != pattern.name || cell.pattern.sparsity != pattern.sparsity) continue;
    if (cell.accumulators != accumulators) continue;
    if (lowest == 0 || Rate(cell) < lowest) lowest = Rate(cell);
    if (InMean(cell)) rates.push_back(Rate(cell));
  }
  return {rates.empty() ? 0 : GeometricMean(rates), lowest, static_cast<int>(rates.size())};
}

}  // namespace

void PrintTable(const Options& options, const std::vector<Cell>& cells) {
  std::printf("%s, tier %s, one thread, %d rounds\n", CpuModel().c_str(), TierText(options).c_str(), options.rounds);
  std::printf(
      "products of non-zero weights only; %% of peak: of the product instruction on registers, measured next to each "
      "cell\n\n");
  std::printf("%-6s %6s %10s %7s %4s %10s %7s %7s %7s %10s\n", "blocks", "sparse", "N x K", "tokens", "out", "us",
              "% p10", "median", "% p90", "MAC/cycle");
  for (const Cell& c : cells) {
    const std::string shape = std::to_string(c.shape.n) + "x" + std::to_string(c.shape.k);
    std::printf("%-6s %5.0f%% %10s %7lld %4s %10.1f %7.1f %7.1f %7.1f %10.1f\n", c.pattern.name.c_str(),
                c.pattern.sparsity * 100, shape.c_str(), static_cast<long long>(c.tokens), OutputName(c),
                c.micros.median, c.share_of_peak.p10 * 100, c.share_of_peak.median * 100, c.share_of_peak.p90 * 100,
                c.macs_per_cycle.median);
  }
  std::printf(
      "\nGeometric means of medians over K >= 768 at 128 and 384 tokens, %% of peak (MAC/cycle where there is none); "
      "lowest of all cells\n");
  std::printf("%-6s %6s %10s %10s %10s %10s\n", "blocks", "sparse", "i32", "lowest", "u8", "lowest");
  for (const Pattern& pattern : Patterns()) {
    const Mean i32 = MeanOf(cells, pattern, true), u8 = MeanOf(cells, pattern, false);
    if (i32.lowest == 0) continue;
    std::printf("%-6s %5.0f%% %10.1f %10.1f %10.1f %10.1f\n", pattern.name.c_str(), pattern.sparsity * 100,
                i32.geometric, i32.lowest, u8.geometric, u8.lowest);
  }
}

void PrintJson(const Options& options, const std::vector<Cell>& cells) {
  std::printf("{\"cpu\": \"%s\", \"tier\": \"%s\", \"rounds\": %d, \"cells\": [", CpuModel().c_str(),
              TierText(options).c_str(), options.rounds);
  const char* separator = "\n";
  const auto spread = [](const char* name, const Spread& s) {
    std::printf(", \"%s\": {\"p10\": %.6g, \"median\": %.6g, \"p90\": %.6g}", name, s.p10, s.median, s.p90);
  };
  for (const Cell& c : cells) {
    std::printf(
        "%s  {\"blocks\": \"%s\", \"sparsity\": %g, \"n\": %lld, \"k\": %lld, \"tokens\": %lld, \"output\": \"%s\"",
        separator, c.pattern.name.c_str(), c.pattern.sparsity, static_cast<long long>(c.shape.n),
        static_cast<long long>(c.shape.k), static_cast<long long>(c.tokens), OutputName(c));
    spread("micros", c.micros);
    spread("share_of_peak", c.share_of_peak);
    spread("macs_per_cycle", c.macs_per_cycle);
    std::printf("}");
    separator = ",\n";
  }
  std::printf("\n]}\n");
}

}  // namespace fastep::bench
