#include "core/tier.h"

#include <cpuid.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>

#include "core/error.h"
#include "core/kernel_table.h"

namespace fastep {
namespace {

// What the CPU says about itself, and which register files the operating system saves.
struct Cpu {
  bool fma = false, avx2 = false, avx_vnni = false, avx512_vnni = false, amx_int8 = false;
};

bool Bit(uint32_t word, int bit) { return (word >> bit & 1) != 0; }

uint64_t ReadXcr0() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

// Bits: Intel SDM vol. 2A, CPUID leaves 1 and 7; XCR0: vol. 1, section 13.3.
Cpu DetectCpu() {
  Cpu cpu;
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !Bit(c, 27)) return cpu;  // OSXSAVE
  const bool fma = Bit(c, 12);
  const uint64_t xcr0 = ReadXcr0();
  const bool os_ymm = (xcr0 & 0x06) == 0x06;
  const bool os_zmm = (xcr0 & 0xe6) == 0xe6;
  const bool os_tile = (xcr0 & 0x60000) == 0x60000;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return cpu;
  const bool avx512 = Bit(b, 16) && Bit(b, 17) && Bit(b, 30) && Bit(b, 31);  // F, DQ, BW, VL
  cpu.fma = fma && os_ymm;
  cpu.avx2 = Bit(b, 5) && os_ymm;
  cpu.avx512_vnni = avx512 && Bit(c, 11) && os_zmm;
  cpu.amx_int8 = Bit(d, 24) && Bit(d, 25) && os_tile;
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) cpu.avx_vnni = Bit(a, 4) && os_ymm;
#ifdef FASTEP_EMULATE
  cpu.avx_vnni = cpu.avx512_vnni = cpu.avx2;  // their kernels consist of AVX2 here (emulation/)
#endif
  return cpu;
}

const Cpu& TheCpu() {
  static const Cpu cpu = DetectCpu();
  return cpu;
}

// One row per tier, in the order of Tier. `kernels` is null where the tier was not compiled into this library.
struct TierRow {
  Tier tier;
  std::string_view name;
  const KernelTable* (*kernels)();
  bool (*runs_on)(const Cpu& cpu);
};

#ifdef FASTEP_HAVE_SCALAR
constexpr auto kScalarKernels = &ScalarKernels;
#else
constexpr const KernelTable* (*kScalarKernels)() = nullptr;
#endif
#ifdef FASTEP_HAVE_AVX2
constexpr auto kAvx2Kernels = &Avx2Kernels;
#else
constexpr const KernelTable* (*kAvx2Kernels)() = nullptr;
#endif
#ifdef FASTEP_HAVE_AVXVNNI
constexpr auto kAvxVnniKernels = &AvxVnniKernels;
#else
constexpr const KernelTable* (*kAvxVnniKernels)() = nullptr;
#endif
#ifdef FASTEP_HAVE_AVX512VNNI
constexpr auto kAvx512VnniKernels = &Avx512VnniKernels;
#else
constexpr const KernelTable* (*kAvx512VnniKernels)() = nullptr;
#endif

constexpr std::array<TierRow, 5> kTiers = {{
    {Tier::kScalar, "scalar", kScalarKernels, [](const Cpu&) { return true; }},
    {Tier::kAvx2, "avx2", kAvx2Kernels, [](const Cpu& cpu) { return cpu.avx2 && cpu.fma; }},
    {Tier::kAvxVnni, "avxvnni", kAvxVnniKernels, [](const Cpu& cpu) { return cpu.avx_vnni && cpu.avx2 && cpu.fma; }},
    {Tier::kAvx512Vnni, "avx512vnni", kAvx512VnniKernels, [](const Cpu& cpu) { return cpu.avx512_vnni && cpu.fma; }},
    // AMX needs kernels and the kernel's leave to use the tile registers (arch_prctl ARCH_REQ_XCOMP_PERM).
    {Tier::kAmx, "amx", nullptr, [](const Cpu& cpu) { return cpu.amx_int8 && cpu.avx512_vnni; }},
}};

const TierRow& Row(Tier tier) { return kTiers.at(static_cast<size_t>(tier)); }

std::string KnownTiers() {
  std::string names;
  for (const TierRow& row : kTiers) names.append(names.empty() ? "" : ", ").append(row.name);
  return names;
}

// No limit: the last tier.
Tier ParseLimit(std::string_view name, std::string_view where) {
  if (name.empty()) return kTiers.back().tier;
  if (const std::optional<Tier> tier = ParseTier(name)) return *tier;
  throw Error(std::string(where) + ": unknown tier '" + std::string(name) + "'. Expected one of " + KnownTiers() +
              ", or leave it empty for no limit.");
}

}  // namespace

std::string_view TierName(Tier tier) { return Row(tier).name; }

std::optional<Tier> ParseTier(std::string_view name) {
  for (const TierRow& row : kTiers) {
    if (row.name == name) return row.tier;
  }
  return std::nullopt;
}

std::vector<Tier> BuiltTiers() {
  std::vector<Tier> built;
  for (const TierRow& row : kTiers) {
    if (row.kernels != nullptr) built.push_back(row.tier);
  }
  return built;
}

std::vector<Tier> SupportedTiers() {
  std::vector<Tier> supported;
  for (const Tier tier : BuiltTiers()) {
    if (Row(tier).runs_on(TheCpu())) supported.push_back(tier);
  }
  return supported;
}

Tier ChooseTier(std::string_view max_tier) {
  const char* environment = std::getenv("FASTEP_MAX_TIER");
  const Tier limit = std::min(ParseLimit(max_tier, "max_tier"), ParseLimit(environment != nullptr ? environment : "",
                                                                           "environment variable FASTEP_MAX_TIER"));
  const std::vector<Tier> supported = SupportedTiers();
  const auto best = std::find_if(supported.rbegin(), supported.rend(), [=](Tier tier) { return tier <= limit; });
  if (best == supported.rend()) {
    throw Error("No instruction tier is left: this CPU runs none of the tiers of this library up to '" +
                std::string(TierName(limit)) + "'. Raise max_tier and FASTEP_MAX_TIER, or build the tier 'scalar'.");
  }
  return *best;
}

const KernelTable& KernelsOf(Tier tier) {
  if (Row(tier).kernels == nullptr) {
    throw Error("Tier '" + std::string(TierName(tier)) + "' is not compiled into this library.");
  }
  return *Row(tier).kernels();
}

}  // namespace fastep
