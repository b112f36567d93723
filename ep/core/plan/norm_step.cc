#include "core/plan/norm_step.h"

#include <cstring>

#include "core/error.h"

namespace fastep {
namespace {

constexpr int32_t kMaxTaskRows = 512;

AlignedVector<float> Padded(const float* values, int64_t count) {
  AlignedVector<float> padded(RoundUp(static_cast<size_t>(count), kRowStep), 0.0f);
  std::copy(values, values + count, padded.begin());
  return padded;
}

}  // namespace

void CopyStep::Run(const RunContext& run, Parallel& parallel) const {
  RunTasks(run, parallel, static_cast<size_t>(run.tokens.tile_count()), [&](size_t i, size_t) {
    const TokenTile tile = run.tokens.tiling()[static_cast<int64_t>(i)];
    std::memcpy(run.Tile(to_, tile), run.Tile(from_, tile),
                run.layout[from_].token_bytes * static_cast<size_t>(tile.tokens));
  });
}

void SumStep::Run(const RunContext& run, Parallel& parallel) const {
  const TaskGrid grid(run, features_, kNormRun, kMaxTaskRows);
  RunTasks(run, parallel, grid.count(), [&](size_t i, size_t) {
    const TaskGrid::Task task = grid[i];
    const TokenTile tile = run.tokens.tiling()[task.tile];
    run.encoder.layer_norm_stats(run.FloatTile(x_, tile, task.row_begin), run.FloatTile(z_, tile, task.row_begin),
                                 task.row_end - task.row_begin, tile.tokens,
                                 run.FloatTile(stats_, tile, task.row_begin / kNormRun * 2));
  });
}

NormStep::NormStep(const NormSpec& spec, const NormViews& views)
    : views_(views), gamma_(Padded(spec.gamma, spec.features)), beta_(Padded(spec.beta, spec.features)) {
  args_.features = static_cast<int32_t>(spec.features);
  args_.epsilon = spec.epsilon;
  args_.gamma = gamma_.data();
  args_.beta = beta_.data();
  args_.out_scale = static_cast<float>(1.0 / spec.quantized.scale);
  args_.out_zero_point = static_cast<float>(spec.quantized.zero_point);
  const bool is_signed = spec.quantized.type == ElementType::kS8;
  args_.lo = is_signed ? -128 : 0;
  args_.hi = args_.lo + 255;
  args_.flip = is_signed ? 0x80 : 0;
}

std::vector<StorageId> NormStep::Touches() const {
  std::vector<StorageId> all = {views_.z, views_.stats};
  if (views_.quantized != kNoStorage) all.push_back(views_.quantized);
  return all;
}

void NormStep::Run(const RunContext& run, Parallel& parallel) const {
  const auto rows = static_cast<int32_t>(RoundUp(static_cast<size_t>(args_.features), 4));
  const TaskGrid grid(run, rows, kNormRun, kMaxTaskRows);
  RunTasks(run, parallel, grid.count(), [&](size_t i, size_t) {
    const TaskGrid::Task task = grid[i];
    const TokenTile tile = run.tokens.tiling()[task.tile];
    LayerNormArgs args = args_;
    args.z = run.FloatTile(views_.z, tile);
    args.stats = run.FloatTile(views_.stats, tile);
    args.tokens = tile.tokens;
    args.row_begin = task.row_begin;
    args.row_end = task.row_end;
    args.y = views_.wants_float ? run.FloatTile(views_.z, tile) : nullptr;
    args.q = views_.quantized == kNoStorage ? nullptr : run.Tile(views_.quantized, tile);
    args.planar = views_.quantized != kNoStorage && run.IsPlanar(views_.quantized);
    run.encoder.layer_norm(&args);
  });
}

EmbedStep::EmbedStep(const EmbedSpec& spec, StorageId z, StorageId stats)
    : name_(spec.norm.name), features_(static_cast<int32_t>(spec.norm.features)), z_(z), stats_(stats) {
  for (const TableSpec& source : spec.tables) {
    Table table{};
    const ElementType type = source.quantization.type;
    table.kernel.element = type == ElementType::kF32  ? TableElement::kF32
                           : type == ElementType::kU8 ? TableElement::kU8
                                                      : TableElement::kS8;
    table.kernel.scale = source.quantization.scale;
    table.kernel.zero_point = source.quantization.zero_point;
    table.rows = source.rows;
    table.ids = source.ids;
    const size_t bytes = static_cast<size_t>(source.rows * features_) * (type == ElementType::kF32 ? 4 : 1);
    const auto* data = static_cast<const uint8_t*>(source.data);
    table.data = source.owner != nullptr ? SharedArray<uint8_t>(data, bytes, source.owner)
                                         : SharedArray<uint8_t>(AlignedVector<uint8_t>(data, data + bytes));
    table.kernel.data = table.data.data();
    tables_.push_back(std::move(table));
  }
}

void EmbedStep::CheckIds(const std::vector<PlanTensor>& inputs) const {
  for (size_t i = 0; i < tables_.size(); ++i) {
    const PlanTensor& ids = inputs[static_cast<size_t>(tables_[i].ids)];
    const auto* values = static_cast<const int64_t*>(ids.data);
    const int64_t count = ids.shape[0] * ids.shape[1];
    for (int64_t at = 0; at < count; ++at) {
      if (values[at] >= 0 && values[at] < tables_[i].rows) continue;
      throw Error("EmbedLayerNorm '" + name_ + "': ids of table " + std::to_string(i) + " must be in [0, " +
                  std::to_string(tables_[i].rows) + "), found " + std::to_string(values[at]) + " at [" +
                  std::to_string(at / ids.shape[1]) + ", " + std::to_string(at % ids.shape[1]) +
                  "]; check the tokenizer and the length of the input");
    }
  }
}

size_t EmbedStep::ScratchBytes(const RunContext& run) const {
  return tables_.size() * static_cast<size_t>(run.tokens.tiling().padded_tokens()) * sizeof(int32_t);
}

StepWork EmbedStep::Work(const RunContext& run) const {
  StepWork work;
  for (const Table& table : tables_) {
    const int64_t element = table.kernel.element == TableElement::kF32 ? 4 : 1;
    work.weight_bytes += run.TokenCount() * features_ * element;
  }
  return work;
}

// Which row of each table every lane of a tile reads: at scratch [tables][padded tokens].
void EmbedStep::FindRows(const RunContext& run, int64_t index) const {
  const TokenTile tile = run.tokens.tiling()[index];
  const TokenMap::SegmentRange segments = run.tokens.Segments(index);
  for (size_t i = 0; i < tables_.size(); ++i) {
    const PlanTensor& ids = run.inputs[static_cast<size_t>(tables_[i].ids)];
    int32_t* rows = reinterpret_cast<int32_t*>(run.scratch) + i * run.tokens.tiling().padded_tokens() + tile.begin;
    std::fill(rows, rows + tile.tokens, -1);
    for (const Segment& segment : segments) {
      const Sequence& sequence = run.tokens.sequences()[segment.sequence];
      const int64_t first = (ids.shape[0] == 1 ? 0 : sequence.row) + segment.position;
      const int64_t* values = static_cast<const int64_t*>(ids.data) + first;
      for (int32_t t = 0; t < segment.count; ++t) rows[segment.lane + t] = static_cast<int32_t>(values[t]);
    }
  }
}

void EmbedStep::Run(const RunContext& run, Parallel& parallel) const {
  for (int64_t i = 0; i < run.tokens.tile_count(); ++i) FindRows(run, i);
  const TaskGrid grid(run, features_, kNormRun, kMaxTaskRows);
  RunTasks(run, parallel, grid.count(), [&](size_t i, size_t) {
    const TaskGrid::Task task = grid[i];
    const TokenTile tile = run.tokens.tiling()[task.tile];
    EmbedArgs args{};
    args.table_count = static_cast<int32_t>(tables_.size());
    for (size_t j = 0; j < tables_.size(); ++j) {
      args.tables[j] = tables_[j].kernel;
      args.tables[j].rows =
          reinterpret_cast<const int32_t*>(run.scratch) + j * run.tokens.tiling().padded_tokens() + tile.begin;
    }
    args.features = features_;
    args.tokens = tile.tokens;
    args.row_begin = task.row_begin;
    args.row_end = task.row_end;
    args.z = run.FloatTile(z_, tile);
    run.encoder.embed(&args);
    run.encoder.layer_norm_stats(nullptr, run.FloatTile(z_, tile, task.row_begin), task.row_end - task.row_begin,
                                 tile.tokens, run.FloatTile(stats_, tile, task.row_begin / kNormRun * 2));
  });
}

}  // namespace fastep
