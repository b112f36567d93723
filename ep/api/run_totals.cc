#include "api/run_totals.h"

#include <algorithm>

namespace fastep {
namespace {

constexpr size_t kLastDurations = 256;
// A session that sees every length would otherwise gather without end.
constexpr size_t kMostShapes = 64;

}  // namespace

void Durations::Add(int64_t nanoseconds) {
  least_ = ring_.empty() ? nanoseconds : std::min(least_, nanoseconds);
  total_ += nanoseconds;
  if (ring_.size() < kLastDurations) {
    ring_.push_back(nanoseconds);
  } else {
    ring_[next_] = nanoseconds;
    next_ = (next_ + 1) % kLastDurations;
  }
}

std::vector<int64_t> Durations::Last() const {
  std::vector<int64_t> last = ring_;
  std::rotate(last.begin(), last.begin() + static_cast<std::ptrdiff_t>(next_), last.end());
  return last;
}

int64_t Durations::Median() const {
  std::vector<int64_t> sorted = ring_;
  if (sorted.empty()) return 0;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  return *middle;
}

void ShapeTotals::Add(const RunRecord& record, int64_t nanoseconds) {
  skips_padding = record.skips_padding;
  runs += 1;
  tokens += record.tokens;
  lanes += record.lanes;
  durations.Add(nanoseconds);
  for (size_t i = 0; i < steps.size(); ++i) {
    steps[i].durations.Add(record.steps[i].nanoseconds);
    steps[i].calls += record.steps[i].calls;
    steps[i].work += record.steps[i].work;
  }
}

void SubgraphTotals::Add(const RunRecord& record, int64_t nanoseconds) {
  const auto same = [&](const ShapeTotals& totals) { return totals.shape == record.shape; };
  auto found = std::find_if(shapes_.begin(), shapes_.end(), same);
  if (found == shapes_.end()) {
    if (shapes_.size() == kMostShapes) {
      runs_left_out_ += 1;
      return;
    }
    found = shapes_.emplace(shapes_.end(), record.shape, steps_.size());
  }
  found->Add(record, nanoseconds);
}

}  // namespace fastep
