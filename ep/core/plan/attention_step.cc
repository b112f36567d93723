#include "core/plan/attention_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/plan/attention_finish.h"
#include "core/plan/attention_parts.h"

namespace fastep {
namespace {

int32_t AsUnsigned(const Quantization& x) { return x.zero_point + (x.type == ElementType::kS8 ? 128 : 0); }

// The weighted mean of v is below 256; times this, and moved by a zero point, it is still below 2^31.
constexpr float kBoundedScale = 4e6f;

// A score is a sum of so many products of less than 2^8 and at most 2^7: its magnitude is below 2^22.
constexpr int32_t kOffsetHeadSize = 128;

// One dense product of all rows of a packed rhs.
void MultiplyDense(const KernelTable& kernels, const uint8_t* lhs, int32_t tokens, const void* values, int32_t k_quads,
                   int32_t rows, const Epilogue& epilogue, int32_t* partial, bool first, bool last, void* out) {
  ProductArgs args{};
  args.lhs = lhs;
  args.tokens = tokens;
  args.rhs.values = values;
  args.rhs.k_quads = k_quads;
  args.group_end = rows / RowsPerGroup(RhsKind::kDense);
  args.partial = first && last ? nullptr : partial;
  args.first = first;
  args.last = last;
  args.epilogue = &epilogue;
  args.out = out;
  kernels.product[static_cast<int>(RhsKind::kDense)](&args);
}

}  // namespace

// Packed keys and values of all sequences and heads, then one slot per worker. Sequence s and head h own `rows(s)` rows
// from row first_row(s) * heads + h * rows(s) on.
struct AttentionStep::Scratch {
  const KeyMap& keys;
  int32_t widest;
  size_t key_bytes;    // of a packed key
  size_t value_bytes;  // of a packed key's values
  size_t values_at, init_at, slots_at, slot_bytes;
  bool with_bias, with_output;
  size_t tasks;

  size_t Row(size_t sequence, int32_t head, int32_t heads) const {
    return static_cast<size_t>(keys.first_row(sequence) * heads + int64_t{head} * keys.rows(sequence));
  }
};

struct AttentionStep::Slot {
  int32_t* scores;     // [rows][tokens]
  uint8_t* e;          // [rows / 4][tokens][4]
  float* bias;         // [rows][tokens]
  int32_t* largest;    // [tokens]
  int32_t* row_sum;    // [tokens]
  float* token_scale;  // [tokens]
  int32_t* partial;    // [head_rows][tokens]
  uint8_t* output;     // [head_rows] rows as those of y, where the product cannot write there
};

AttentionStep::AttentionStep(const AttentionSpec& spec, const AttentionViews& views)
    : views_(views),
      heads_(static_cast<int32_t>(spec.num_heads)),
      head_size_(views.q.features / heads_),
      head_rows_(static_cast<int32_t>(RoundUp(static_cast<size_t>(head_size_), kRowStep))),
      bias_(spec.bias),
      scale_(static_cast<float>(double(spec.q.scale) * spec.k.scale * spec.scale * kLog2E)),
      q_zero_point_(AsUnsigned(spec.q)),
      no_init_(static_cast<size_t>(head_rows_), 0) {
  const bool quantized = spec.y.type != ElementType::kF32;
  is_signed_ = spec.y.type == ElementType::kS8;
  kind_ = !quantized ? OutputKind::kFloat : is_signed_ ? OutputKind::kQuantS8 : OutputKind::kQuantU8;
  out_scale_ = static_cast<float>(quantized ? double(spec.v.scale) / spec.y.scale : double(spec.v.scale));
  out_zero_point_ = quantized ? static_cast<float>(spec.y.zero_point) : 0.0f;
  out_bias_.assign(static_cast<size_t>(head_rows_), out_zero_point_);
  const int32_t v_zero_point = AsUnsigned(spec.v) - 128;
  if (v_zero_point != 0) v_zero_point_.assign(static_cast<size_t>(head_rows_), v_zero_point);
}

std::vector<StorageId> AttentionStep::Touches() const {
  return {views_.q.storage, views_.k.storage, views_.v.storage, views_.y.storage};
}

bool AttentionStep::Fused(const KernelTable& kernels) { return (kernels.extras & kTokenScaleEpilogue) != 0; }
bool AttentionStep::CanWritePlanar(const KernelTable& kernels) {
  return Fused(kernels) && (kernels.extras & kPlanarEpilogue) != 0;
}

AttentionStep::Scratch AttentionStep::LayOut(const RunContext& run) const {
  const KeyMap& keys = run.keys[views_.key_map];
  Scratch s{keys, run.tokens.tiling()[0].tokens, 0, 0, 0, 0, 0, 0, false, false, 0};
  const auto element = static_cast<size_t>(run.kernels.value_bytes);
  const size_t rows = static_cast<size_t>(keys.all_rows() * heads_);
  const auto tokens = static_cast<size_t>(s.widest);
  s.key_bytes = static_cast<size_t>(head_size_) * element;
  s.value_bytes = static_cast<size_t>(head_rows_) * element;
  // Kernels may read a line past the end.
  s.values_at = rows * s.key_bytes + kCacheLine;
  s.init_at = s.values_at + rows * s.value_bytes + kCacheLine;
  s.slots_at = s.init_at + rows * sizeof(int32_t);
  s.with_bias = bias_ != kNoInput;
  s.with_output = !Fused(run.kernels) || head_rows_ != head_size_;
  const auto most = static_cast<size_t>(keys.most_rows());
  const size_t words = most * (s.with_bias ? 2 : 1) + 3 + static_cast<size_t>(head_rows_) * (s.with_output ? 2 : 1);
  s.slot_bytes = tokens * (words * 4 + most);
  s.tasks = static_cast<size_t>(run.tokens.tile_count() * heads_);
  return s;
}

size_t AttentionStep::ScratchBytes(const RunContext& run) const {
  const Scratch s = LayOut(run);
  return s.slots_at + s.slot_bytes * Workers(run.threads, s.tasks);
}

AttentionStep::Slot AttentionStep::SlotOf(const RunContext& run, const Scratch& s, size_t worker) const {
  uint8_t* at = run.scratch + s.slots_at + worker * s.slot_bytes;
  const auto take = [&](size_t rows, size_t element) {
    uint8_t* begin = at;
    at += rows * static_cast<size_t>(s.widest) * element;
    return begin;
  };
  const auto most = static_cast<size_t>(s.keys.most_rows());
  Slot slot;
  slot.scores = reinterpret_cast<int32_t*>(take(most, 4));
  slot.e = take(most, 1);
  slot.bias = reinterpret_cast<float*>(take(s.with_bias ? most : 0, 4));
  slot.largest = reinterpret_cast<int32_t*>(take(1, 4));
  slot.row_sum = reinterpret_cast<int32_t*>(take(1, 4));
  slot.token_scale = reinterpret_cast<float*>(take(1, 4));
  slot.partial = reinterpret_cast<int32_t*>(take(static_cast<size_t>(head_rows_), 4));
  slot.output = take(s.with_output ? static_cast<size_t>(head_rows_) : 0, 4);
  return slot;
}

// What the tier wants scores to be larger by.
int32_t AttentionStep::ScoreOffset(const KernelTable& kernels) const {
  return (kernels.extras & kOffsetScores) != 0 && head_size_ <= kOffsetHeadSize ? kScoreOffset : 0;
}

void AttentionStep::Run(const RunContext& run, Parallel& parallel) const {
  const Scratch s = LayOut(run);
  const auto heads = static_cast<size_t>(heads_);
  RunTasks(run, parallel, run.tokens.sequences().size() * heads,
           [&](size_t task, size_t) { PackSequence(run, s, task / heads, static_cast<int32_t>(task % heads)); });
  RunTasks(run, parallel, s.tasks, [&](size_t task, size_t worker) {
    Attend(run, s, static_cast<int64_t>(task / heads), static_cast<int32_t>(task % heads), SlotOf(run, s, worker));
  });
}

StepWork AttentionStep::Work(const RunContext& run) const {
  return AttentionWork(run, run.keys[views_.key_map], views_.q.features);
}

// Visible keys stand side by side, wherever they stood in the sequence: hidden ones cost nothing.
void AttentionStep::PackSequence(const RunContext& run, const Scratch& s, size_t sequence, int32_t head) const {
  const size_t row = s.Row(sequence, head, heads_);
  const auto rows = static_cast<size_t>(s.keys.rows(sequence));
  KeyRun keys{}, values{};
  keys.head_quads = values.head_quads = head_size_ / 4;
  keys.value_bytes = values.value_bytes = run.kernels.value_bytes;
  keys.values = run.scratch + row * s.key_bytes;
  keys.zero_point = q_zero_point_;
  keys.acc_init = reinterpret_cast<int32_t*>(run.scratch + s.init_at) + row;
  values.values = run.scratch + s.values_at + row * s.value_bytes;
  values.key_quads = static_cast<int32_t>(CeilDiv(static_cast<size_t>(s.keys.keys(sequence)), 4));
  if (s.keys.keys(sequence) != s.keys.rows(sequence)) {
    std::memset(keys.values, 0, rows * s.key_bytes);
    std::fill_n(keys.acc_init, rows, std::numeric_limits<int32_t>::min());  // never the largest score
  }
  if (s.keys.keys(sequence) % 4 != 0 || head_size_ % 8 != 0 || head_size_ != head_rows_) {
    std::memset(values.values, 0, rows * s.value_bytes);
  }
  for (const KeyMap::Run* visible = s.keys.begin(sequence); visible != s.keys.end(sequence); ++visible) {
    int64_t token = run.tokens.sequences()[sequence].begin + visible->position;
    for (const int64_t end = token + visible->count; token < end;) {
      const TokenTile tile = run.tokens.tiling()[run.tokens.TileOf(token)];
      keys.tokens = values.tokens = tile.tokens;
      keys.lane = values.lane = static_cast<int32_t>(token - tile.begin);
      keys.count = values.count = static_cast<int32_t>(std::min<int64_t>(end - token, tile.tokens - keys.lane));
      keys.tile = run.Tile(views_.k, tile, HeadRow(head));
      values.tile = run.Tile(views_.v, tile, HeadRow(head));
      run.encoder.pack_keys(&keys);
      run.encoder.pack_values(&values);
      keys.key = values.key = keys.key + keys.count;
      token += keys.count;
    }
  }
  const int32_t offset = ScoreOffset(run.kernels);
  for (int32_t key = 0; key < s.keys.keys(sequence); ++key) keys.acc_init[key] += offset;
}

void AttentionStep::Attend(const RunContext& run, const Scratch& s, int64_t index, int32_t head,
                           const Slot& slot) const {
  const TokenTile tile = run.tokens.tiling()[index];
  std::fill(slot.row_sum, slot.row_sum + tile.tokens, 0);
  std::fill(slot.token_scale, slot.token_scale + tile.tokens, 0.0f);
  const auto with_keys = [&](const Segment& segment) { return s.keys.keys(static_cast<size_t>(segment.sequence)) > 0; };
  const TokenMap::SegmentRange segments = run.tokens.Segments(index);
  const auto total = std::count_if(segments.begin(), segments.end(), with_keys);
  const Epilogue epilogue = OutputEpilogue(run, slot);
  uint8_t* y = run.Tile(views_.y, tile, HeadRow(head));
  void* out = s.with_output ? slot.output : y;
  int64_t done = 0;
  for (const Segment& segment : segments) {
    if (!with_keys(segment)) continue;
    const auto sequence = static_cast<size_t>(segment.sequence);
    Score(run, s, tile, segment, head, slot);
    const uint8_t* values = run.scratch + s.values_at + s.Row(sequence, head, heads_) * s.value_bytes;
    const auto key_quads = static_cast<int32_t>(CeilDiv(static_cast<size_t>(s.keys.keys(sequence)), 4));
    MultiplyDense(run.kernels, slot.e, tile.tokens, values, key_quads, head_rows_, epilogue, slot.partial, done == 0,
                  done + 1 == total, out);
    ++done;
  }
  const size_t bytes = static_cast<size_t>(head_size_) * run.RowBytes(views_.y.storage, tile);
  if (total == 0) {
    FillZeroPoint(kind_, out_zero_point_, bytes, y);
  } else if (s.with_output) {
    Finish(run, tile, head, slot);
  }
  if (kind_ != OutputKind::kQuantS8) return;
  for (size_t i = 0; i < bytes; ++i) y[i] ^= 0x80;
}

// Probabilities of a tile's queries over the keys of one of its sequences.
void AttentionStep::Score(const RunContext& run, const Scratch& s, const TokenTile& tile, const Segment& segment,
                          int32_t head, const Slot& slot) const {
  const auto sequence = static_cast<size_t>(segment.sequence);
  const size_t row = s.Row(sequence, head, heads_);
  Epilogue epilogue{};
  epilogue.kind = OutputKind::kInt32;
  epilogue.acc_init = reinterpret_cast<const int32_t*>(run.scratch + s.init_at) + row;
  if (bias_ == kNoInput && (run.kernels.extras & kTokenMaxEpilogue) != 0) {
    std::fill_n(slot.largest, tile.tokens, std::numeric_limits<int32_t>::min());
    epilogue.token_max = slot.largest;
  }
  MultiplyDense(run.kernels, run.Tile(views_.q, tile, HeadRow(head)), tile.tokens, run.scratch + row * s.key_bytes,
                head_size_ / 4, s.keys.rows(sequence), epilogue, nullptr, true, true, slot.scores);
  SoftmaxArgs args{};
  args.scores = slot.scores;
  if (bias_ != kNoInput) {
    const AttentionBias bias(run, bias_, run.keys[views_.key_map], sequence, head);
    bias.Fill(segment.position, segment.count, segment.lane, tile.tokens, slot.bias);
    args.bias = slot.bias;
  }
  args.largest = epilogue.token_max;
  args.keys = s.keys.keys(sequence);
  args.key_quads = static_cast<int32_t>(CeilDiv(static_cast<size_t>(args.keys), 4));
  args.tokens = tile.tokens;
  args.lane_begin = segment.lane;
  args.lane_end = segment.lane + segment.lanes;
  args.scale = scale_;
  args.out_scale = out_scale_;
  args.e = slot.e;
  args.row_sum = slot.row_sum;
  args.token_scale = slot.token_scale;
  args.score_offset = ScoreOffset(run.kernels);
  run.encoder.softmax(&args);
}

Epilogue AttentionStep::OutputEpilogue(const RunContext& run, const Slot& slot) const {
  Epilogue epilogue{};
  epilogue.kind = Fused(run.kernels) ? kind_ : OutputKind::kInt32;
  epilogue.acc_init = no_init_.data();
  epilogue.scale = out_bias_.data();  // readable, not used
  epilogue.bias = out_bias_.data();
  epilogue.lo = is_signed_ ? -128 : 0;
  epilogue.hi = epilogue.lo + 255;
  epilogue.rhs_zero_point = v_zero_point_.empty() ? nullptr : v_zero_point_.data();
  epilogue.token_sum = slot.row_sum;
  if (Fused(run.kernels)) epilogue.token_scale = slot.token_scale;
  epilogue.bounded = out_scale_ < kBoundedScale;
  epilogue.planar = run.IsPlanar(views_.y.storage);
  return epilogue;
}

// From the slot to y: heads whose size is no multiple of kRowStep, tiers that cannot scale by token.
void AttentionStep::Finish(const RunContext& run, const TokenTile& tile, int32_t head, const Slot& slot) const {
  uint8_t* y = run.Tile(views_.y, tile, HeadRow(head));
  if (!Fused(run.kernels)) {
    ScaleTokens(reinterpret_cast<const int32_t*>(slot.output), head_size_, tile.tokens, slot.token_scale, kind_,
                out_zero_point_, y);
    return;
  }
  std::memcpy(y, slot.output, static_cast<size_t>(head_size_) * run.RowBytes(views_.y.storage, tile));
}

}  // namespace fastep
