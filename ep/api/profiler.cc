#include "api/profiler.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "api/draft_path.h"
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
  const std::string draft = DraftPath(path);
  std::FILE* file = std::fopen(draft.c_str(), "wb");
  bool good = file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (file != nullptr) good = std::fclose(file) == 0 && good;
  if (good && std::rename(draft.c_str(), path.c_str()) == 0) return;
  const std::string reason = std::strerror(errno);
  if (file != nullptr) std::remove(draft.c_str());
  throw Error("the profile could not be written to '" + path + "': " + reason +
              "; set the option profile to a file in a folder that exists and can be written");
}

}  // namespace

Profiler::Profiler(const ProfilerOptions& options) : path_(options.path), logger_(options.logger) {
  profile_.tier = options.tier;
  profile_.threads = options.threads;
  WriteFile(path_, ToJson(profile_));
}

Profiler::~Profiler() {
  profile_.complete = true;
  Write(nullptr);  // the session's logger may be gone
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
  if ((runs_ & (runs_ - 1)) == 0) Write(logger_);
}

void Profiler::MeasureMachine() {
  profile_.peak_macs_per_second = std::max(profile_.peak_macs_per_second, MeasurePeak(profile_.tier));
  if (profile_.read_bytes_per_second > 0) return;
  profile_.read_bytes_per_second =
      MeasureReadRate(static_cast<size_t>(std::max(kLeastReadBytes, WeightBytes(profile_))));
}

// What a Run computed is right, whether or not somebody may read how long it took.
void Profiler::Write(const OrtLogger* logger) const {
  try {
    WriteFile(path_, ToJson(profile_));
  } catch (const std::exception& error) {
    Log(logger, LogLevel::kError, error.what());
  }
}

}  // namespace fastep
