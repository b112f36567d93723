#include "core/plan/transfer_step.h"

#include <cstring>

namespace fastep {
namespace {

// True if the tile's lanes are consecutive rows of row-major tensors, from lane 0 on, without gaps.
bool Consecutive(const RunContext& run, const TokenMap::SegmentRange& segments) {
  if (segments.empty()) return false;
  const auto row = [&](const Segment& s) { return run.tokens.sequences()[s.sequence].row + s.position; };
  int32_t lane = 0;
  for (const Segment& s : segments) {
    // A gap may be a skipped token, whose row is not to be written.
    if (s.lane != lane || row(s) - s.lane != row(*segments.begin())) return false;
    lane += s.count;
  }
  return true;
}

// Up to the last token.
int32_t LanesOf(const TokenMap::SegmentRange& segments) {
  const Segment& last = *(segments.end() - 1);
  return last.lane + last.count;
}

size_t Bytes(ElementType type, int32_t features) {
  return static_cast<size_t>(features) * (type == ElementType::kF32 ? sizeof(float) : 1);
}

// One task; a worker needs rows of its own where those of the tensor are not consecutive.
StepNeeds RowsOfTile(const RunContext& run, size_t row_bytes) {
  StepNeeds needs{{1}};
  needs.worker_bytes = row_bytes * static_cast<size_t>(run.tokens.tiling()[0].tokens);
  return needs;
}

}  // namespace

size_t ImportStep::RowBytes() const { return Bytes(type_, y_.features); }
StepNeeds ImportStep::Needs(const RunContext& run) const { return RowsOfTile(run, RowBytes()); }

void ImportStep::Run(const RunContext& run, TileTurn& turn) const {
  for (size_t task; turn.Next(task);) ImportTile(run, turn);
}

void ImportStep::ImportTile(const RunContext& run, const TileTurn& turn) const {
  const auto* x = static_cast<const uint8_t*>(run.inputs[static_cast<size_t>(input_)].data);
  const size_t stride = RowBytes();
  const TokenTile& tile = turn.tile;
  const TokenMap::SegmentRange segments = run.tokens.Segments(tile.index);
  const auto source = [&](const Segment& s) {
    return x + static_cast<size_t>(run.tokens.sequences()[static_cast<size_t>(s.sequence)].row + s.position) * stride;
  };
  const uint8_t* rows = nullptr;
  int32_t m = 0;
  if (Consecutive(run, segments)) {
    rows = source(*segments.begin());
    m = LanesOf(segments);
  } else {
    uint8_t* gathered = turn.scratch.worker;
    std::memset(gathered, 0, stride * static_cast<size_t>(tile.tokens));
    for (const Segment& s : segments) {
      std::memcpy(gathered + static_cast<size_t>(s.lane) * stride, source(s), static_cast<size_t>(s.count) * stride);
    }
    rows = gathered;
    m = tile.tokens;
  }
  if (type_ == ElementType::kF32) {
    run.encoder.pack_f32(reinterpret_cast<const float*>(rows), stride, y_.features, m, tile.tokens,
                         reinterpret_cast<float*>(run.Tile(y_, tile)));
  } else {
    const auto quads = static_cast<int32_t>(CeilDiv(static_cast<size_t>(y_.features), 4));
    const auto pack = run.IsPlanar(y_.storage) ? run.kernels.pack_planar : run.kernels.pack_quad;
    pack(rows, stride, m, y_.features, 0, quads, tile.tokens, type_ == ElementType::kS8 ? 0x80 : 0, run.Tile(y_, tile));
  }
}

size_t ExportStep::RowBytes() const { return Bytes(type_, x_.features); }
StepNeeds ExportStep::Needs(const RunContext& run) const { return RowsOfTile(run, RowBytes()); }

void ExportStep::Run(const RunContext& run, TileTurn& turn) const {
  for (size_t task; turn.Next(task);) ExportTile(run, turn);
}

void ExportStep::ExportTile(const RunContext& run, const TileTurn& turn) const {
  const TokenTile& tile = turn.tile;
  uint8_t* gathered = turn.scratch.worker;
  const size_t stride = RowBytes();
  auto* y = static_cast<uint8_t*>(run.outputs[output_]);
  const TokenMap::SegmentRange segments = run.tokens.Segments(tile.index);
  const auto target = [&](const Segment& s) {
    return y + static_cast<size_t>(run.tokens.sequences()[s.sequence].row + s.position) * stride;
  };
  if (segments.empty()) return;
  const bool direct = Consecutive(run, segments);
  const int32_t m = LanesOf(segments);
  uint8_t* rows = direct ? target(*segments.begin()) : gathered;
  const uint8_t* x = run.Tile(x_, tile);
  if (type_ == ElementType::kF32) {
    run.kernels.unpack_f32(reinterpret_cast<const float*>(x), x_.features, m, tile.tokens,
                           reinterpret_cast<float*>(rows), stride);
  } else {
    run.kernels.unpack_quad(x, x_.features, m, tile.tokens, rows, stride);
  }
  if (type_ == ElementType::kS8) {
    for (size_t i = 0; i < stride * static_cast<size_t>(m); ++i) rows[i] ^= 0x80;
  }
  for (const Segment& s : segments) {
    if (direct) break;
    std::memcpy(target(s), gathered + static_cast<size_t>(s.lane) * stride, static_cast<size_t>(s.count) * stride);
  }
}

}  // namespace fastep
