#include "core/machine.h"

#include <time.h>

#include <algorithm>
#include <cstring>

#include "core/aligned.h"

namespace fastep {
namespace {

constexpr int kPeakLoops = 20000;
constexpr int kProductsPerLoop = 12;  // independent, so that latency does not show
constexpr int kReadPasses = 3;

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

// 16-bit products, as the kernels of this tier take them: two instructions for 16.
void PeakLoopWords() {
  int loops = kPeakLoops;
  __asm__ volatile(
      "1:\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm0, %%ymm0\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm1, %%ymm1\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm2, %%ymm2\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm3, %%ymm3\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm4, %%ymm4\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm5, %%ymm5\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm6, %%ymm6\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm7, %%ymm7\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm8, %%ymm8\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm9, %%ymm9\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm10, %%ymm10\n\t"
      "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\t"
      "vpaddd %%ymm13, %%ymm11, %%ymm11\n\t"
      "dec %0\n\t"
      "jnz 1b\n\t"
      "vzeroupper"
      : "+r"(loops)
      :
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
        "xmm13");
}

// The loop of a tier and the products of one of its instructions, or pair of them.
struct PeakLoop {
  void (*run)();
  int products;
};

PeakLoop LoopOf(Tier tier) {
#ifdef FASTEP_EMULATE
  tier = std::min(tier, Tier::kAvx2);  // there is no other loop that the CPU is known to run
#endif
  switch (tier) {
    case Tier::kAvx512Vnni:
      return {PeakLoopZmm, 64};
    case Tier::kAvxVnni:
      return {PeakLoopYmm, 32};
    case Tier::kAvx2:
      return {PeakLoopWords, 16};
    default:
      return {nullptr, 0};
  }
}

// So that the compiler cannot leave out the reading.
void Use(uint64_t value) { __asm__ volatile("" : : "r"(value)); }

double ReadSeconds(const AlignedVector<uint64_t>& words) {
  const double start = ThreadSeconds();
  uint64_t sums[8] = {};
  for (size_t i = 0; i < words.size(); i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  for (const uint64_t sum : sums) Use(sum);
  return ThreadSeconds() - start;
}

}  // namespace

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double MeasurePeak(Tier tier) {
  const PeakLoop loop = LoopOf(tier);
  if (loop.run == nullptr) return 0;
  const double start = ThreadSeconds();
  loop.run();
  return double{kPeakLoops} * kProductsPerLoop * loop.products / (ThreadSeconds() - start);
}

double MeasureReadRate(size_t bytes) {
  const AlignedVector<uint64_t> words(RoundUp(bytes, kCacheLine) / sizeof(uint64_t), 1);
  double least = ReadSeconds(words);
  for (int pass = 1; pass < kReadPasses; ++pass) least = std::min(least, ReadSeconds(words));
  return static_cast<double>(words.size() * sizeof(uint64_t)) / least;
}

}  // namespace fastep
