// Differential fuzzer: random layers on every tier and every forced kernel against the op contract's arithmetic.
//
//   fastep_fuzz [--seconds S] [--cases C] [--seed X]
//
// Case i has seed X + i, so a failure is repeated by `--seed <printed> --cases 1`. Exit code 1 on the first failure. A
// crash prints its seed too (with the address sanitizer: ASAN_OPTIONS=abort_on_error=1).

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "core/arena.h"
#include "core/error.h"
#include "core/linear.h"
#include "core/tier.h"
#include "fuzz/case.h"
#include "fuzz/oracle.h"

namespace fastep::fuzz {
namespace {

struct Options {
  double seconds = 60;
  uint64_t cases = ~uint64_t{0};
  uint64_t seed = 1;
};

// Runs the tasks one by one in random order, and claims any number of threads: results may depend on neither.
class ShuffledParallel final : public Parallel {
 public:
  explicit ShuffledParallel(Random& random) : random_(random), threads_(random.Between(0, 9)) {}
  size_t Threads() const override { return static_cast<size_t>(threads_); }
  void For(size_t count, void (*task)(void*, size_t), void* context) override {
    std::vector<size_t> order(count);
    for (size_t i = 0; i < count; ++i) order[i] = i;
    for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random_.Between(0, static_cast<int64_t>(i) - 1)]);
    for (size_t i : order) task(context, i);
  }

 private:
  Random& random_;
  int64_t threads_;
};

// Fills memory around and inside the output with a pattern, so that what is not written or written beyond shows.
class GuardedOutput {
 public:
  explicit GuardedOutput(size_t bytes) : bytes_(bytes), memory_(bytes + 2 * kGuard, kPattern) {}
  void* data() { return memory_.data() + kGuard; }
  std::vector<uint8_t> Contents() const { return {memory_.begin() + kGuard, memory_.end() - kGuard}; }
  bool Overrun() const {
    for (size_t i = 0; i < kGuard; ++i) {
      if (memory_[i] != kPattern || memory_[kGuard + bytes_ + i] != kPattern) return true;
    }
    return false;
  }

 private:
  static constexpr size_t kGuard = 256;
  static constexpr uint8_t kPattern = 0xa5;
  size_t bytes_;
  std::vector<uint8_t> memory_;
};

// What a case's results are compared with: the oracle's accumulators, and the first tier's output bit for bit.
struct Expected {
  std::vector<int64_t> accumulators;
  std::optional<std::vector<uint8_t>> output;
};

std::string CheckAccumulators(const Linear& linear, const Case& c, const Expected& expected, Parallel& parallel,
                              Arena& arena) {
  GuardedOutput acc(expected.accumulators.size() * 4);
  linear.RunAccumulators(c.x.data(), c.m, static_cast<int32_t*>(acc.data()), parallel, arena);
  if (acc.Overrun()) return "accumulators written beyond their end";
  const std::vector<uint8_t> bytes = acc.Contents();
  for (size_t i = 0; i < expected.accumulators.size(); ++i) {
    int32_t value;
    std::memcpy(&value, bytes.data() + 4 * i, 4);
    if (static_cast<uint32_t>(value) != static_cast<uint32_t>(expected.accumulators[i])) {
      return "accumulator " + std::to_string(i) + " is " + std::to_string(value) + ", expected " +
             std::to_string(expected.accumulators[i]);
    }
  }
  return "";
}

// One layer on one tier with one kernel (null: the cost model's).
std::string CheckLinear(const Case& c, Tier tier, const RhsKind* kind, Random& random, Expected& expected) {
  const auto linear = Linear::Create(c.Spec(), tier, kind);
  ShuffledParallel parallel(random);
  Arena arena;
  std::string wrong = CheckAccumulators(*linear, c, expected, parallel, arena);
  if (!wrong.empty()) return wrong;
  const size_t element = c.spec.y_type == ElementType::kF32 ? 4 : 1;
  GuardedOutput y(expected.accumulators.size() * element);
  linear->Run(c.x.data(), c.m, y.data(), parallel, arena);
  if (y.Overrun()) return "output written beyond its end";
  const std::vector<uint8_t> bytes = y.Contents();
  if (!expected.output) {
    expected.output = bytes;
    return CheckOutput(c, expected.accumulators, bytes);
  }
  return bytes == *expected.output ? "" : "output differs from the first tier's";
}

std::string CheckRefusal(const Case& c, Tier tier) {
  try {
    Linear::Create(c.Spec(), tier);
  } catch (const Error&) {
    return "";
  }
  return "accepted";
}

std::string CheckCase(const Case& c, Random& random) {
  Expected expected;
  if (c.broken.empty()) expected.accumulators = Accumulators(c);
  for (Tier tier : SupportedTiers()) {
    for (int kind = -1; kind < kRhsKinds; ++kind) {
      const RhsKind forced = static_cast<RhsKind>(kind);
      std::string wrong = c.broken.empty() ? CheckLinear(c, tier, kind < 0 ? nullptr : &forced, random, expected)
                                           : CheckRefusal(c, tier);
      if (!wrong.empty()) return std::string(TierName(tier)) + ", kind " + std::to_string(kind) + ": " + wrong;
    }
  }
  return "";
}

// A legal case that is refused is a failure like any other.
std::string RunCase(uint64_t seed) {
  Random random(seed);
  const Case c = MakeCase(random);
  std::string wrong;
  try {
    wrong = CheckCase(c, random);
  } catch (const std::exception& e) {
    wrong = std::string("threw ") + e.what();
  }
  return wrong.empty() ? "" : c.Describe() + "\n  " + wrong;
}

// What a signal handler writes: it may only copy bytes.
char crash_report[64];

void ReportCrash(int signal_number) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, crash_report, std::strlen(crash_report));
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

std::optional<Options> Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string key = argv[i];
    if (i + 1 == argc) return std::nullopt;
    if (key == "--seconds") {
      options.seconds = std::atof(argv[i + 1]);
    } else if (key == "--cases") {
      options.cases = std::strtoull(argv[i + 1], nullptr, 10);
    } else if (key == "--seed") {
      options.seed = std::strtoull(argv[i + 1], nullptr, 10);
    } else {
      return std::nullopt;
    }
  }
  return options;
}

int Main(int argc, char** argv) {
  const std::optional<Options> options = Parse(argc, argv);
  if (!options) {
    std::fprintf(stderr, "usage: fastep_fuzz [--seconds S] [--cases C] [--seed X]\n");
    return 2;
  }
  std::string tiers;
  for (Tier tier : SupportedTiers()) tiers += " " + std::string(TierName(tier));
  std::printf("seed %llu, tiers%s\n", static_cast<unsigned long long>(options->seed), tiers.c_str());
  std::fflush(stdout);
  for (int signal_number : {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE}) signal(signal_number, ReportCrash);
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  uint64_t done = 0;
  for (; done < options->cases && elapsed() < options->seconds; ++done) {
    const uint64_t seed = options->seed + done;
    std::snprintf(crash_report, sizeof crash_report, "CRASHED: --seed %llu --cases 1\n",
                  static_cast<unsigned long long>(seed));
    const std::string wrong = RunCase(seed);
    if (!wrong.empty()) {
      std::printf("FAILED: --seed %llu --cases 1\n  %s\n", static_cast<unsigned long long>(seed), wrong.c_str());
      return 1;
    }
  }
  std::printf("%llu cases, no difference\n", static_cast<unsigned long long>(done));
  return 0;
}

}  // namespace
}  // namespace fastep::fuzz

int main(int argc, char** argv) { return fastep::fuzz::Main(argc, argv); }
