#include "bench/machine.h"

#include <fstream>

namespace fastep::bench {
namespace {

constexpr int kHertzLoops = 5000;
constexpr int kImulCycles = 3;  // latency on every x86-64 CPU since 2008 (uops.info)

}  // namespace

double MeasureHertz() {
  int loops = kHertzLoops;
  uint64_t product = 1;
  const double start = ThreadSeconds();
  __asm__ volatile(
      "1:\n\t"
      "imul %1, %1\n\timul %1, %1\n\timul %1, %1\n\timul %1, %1\n\t"
      "dec %0\n\t"
      "jnz 1b"
      : "+r"(loops), "+r"(product)
      :
      : "cc");
  return double{kHertzLoops} * 4 * kImulCycles / (ThreadSeconds() - start);
}

std::string CpuModel() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  while (std::getline(info, line)) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(": ") + 2);
  }
  return "unknown";
}

}  // namespace fastep::bench
