#include "api/profile_json.h"

#include <cmath>

#include "api/json_writer.h"
#include "core/cost_model.h"

namespace fastep {
namespace {

constexpr int64_t kFormatVersion = 1;

// What else a layer could be: `fastep profile --what-if` and hints read it.
constexpr RhsKind kOtherKinds[] = {RhsKind::k4x4, RhsKind::k4x1, RhsKind::k1x4};
constexpr double kOtherDensities[] = {0.5, 0.3, 0.2, 0.1, 0.05};

void WritePrediction(RhsKind kind, double density, double cycles, JsonWriter& json) {
  json.BeginObject();
  json.Field("kernel", RhsKindName(kind));
  json.Field("density", density);
  json.Field("cycles_per_token", cycles);
  json.EndObject();
}

void WriteSparsePrediction(RhsKind kind, double density, const StepLabel& step, Tier tier, JsonWriter& json) {
  if (KernelsOf(tier).product[static_cast<int>(kind)] == nullptr) return;
  RhsProfile profile;
  const double products = density * static_cast<double>(step.n) * static_cast<double>(step.k);
  profile.blocks[static_cast<int>(kind)] = std::llround(products / BlockProducts(kind));
  WritePrediction(kind, density, PredictCyclesPerToken(kind, profile, step.n, tier), json);
}

void WriteProduct(const StepLabel& step, Tier tier, JsonWriter& json) {
  json.BeginObject();
  json.Field("n", step.n);
  json.Field("k", step.k);
  json.Field("kernel", RhsKindName(step.info.kind));
  json.Field("density", step.info.density);
  json.Field("work_density", step.info.work_density);
  json.Field("packed_bytes", static_cast<int64_t>(step.info.packed_bytes));
  json.Field("cycles_per_token", step.info.predicted_cycles_per_token);
  json.Key("kind_density");
  json.BeginObject();
  for (int i = 0; i < kRhsKinds; ++i) json.Field(RhsKindName(static_cast<RhsKind>(i)), step.info.kind_density[i]);
  json.EndObject();
  json.Key("predictions");
  json.BeginArray();
  WritePrediction(RhsKind::kDense, 1, PredictFullCyclesPerToken(step.n, step.k, KernelsOf(tier)), json);
  for (const RhsKind kind : kOtherKinds) {
    for (const double density : kOtherDensities) WriteSparsePrediction(kind, density, step, tier, json);
  }
  json.EndArray();
  json.EndObject();
}

void WriteLabel(const StepLabel& step, Tier tier, JsonWriter& json) {
  json.BeginObject();
  json.Field("op", step.op);
  json.Field("nodes", step.nodes);
  json.Field("value_bytes_per_token", step.value_bytes_per_token);
  if (step.n > 0) {
    json.Key("product");
    WriteProduct(step, tier, json);
  }
  json.EndObject();
}

void WriteDurations(const Durations& durations, JsonWriter& json) {
  json.Field("total_ns", durations.total());
  json.Field("min_ns", durations.least());
  json.Field("median_ns", durations.Median());
  json.Field("last_ns", durations.Last());
}

void WriteShape(const ShapeTotals& totals, JsonWriter& json) {
  json.BeginObject();
  json.Field("shape", totals.shape);
  json.Field("skips_padding", totals.skips_padding);
  json.Field("runs", totals.runs);
  json.Field("tokens", totals.tokens);
  json.Field("lanes", totals.lanes);
  WriteDurations(totals.durations, json);
  json.Key("steps");
  json.BeginArray();
  for (const ShapeTotals::Step& step : totals.steps) {
    json.BeginObject();
    json.Field("calls", step.calls);
    WriteDurations(step.durations, json);
    json.Field("macs", step.work.macs);
    json.Field("dense_macs", step.work.dense_macs);
    json.Field("weight_bytes", step.work.weight_bytes);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
}

void WriteSubgraph(const SubgraphProfile& subgraph, Tier tier, JsonWriter& json) {
  json.BeginObject();
  json.Field("name", subgraph.name);
  json.Key("steps");
  json.BeginArray();
  for (const StepLabel& step : subgraph.totals.steps()) WriteLabel(step, tier, json);
  json.EndArray();
  json.Key("shapes");
  json.BeginArray();
  for (const ShapeTotals& totals : subgraph.totals.shapes()) WriteShape(totals, json);
  json.EndArray();
  json.Field("runs_left_out", subgraph.totals.runs_left_out());
  json.EndObject();
}

}  // namespace

std::string ToJson(const SessionProfile& profile) {
  JsonWriter json;
  json.BeginObject();
  json.Field("format", "fastep-profile");
  json.Field("version", kFormatVersion);
  json.Field("fastep", FASTEP_VERSION);
  json.Field("tier", TierName(profile.tier));
  json.Field("threads", static_cast<int64_t>(profile.threads));
  json.Field("complete", profile.complete);
  json.Field("peak_macs_per_second", profile.peak_macs_per_second);
  json.Field("read_bytes_per_second", profile.read_bytes_per_second);
  json.Key("subgraphs");
  json.BeginArray();
  for (const SubgraphProfile& subgraph : profile.subgraphs) WriteSubgraph(subgraph, profile.tier, json);
  json.EndArray();
  json.EndObject();
  return json.text() + "\n";
}

}  // namespace fastep
