#include "bench/machine.h"

#include <time.h>

#include <fstream>

namespace fastep::bench {
namespace {

constexpr int kPeakLoops = 20000;
constexpr int kProductsPerLoop = 12;  // independent, so that latency does not show
constexpr int kHertzLoops = 5000;
constexpr int kImulCycles = 3;  // latency on every x86-64 CPU since 2008 (uops.info)

// Registers zmm16 and up are unknown to code that is compiled for any x86-64, so nothing has to be saved.
void PeakLoopZmm() {
  int loops = kPeakLoops;
  __asm__ volatile(
      "1:\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm16\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm17\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm18\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm19\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm20\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm21\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm22\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm23\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm24\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm25\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm26\n\t"
      "vpdpbusd %%zmm30, %%zmm31, %%zmm27\n\t"
      "dec %0\n\t"
      "jnz 1b"
      : "+r"(loops)
      :
      : "cc");
}

void PeakLoopYmm() {
  int loops = kPeakLoops;
  __asm__ volatile(
      "1:\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm0\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm1\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm2\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm3\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm4\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm5\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm6\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm7\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm8\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm9\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm10\n\t"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm11\n\t"
      "dec %0\n\t"
      "jnz 1b\n\t"
      "vzeroupper"
      : "+r"(loops)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11");
}

}  // namespace

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

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

double MeasurePeak(Tier tier) {
  if (tier != Tier::kAvx512Vnni && tier != Tier::kAvxVnni) return 0;
  const bool zmm = tier == Tier::kAvx512Vnni;
  const double start = ThreadSeconds();
  if (zmm) {
    PeakLoopZmm();
  } else {
    PeakLoopYmm();
  }
  return double{kPeakLoops} * kProductsPerLoop * (zmm ? 64 : 32) / (ThreadSeconds() - start);
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
