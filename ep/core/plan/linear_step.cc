#include "core/plan/linear_step.h"

#include <utility>

#include "core/product.h"

namespace fastep {
namespace {

// Most output rows of a task: their partial sums and outputs stay in the second cache.
constexpr int32_t kMaxTaskRows = 512;

// What the kernels know of s8 is stored as u8 between steps.
void FlipSigns(uint8_t* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i) bytes[i] ^= 0x80;
}

}  // namespace

// What a run needs beside its values, and where it stands in the scratch of a tile and of a worker.
struct LinearStep::Layout {
  RowRanges ranges;
  bool repack;     // a 4x1 product of quads
  bool sums;       // of tokens
  size_t sums_at;  // in a tile's, behind its planar form
  size_t tile_bytes;
  size_t worker_bytes;  // partial sums, and a float output where the residual is added in a second pass
};

LinearStep::LinearStep(PackedLinears linears, View x, View y, StorageId stats)
    : linears_(std::move(linears)), x_(x), y_(y), stats_(stats) {}

std::vector<StorageId> LinearStep::Touches() const {
  std::vector<StorageId> all = {x_.storage, y_.storage};
  if (stats_ != kNoStorage) all.push_back(stats_);
  return all;
}

LinearStep::Layout LinearStep::LayOut(const RunContext& run) const {
  const PackedRhs& rhs = linears_.rhs();
  const bool residual = stats_ != kNoStorage;
  const int32_t widest = run.tokens.tiling()[0].tokens;
  Layout l{RowRanges(run, rhs.rows(), residual ? kNormRun : kRowStep, kMaxTaskRows), false, false, 0, 0, 0};
  l.repack = rhs.kind() == RhsKind::k4x1 && !run.IsPlanar(x_.storage);
  l.sums = linears_.View().rhs_zero_point != nullptr;
  l.sums_at = l.repack ? LhsTileBytes(run.kernels, rhs.kind(), rhs.k_quads(), widest) : 0;
  l.tile_bytes = l.sums_at + (l.sums ? static_cast<size_t>(widest) * sizeof(int32_t) : 0);
  const int32_t rows = l.ranges.rows_per_range();
  const bool second_pass = residual && (run.kernels.extras & kResidualEpilogue) == 0;
  l.worker_bytes = PartialBytes(rhs, rows, widest) + (second_pass ? OutTileBytes(OutputKind::kFloat, rows, widest) : 0);
  // Going to planar by way of row-major.
  if (l.repack && run.encoder.planar_from_quad == nullptr) {
    l.worker_bytes = std::max(l.worker_bytes, static_cast<size_t>(rhs.k_quads()) * 4 * static_cast<size_t>(widest));
  }
  return l;
}

StepNeeds LinearStep::Needs(const RunContext& run) const {
  const Layout layout = LayOut(run);
  StepNeeds needs{{layout.repack || layout.sums ? size_t{1} : 0, layout.ranges.count()}};
  needs.tile_bytes = layout.tile_bytes;
  needs.worker_bytes = layout.worker_bytes;
  return needs;
}

void LinearStep::Run(const RunContext& run, TileTurn& turn) const {
  const Layout layout = LayOut(run);
  for (size_t task; turn.Next(task);) {
    if (turn.phase == 0) {
      PrepareTile(run, layout, turn);
    } else {
      Multiply(run, layout, turn, layout.ranges[task]);
    }
  }
}

StepWork LinearStep::Work(const RunContext& run) const {
  return ProductWork(linears_.n(), linears_.k(), linears_.info(), run.TokenCount());
}

// The planar form of a tile, and sum_k (x - x_zero_point) of its tokens, where the product needs them.
void LinearStep::PrepareTile(const RunContext& run, const Layout& layout, const TileTurn& turn) const {
  const TokenTile& tile = turn.tile;
  const uint8_t* quads = run.Tile(x_, tile);
  const int32_t k_quads = linears_.rhs().k_quads();
  if (layout.repack) {
    uint8_t* planar = turn.scratch.tile;
    if (run.encoder.planar_from_quad != nullptr) {
      run.encoder.planar_from_quad(quads, k_quads, tile.tokens, planar);
    } else {
      uint8_t* rows = turn.scratch.worker;
      const size_t stride = static_cast<size_t>(k_quads) * 4;
      run.kernels.unpack_quad(quads, k_quads * 4, tile.tokens, tile.tokens, rows, stride);
      run.kernels.pack_planar(rows, stride, tile.tokens, k_quads * 4, 0, k_quads, tile.tokens, 0, planar);
    }
  }
  if (!layout.sums) return;
  auto* sums = reinterpret_cast<int32_t*>(turn.scratch.tile + layout.sums_at);
  std::fill(sums, sums + tile.tokens, -linears_.k() * linears_.x_zero_point());
  for (int32_t k = 0; k < linears_.k(); ++k) {
    const uint8_t* row = quads + static_cast<size_t>(k / 4) * tile.tokens * 4 + k % 4;
    for (int32_t t = 0; t < tile.tokens; ++t) sums[t] += row[t * 4];
  }
}

void LinearStep::Multiply(const RunContext& run, const Layout& layout, const TileTurn& turn,
                          const RowRanges::Range& rows) const {
  const TokenTile& tile = turn.tile;
  const uint8_t* lhs = layout.repack ? turn.scratch.tile : run.Tile(x_, tile);
  Epilogue epilogue = linears_.View();
  if (layout.sums) epilogue.token_sum = reinterpret_cast<const int32_t*>(turn.scratch.tile + layout.sums_at);
  if (stats_ != kNoStorage) return AddToResidual(run, turn, lhs, epilogue, rows);
  epilogue.planar = run.IsPlanar(y_.storage);
  uint8_t* out = run.Tile(y_, tile, rows.begin);
  MultiplyTile(run.kernels, linears_.rhs(), lhs, tile.tokens, rows.begin, rows.end, epilogue,
               reinterpret_cast<int32_t*>(turn.scratch.worker), out);
  if (epilogue.kind == OutputKind::kQuantS8) {
    FlipSigns(out, static_cast<size_t>(rows.end - rows.begin) * run.RowBytes(y_.storage, tile));
  }
}

// A few runs of LayerNorm statistics at a time, while their rows are near; but a product whose K is split would then
// load each block of K as often.
void LinearStep::AddToResidual(const RunContext& run, const TileTurn& turn, const uint8_t* lhs, Epilogue epilogue,
                               const RowRanges::Range& rows) const {
  const TokenTile& tile = turn.tile;
  const bool fused = (run.kernels.extras & kResidualEpilogue) != 0;
  const int32_t step = linears_.rhs().k_blocks() == 1 ? 4 * kNormRun : rows.end - rows.begin;
  const size_t partial_bytes = PartialBytes(linears_.rhs(), step, tile.tokens);
  epilogue.kind = fused ? OutputKind::kResidual : OutputKind::kFloat;
  for (int32_t row = rows.begin; row < rows.end; row += step) {
    const int32_t row_end = std::min(row + step, rows.end);
    float* z = reinterpret_cast<float*>(run.Tile(y_, tile, row));
    auto* product = fused ? z : reinterpret_cast<float*>(turn.scratch.worker + partial_bytes);
    MultiplyTile(run.kernels, linears_.rhs(), lhs, tile.tokens, row, row_end, epilogue,
                 reinterpret_cast<int32_t*>(turn.scratch.worker), product);
    run.encoder.layer_norm_stats(fused ? nullptr : product, z, std::min(row_end, linears_.n()) - row, tile.tokens,
                                 run.FloatTile(stats_, tile, row / kNormRun * 2));
  }
}

}  // namespace fastep
