// fastep_bench: how close the product kernels come to what the CPU can do.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "bench/fit.h"
#include "bench/plan_bench.h"
#include "bench/report.h"
#include "bench/sweep.h"
#include "core/error.h"

namespace fastep::bench {
namespace {

constexpr char kUsage[] =
    "fastep_bench [--tier NAME] [--rounds N] [--pattern NAME] [--tokens N]... [--json] [--plan] [--fit]\n"
    "             [--float-attention]\n"
    "  --tier     scalar, avx2, avxvnni or avx512vnni; default: the best of this CPU\n"
    "  --rounds   measurements per cell, default 15\n"
    "  --pattern  only this one: dense, 4x4, 4x1, 2x4, 8x4, 1x4\n"
    "  --tokens   only this count: 32, 128, 384; may be repeated\n"
    "  --json     machine-readable output\n"
    "  --plan     whole encoders instead of single products; --pattern and --tokens (batch x length) choose here, too\n"
    "  --float-attention  with --plan: attention that is not quantized\n"
    "  --fit      print the numbers of the cost model (ep/core/cost_model.cc) instead\n";

Options ParseOptions(int argc, char** argv) {
  Options options;
  options.tier = ChooseTier();
  const auto value = [&](int& i) {
    if (i + 1 >= argc) throw Error(std::string(argv[i]) + " needs a value\n" + kUsage);
    return std::string(argv[++i]);
  };
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--tier") {
      options.tier = ChooseTier(value(i));
    } else if (arg == "--rounds") {
      options.rounds = std::atoi(value(i).c_str());
      if (options.rounds < 1) throw Error("--rounds must be at least 1");
    } else if (arg == "--pattern") {
      options.pattern = value(i);
    } else if (arg == "--tokens") {
      options.tokens.push_back(std::atoll(value(i).c_str()));
    } else if (arg == "--json") {
      options.json = true;
    } else if (arg == "--plan") {
      options.plan = true;
    } else if (arg == "--float-attention") {
      options.float_attention = true;
    } else if (arg == "--fit") {
      options.fit = true;
    } else {
      throw Error("unknown argument '" + arg + "'\n" + kUsage);
    }
  }
  return options;
}

int Main(int argc, char** argv) {
  const Options options = ParseOptions(argc, argv);
  if (options.fit) {
    PrintCostTable(options);
  } else if (options.plan) {
    PrintPlans(options);
  } else if (options.json) {
    PrintJson(options, RunSweep(options));
  } else {
    PrintTable(options, RunSweep(options));
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace fastep::bench

int main(int argc, char** argv) {
  try {
    return fastep::bench::Main(argc, argv);
  } catch (const fastep::Error& error) {
    std::fprintf(stderr, "fastep_bench: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
