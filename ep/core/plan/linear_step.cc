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

// What a run needs beside its values, and where it stands.
struct LinearStep::Scratch {
  TaskGrid grid;
  bool repack;  // a 4x1 product of quads
  bool sums;
  size_t lhs_bytes;      // of a planar tile
  size_t sums_at;        // token sums of all tiles
  size_t slots_at;       // one slot per worker:
  size_t partial_bytes;  //   partial sums
  size_t slot_bytes;     //   and a float output where the residual is added in a second pass
};

LinearStep::LinearStep(PackedLinears linears, View x, View y, StorageId stats)
    : linears_(std::move(linears)), x_(x), y_(y), stats_(stats) {}

std::vector<StorageId> LinearStep::Touches() const {
  std::vector<StorageId> all = {x_.storage, y_.storage};
  if (stats_ != kNoStorage) all.push_back(stats_);
  return all;
}

LinearStep::Scratch LinearStep::LayOut(const RunContext& run) const {
  const PackedRhs& rhs = linears_.rhs();
  const bool residual = stats_ != kNoStorage;
  const int32_t widest = run.tokens.tiling()[0].tokens;
  const auto padded = static_cast<size_t>(run.tokens.tiling().padded_tokens());
  Scratch s{TaskGrid(run, rhs.rows(), residual ? kNormRun : kRowStep, kMaxTaskRows), false, false, 0, 0, 0, 0, 0};
  s.repack = rhs.kind() == RhsKind::k4x1 && !run.IsPlanar(x_.storage);
  s.sums = linears_.View().rhs_zero_point != nullptr;
  s.lhs_bytes = s.repack ? LhsTileBytes(run.kernels, rhs.kind(), rhs.k_quads(), widest) : 0;
  s.sums_at = s.lhs_bytes * static_cast<size_t>(run.tokens.tile_count());
  s.slots_at = RoundUp(s.sums_at + (s.sums ? padded * sizeof(int32_t) : 0), kCacheLine);
  s.partial_bytes = PartialBytes(rhs, s.grid.rows_per_task(), widest);
  const bool second_pass = residual && (run.kernels.extras & kResidualEpilogue) == 0;
  s.slot_bytes = s.partial_bytes + (second_pass ? OutTileBytes(OutputKind::kFloat, s.grid.rows_per_task(), widest) : 0);
  // Going to planar by way of row-major.
  if (s.repack && run.encoder.planar_from_quad == nullptr) {
    s.slot_bytes = std::max(s.slot_bytes, RoundUp(static_cast<size_t>(rhs.k_quads()) * 4 * widest, kCacheLine));
  }
  return s;
}

size_t LinearStep::ScratchBytes(const RunContext& run) const {
  const Scratch s = LayOut(run);
  const size_t tiles = static_cast<size_t>(run.tokens.tile_count());
  return s.slots_at + s.slot_bytes * Workers(run.threads, std::max(s.grid.count(), tiles));
}

void LinearStep::Run(const RunContext& run, Parallel& parallel) const {
  const Scratch s = LayOut(run);
  if (s.repack || s.sums) {
    RunTasks(run, parallel, static_cast<size_t>(run.tokens.tile_count()), [&](size_t tile, size_t worker) {
      Scratch mine = s;
      mine.slots_at += worker * s.slot_bytes;
      PrepareTile(run, mine, static_cast<int64_t>(tile));
    });
  }
  RunTasks(run, parallel, s.grid.count(), [&](size_t task, size_t worker) { Multiply(run, s, s.grid[task], worker); });
}

StepWork LinearStep::Work(const RunContext& run) const {
  return ProductWork(linears_.n(), linears_.k(), linears_.info(), run.TokenCount());
}

// The planar form of a tile, and sum_k (x - x_zero_point) of its tokens, where the product needs them.
void LinearStep::PrepareTile(const RunContext& run, const Scratch& s, int64_t index) const {
  const TokenTile tile = run.tokens.tiling()[index];
  const uint8_t* quads = run.Tile(x_, tile);
  const int32_t k_quads = linears_.rhs().k_quads();
  if (s.repack) {
    uint8_t* planar = run.scratch + static_cast<size_t>(index) * s.lhs_bytes;
    if (run.encoder.planar_from_quad != nullptr) {
      run.encoder.planar_from_quad(quads, k_quads, tile.tokens, planar);
    } else {
      uint8_t* rows = run.scratch + s.slots_at;
      const size_t stride = static_cast<size_t>(k_quads) * 4;
      run.kernels.unpack_quad(quads, k_quads * 4, tile.tokens, tile.tokens, rows, stride);
      run.kernels.pack_planar(rows, stride, tile.tokens, k_quads * 4, 0, k_quads, tile.tokens, 0, planar);
    }
  }
  if (!s.sums) return;
  auto* sums = reinterpret_cast<int32_t*>(run.scratch + s.sums_at) + tile.begin;
  std::fill(sums, sums + tile.tokens, -linears_.k() * linears_.x_zero_point());
  for (int32_t k = 0; k < linears_.k(); ++k) {
    const uint8_t* row = quads + static_cast<size_t>(k / 4) * tile.tokens * 4 + k % 4;
    for (int32_t t = 0; t < tile.tokens; ++t) sums[t] += row[t * 4];
  }
}

void LinearStep::Multiply(const RunContext& run, const Scratch& s, const TaskGrid::Task& task, size_t worker) const {
  const TokenTile tile = run.tokens.tiling()[task.tile];
  uint8_t* slot = run.scratch + s.slots_at + worker * s.slot_bytes;
  const uint8_t* lhs = s.repack ? run.scratch + static_cast<size_t>(task.tile) * s.lhs_bytes : run.Tile(x_, tile);
  Epilogue epilogue = linears_.View();
  if (s.sums) epilogue.token_sum = reinterpret_cast<const int32_t*>(run.scratch + s.sums_at) + tile.begin;
  if (stats_ != kNoStorage) return AddToResidual(run, tile, lhs, epilogue, task, slot);
  epilogue.planar = run.IsPlanar(y_.storage);
  uint8_t* out = run.Tile(y_, tile, task.row_begin);
  MultiplyTile(run.kernels, linears_.rhs(), lhs, tile.tokens, task.row_begin, task.row_end, epilogue,
               reinterpret_cast<int32_t*>(slot), out);
  if (epilogue.kind == OutputKind::kQuantS8) {
    FlipSigns(out, static_cast<size_t>(task.row_end - task.row_begin) * run.RowBytes(y_.storage, tile));
  }
}

// A few runs of LayerNorm statistics at a time, while their rows are near; but a product whose K is split would then
// load each block of K as often.
void LinearStep::AddToResidual(const RunContext& run, const TokenTile& tile, const uint8_t* lhs, Epilogue epilogue,
                               const TaskGrid::Task& task, uint8_t* slot) const {
  const bool fused = (run.kernels.extras & kResidualEpilogue) != 0;
  const int32_t step = linears_.rhs().k_blocks() == 1 ? 4 * kNormRun : task.row_end - task.row_begin;
  const size_t partial_bytes = PartialBytes(linears_.rhs(), step, tile.tokens);
  epilogue.kind = fused ? OutputKind::kResidual : OutputKind::kFloat;
  for (int32_t row = task.row_begin; row < task.row_end; row += step) {
    const int32_t row_end = std::min(row + step, task.row_end);
    float* z = reinterpret_cast<float*>(run.Tile(y_, tile, row));
    auto* product = fused ? z : reinterpret_cast<float*>(slot + partial_bytes);
    MultiplyTile(run.kernels, linears_.rhs(), lhs, tile.tokens, row, row_end, epilogue,
                 reinterpret_cast<int32_t*>(slot), product);
    run.encoder.layer_norm_stats(fused ? nullptr : product, z, std::min(row_end, linears_.n()) - row, tile.tokens,
                                 run.FloatTile(stats_, tile, row / kNormRun * 2));
  }
}

}  // namespace fastep
