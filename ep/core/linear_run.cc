#include "core/linear_run.h"

#include <algorithm>
#include <optional>

#include "core/product.h"
#include "core/slots.h"
#include "core/tiling.h"

namespace fastep {
namespace {

// Tokens are run in waves, so that scratch memory does not grow with M.
constexpr int64_t kWaveTokens = 1024;
// Threads claim tasks one by one; a few per thread even out their speeds.
constexpr size_t kTasksPerThread = 4;
constexpr size_t kTasksIfThreadsUnknown = 16;
// Bytes of activations that one task packs.
constexpr int64_t kPackTaskBytes = 64 * 1024;

// One wave: packing its tiles is the first phase, multiplying (tile x range of output rows) the second.
class Wave {
 public:
  Wave(const LinearRun& run, int64_t token_begin, int64_t tokens, size_t threads)
      : run_(run),
        token_begin_(token_begin),
        tiling_(tokens, run.kernels.blocking[static_cast<int>(run.rhs.kind())].tile_tokens),
        tile_bytes_(LhsTileBytes(run.kernels, run.rhs.kind(), run.rhs.k_quads(), tiling_[0].tokens)) {
    const int64_t rows = run.rhs.rows();
    const size_t wanted = threads == 0 ? kTasksIfThreadsUnknown : (threads == 1 ? 1 : threads * kTasksPerThread);
    const size_t ranges = std::max(CeilDiv(rows, RowsPerPass(run.rhs)), CeilDiv(wanted, tiling_.count()));
    rows_per_task_ = RoundUp(CeilDiv(rows, ranges), kRowStep);
    // Whole cache lines of a row-major quantized output.
    if (rows_per_task_ > static_cast<int64_t>(kCacheLine)) rows_per_task_ = RoundUp(rows_per_task_, kCacheLine);
    row_ranges_ = CeilDiv(rows, rows_per_task_);
    pieces_ = threads == 1 ? 1 : CeilDiv(run.k * tiling_[0].tokens, kPackTaskBytes);
    pieces_ = std::min<int64_t>(pieces_, run.rhs.k_quads());
    const auto task_rows = static_cast<int32_t>(rows_per_task_);
    partial_bytes_ = PartialBytes(run.rhs, task_rows, tiling_[0].tokens);
    out_bytes_ = OutTileBytes(run.epilogue.kind, task_rows, tiling_[0].tokens);
  }

  size_t pack_tasks() const { return tiling_.count() * pieces_; }
  size_t multiply_tasks() const { return tiling_.count() * row_ranges_; }
  size_t scratch_bytes() const { return SlotsAt() + Slots::Bytes(multiply_tasks(), partial_bytes_ + out_bytes_); }

  void SetScratch(uint8_t* scratch) {
    scratch_ = scratch;
    slots_.emplace(scratch + SlotsAt(), multiply_tasks(), partial_bytes_ + out_bytes_);
  }

  void Pack(size_t task) const {
    const int64_t index = task / pieces_, piece = task % pieces_;
    const TokenTile tile = tiling_[index];
    const int64_t quads = run_.rhs.k_quads();
    const uint8_t* x = run_.x + (token_begin_ + tile.begin) * run_.k;
    PackLhs(run_.kernels, run_.rhs.kind(), x, run_.k, tile.count, tile.tokens,
            static_cast<int32_t>(quads * piece / pieces_), static_cast<int32_t>(quads * (piece + 1) / pieces_),
            run_.flip, LhsTile(index));
    if (run_.epilogue.rhs_zero_point != nullptr && piece == 0) SumTokens(tile, x);
  }

  // Neighbouring tasks share the weights, which are read once per tile, and so stay in the second cache.
  void Multiply(size_t task) const {
    const int64_t index = task % tiling_.count();
    const TokenTile tile = tiling_[index];
    const int64_t row_begin = static_cast<int64_t>(task / tiling_.count()) * rows_per_task_;
    const int64_t row_end = std::min<int64_t>(row_begin + rows_per_task_, run_.rhs.rows());
    Epilogue epilogue = run_.epilogue;
    epilogue.token_sum = TokenSums() + tile.begin;
    const Slots::Lease slot = slots_->Take();
    uint8_t* out = slot.data() + partial_bytes_;
    MultiplyTile(run_.kernels, run_.rhs, LhsTile(index), tile.tokens, static_cast<int32_t>(row_begin),
                 static_cast<int32_t>(row_end), epilogue, reinterpret_cast<int32_t*>(slot.data()), out);
    if (row_begin < run_.n) Unpack(tile, row_begin, std::min(row_end, run_.n), out);
  }

 private:
  void Unpack(const TokenTile& tile, int64_t row_begin, int64_t row_end, const uint8_t* out) const {
    const auto rows = static_cast<int32_t>(row_end - row_begin);
    const size_t at = (token_begin_ + tile.begin) * run_.n + row_begin;
    if (run_.epilogue.kind == OutputKind::kQuantU8 || run_.epilogue.kind == OutputKind::kQuantS8) {
      run_.kernels.unpack_quad(out, rows, tile.count, tile.tokens, run_.y + at, run_.n);
    } else {
      run_.kernels.unpack_f32(reinterpret_cast<const float*>(out), rows, tile.count, tile.tokens,
                              reinterpret_cast<float*>(run_.y) + at, run_.n * sizeof(float));
    }
  }

  // sum_k (x - x_zero_point) of each token.
  void SumTokens(const TokenTile& tile, const uint8_t* x) const {
    int32_t* sums = TokenSums() + tile.begin;
    std::fill(sums, sums + tile.tokens, 0);
    for (int32_t t = 0; t < tile.count; ++t) {
      int64_t sum = -run_.k * run_.x_zero_point;
      for (int64_t k = 0; k < run_.k; ++k) sum += static_cast<uint8_t>(x[t * run_.k + k] ^ run_.flip);
      sums[t] = static_cast<int32_t>(sum);
    }
  }

  size_t SlotsAt() const {
    return RoundUp(tiling_.count() * tile_bytes_ + tiling_.padded_tokens() * sizeof(int32_t), kCacheLine);
  }
  uint8_t* LhsTile(int64_t index) const { return scratch_ + index * tile_bytes_; }
  int32_t* TokenSums() const { return reinterpret_cast<int32_t*>(scratch_ + tiling_.count() * tile_bytes_); }

  const LinearRun& run_;
  int64_t token_begin_;
  Tiling tiling_;
  size_t tile_bytes_;
  int64_t rows_per_task_, row_ranges_;
  int64_t pieces_;  // of K, in the packing phase
  size_t partial_bytes_, out_bytes_;
  uint8_t* scratch_ = nullptr;
  std::optional<Slots> slots_;
};

}  // namespace

void RunLinear(const LinearRun& run, Parallel& parallel, Arena& arena) {
  for (int64_t begin = 0; begin < run.m; begin += kWaveTokens) {
    Wave wave(run, begin, std::min(kWaveTokens, run.m - begin), parallel.Threads());
    wave.SetScratch(arena.Reserve(wave.scratch_bytes()));
    parallel.For(wave.pack_tasks(), [](void* w, size_t i) { static_cast<Wave*>(w)->Pack(i); }, &wave);
    parallel.For(wave.multiply_tasks(), [](void* w, size_t i) { static_cast<Wave*>(w)->Multiply(i); }, &wave);
  }
}

}  // namespace fastep
