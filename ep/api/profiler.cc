#include "api/profiler.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "api/log.h"
#include "core/error.h"
#include "core/machine.h"

namespace fastep {
namespace {

// The clock of a shared machine changes, so its peak is measured among the Runs, now and then; the best counts.
constexpr int64_t kRunsPerPeak = 16;
// At least: smaller buffers stay in the second cache, where the weights of a whole model do not.
constexpr int64_t kLeastReadBytes = 8 << 20;

int64_t WeightBytes(const SessionProfile& profile) {
  int64_t bytes = 0;
  for (const SubgraphProfile& subgraph : profile.subgraphs) {
    for (const StepLabel& step : subgraph.totals.steps()) bytes += static_cast<int64_t>(step.info.packed_bytes);
  }
  return bytes;
}

// Readers see the old file or the new one, never a part.
void WriteFile(const std::string& path, const std::string& text) {
  const std::string part = path + "." + std::to_string(getpid()) + ".part";
  std::FILE* file = std::fopen(part.c_str(), "wb");
  bool good = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file != nullptr) good = std::fclose(file) == 0 && good;
  if (good && std::rename(part.c_str(), path.c_str()) == 0) return;
  const std::string reason = std::strerror(errno);
  if (file != nullptr) std::remove(part.c_str());
  throw Error("the profile could not be written to '" + path + "': " + reason +
              "; set the option profile to a file in a folder that exists and can be written");
}

}  // namespace

Profiler::Profiler(const ProfilerOptions& options) : path_(options.path) {
  profile_.tier = options.tier;
  profile_.threads = options.threads;
  Write();
}

Profiler::~Profiler() {
  profile_.complete = true;
  try {
    Write();
  } catch (const std::exception& error) {
    Log(nullptr, LogLevel::kError, error.what());  // the session's logger may be gone
  }
}

size_t Profiler::AddSubgraph(const std::string& name, const Plan& plan) {
  const std::lock_guard<std::mutex> lock(mutex_);
  profile_.subgraphs.push_back({name, SubgraphTotals(plan.Steps())});
  return profile_.subgraphs.size() - 1;
}

void Profiler::Add(size_t subgraph, const RunRecord& record, int64_t nanoseconds) {
  const std::lock_guard<std::mutex> lock(mutex_);
  profile_.subgraphs[subgraph].totals.Add(record, nanoseconds);
  if (runs_ % kRunsPerPeak == 0) MeasureMachine();
  ++runs_;
  if ((runs_ & (runs_ - 1)) == 0) Write();
}

void Profiler::MeasureMachine() {
  profile_.peak_macs_per_second = std::max(profile_.peak_macs_per_second, MeasurePeak(profile_.tier));
  if (profile_.read_bytes_per_second > 0) return;
  profile_.read_bytes_per_second =
      MeasureReadRate(static_cast<size_t>(std::max(kLeastReadBytes, WeightBytes(profile_))));
}

void Profiler::Write() const { WriteFile(path_, ToJson(profile_)); }

}  // namespace fastep
