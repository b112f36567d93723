#include "core/plan/norm_step.h"

#include <cstring>
#include <numeric>

#include "core/plan/require.h"

namespace fastep {
namespace {

constexpr int32_t kMaxTaskRows = 512;

AlignedVector<float> Padded(const float* values, int64_t count) {
  AlignedVector<float> padded(RoundUp(static_cast<size_t>(count), kRowStep), 0.0f);
  std::copy(values, values + count, padded.begin());
  return padded;
}

}  // namespace

StepNeeds CopyStep::Needs(const RunContext&) const { return {{1}}; }

void CopyStep::Run(const RunContext& run, TileTurn& turn) const {
  for (size_t task; turn.Next(task);) {
    std::memcpy(run.Tile(to_, turn.tile), run.Tile(from_, turn.tile),
                run.layout[from_].token_bytes * static_cast<size_t>(turn.tile.tokens));
  }
}

StepNeeds SumStep::Needs(const RunContext& run) const {
  return {{RowRanges(run, features_, kNormRun, kMaxTaskRows).count()}};
}

void SumStep::Run(const RunContext& run, TileTurn& turn) const {
  const RowRanges ranges(run, features_, kNormRun, kMaxTaskRows);
  for (size_t task; turn.Next(task);) {
    const RowRanges::Range rows = ranges[task];
    run.encoder.layer_norm_stats(run.FloatTile(x_, turn.tile, rows.begin), run.FloatTile(z_, turn.tile, rows.begin),
                                 rows.end - rows.begin, turn.tile.tokens,
                                 run.FloatTile(stats_, turn.tile, rows.begin / kNormRun * 2));
  }
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

RowRanges NormStep::Ranges(const RunContext& run) const {
  return {run, static_cast<int32_t>(RoundUp(static_cast<size_t>(args_.features), 4)), kNormRun, kMaxTaskRows};
}

StepNeeds NormStep::Needs(const RunContext& run) const { return {{Ranges(run).count()}}; }

void NormStep::Run(const RunContext& run, TileTurn& turn) const {
  const RowRanges ranges = Ranges(run);
  LayerNormArgs args = args_;
  args.z = run.FloatTile(views_.z, turn.tile);
  args.stats = run.FloatTile(views_.stats, turn.tile);
  args.tokens = turn.tile.tokens;
  args.y = views_.wants_float ? run.FloatTile(views_.z, turn.tile) : nullptr;
  args.q = views_.quantized == kNoStorage ? nullptr : run.Tile(views_.quantized, turn.tile);
  args.planar = views_.quantized != kNoStorage && run.IsPlanar(views_.quantized);
  for (size_t task; turn.Next(task);) {
    args.row_begin = ranges[task].begin;
    args.row_end = ranges[task].end;
    run.encoder.layer_norm(&args);
  }
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

void EmbedStep::CheckIds(const std::vector<PlanInput>& names, const std::vector<PlanTensor>& inputs,
                         int64_t length) const {
  const auto where = [&] { return "EmbedLayerNorm '" + name_ + "'"; };
  for (const Table& table : tables_) {
    if (table.ids == kNoInput) {
      if (length <= table.rows) continue;
      Require(false, where(), "a sequence must have at most ", table.rows,
              " tokens, one per row of the table of positions, found ", length, "; shorten the input");
    }
    const auto input = static_cast<size_t>(table.ids);
    const auto* values = static_cast<const int64_t*>(inputs[input].data);
    const int64_t columns = inputs[input].shape[1], count = inputs[input].shape[0] * columns;
    for (int64_t at = 0; at < count; ++at) {
      if (values[at] >= 0 && values[at] < table.rows) continue;
      Require(false, where(), "ids of input '", names[input].name, "' must be in [0, ", table.rows, "), found ",
              values[at], " at [", at / columns, ", ", at % columns,
              "]; check the tokenizer and the length of the input");
    }
  }
}

StepNeeds EmbedStep::Needs(const RunContext& run) const {
  StepNeeds needs{{1, RowRanges(run, features_, kNormRun, kMaxTaskRows).count()}};
  needs.tile_bytes = tables_.size() * static_cast<size_t>(run.tokens.tiling()[0].tokens) * sizeof(int32_t);
  return needs;
}

StepWork EmbedStep::Work(const RunContext& run) const {
  StepWork work;
  for (const Table& table : tables_) {
    const int64_t element = table.kernel.element == TableElement::kF32 ? 4 : 1;
    work.weight_bytes += run.TokenCount() * features_ * element;
  }
  return work;
}

void EmbedStep::Run(const RunContext& run, TileTurn& turn) const {
  const RowRanges ranges(run, features_, kNormRun, kMaxTaskRows);
  for (size_t task; turn.Next(task);) {
    if (turn.phase == 0) {
      FindRows(run, turn);
    } else {
      Embed(run, turn, ranges[task]);
    }
  }
}

// Which row of each table every lane of a tile reads: [tables][tokens] of its scratch.
void EmbedStep::FindRows(const RunContext& run, const TileTurn& turn) const {
  auto* rows = reinterpret_cast<int32_t*>(turn.scratch.tile);
  std::fill_n(rows, tables_.size() * static_cast<size_t>(turn.tile.tokens), -1);
  for (const Table& table : tables_) {
    for (const Segment& segment : run.tokens.Segments(turn.tile.index)) {
      if (table.ids == kNoInput) {
        std::iota(rows + segment.lane, rows + segment.lane + segment.count, static_cast<int32_t>(segment.position));
        continue;
      }
      const PlanTensor& ids = run.inputs[static_cast<size_t>(table.ids)];
      const Sequence& sequence = run.tokens.sequences()[static_cast<size_t>(segment.sequence)];
      const int64_t first = (ids.shape[0] == 1 ? 0 : sequence.row) + segment.position;
      const int64_t* values = static_cast<const int64_t*>(ids.data) + first;
      for (int32_t t = 0; t < segment.count; ++t) rows[segment.lane + t] = static_cast<int32_t>(values[t]);
    }
    rows += turn.tile.tokens;
  }
}

void EmbedStep::Embed(const RunContext& run, const TileTurn& turn, const RowRanges::Range& rows) const {
  EmbedArgs args{};
  args.table_count = static_cast<int32_t>(tables_.size());
  for (size_t i = 0; i < tables_.size(); ++i) {
    args.tables[i] = tables_[i].kernel;
    args.tables[i].rows =
        reinterpret_cast<const int32_t*>(turn.scratch.tile) + i * static_cast<size_t>(turn.tile.tokens);
  }
  args.features = features_;
  args.tokens = turn.tile.tokens;
  args.row_begin = rows.begin;
  args.row_end = rows.end;
  args.z = run.FloatTile(z_, turn.tile);
  run.encoder.embed(&args);
  run.encoder.layer_norm_stats(nullptr, run.FloatTile(z_, turn.tile, rows.begin), rows.end - rows.begin,
                               turn.tile.tokens, run.FloatTile(stats_, turn.tile, rows.begin / kNormRun * 2));
}

}  // namespace fastep
