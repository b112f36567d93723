// The profile of one session: gathers what its Runs took and keeps a file up to date.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "api/ort_api.h"
#include "api/profile_json.h"
#include "ops/op.h"

namespace fastep {

struct ProfilerOptions {
  std::string path;
  Tier tier = Tier::kScalar;
  size_t threads = 0;
  const OrtLogger* logger = nullptr;  // of the session
};

class Profiler {
 public:
  // Writes a file without Runs, so that a path that cannot be written is known at once. Throws Error.
  explicit Profiler(const ProfilerOptions& options);
  // Writes the complete profile.
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  // Returns what Add calls it.
  size_t AddSubgraph(const std::string& name, const Plan& plan);

  // One Run of a subgraph. Safe from any number of threads at once. After 1, 2, 4, 8, ... Runs the file is written:
  // whatever becomes of the session, it holds at least half of them. A file that cannot be written is only logged.
  void Add(size_t subgraph, const RunRecord& record, int64_t nanoseconds);

 private:
  void MeasureMachine();
  void Write(const OrtLogger* logger) const;

  std::string path_;
  const OrtLogger* logger_;
  std::mutex mutex_;
  SessionProfile profile_;
  int64_t runs_ = 0;
};

}  // namespace fastep
