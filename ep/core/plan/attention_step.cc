#include "core/plan/attention_step.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/plan/attention_finish.h"
#include "core/plan/attention_parts.h"
#include "core/plan/dense_rhs.h"

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
  const auto product =
      kernels.value_bytes == 1 ? kernels.product[static_cast<int>(RhsKind::kDense)] : kernels.byte_product;
  product(&args);
}

}  // namespace

// Packed keys and values of all sequences and heads, which tiles share, and a worker's slot. Sequence s and head h own
// `rows(s)` rows from row first_row(s) * heads + h * rows(s) on.
struct AttentionStep::Layout {
  const KeyMap& keys;
  int32_t widest;
  size_t key_row, value_row;  // bytes of a packed key, and of its values
  size_t values_at, init_at, shared_bytes;
  bool with_bias, with_output;
  size_t slot_bytes;
};

// Of one sequence and head.
struct AttentionStep::PackedHead {
  uint8_t* keys;
  uint8_t* values;
  int32_t* acc_init;
  int32_t rows, key_quads;
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

AttentionStep::Layout AttentionStep::LayOut(const RunContext& run) const {
  const KeyMap& keys = run.keys[views_.key_map];
  Layout l{keys, run.tokens.tiling()[0].tokens, 0, 0, 0, 0, 0, false, false, 0};
  const size_t rows = static_cast<size_t>(keys.all_rows() * heads_);
  l.key_row = static_cast<size_t>(head_size_);
  l.value_row = static_cast<size_t>(head_rows_);
  // Kernels may read a line past the end.
  l.values_at = rows * l.key_row + kCacheLine;
  l.init_at = l.values_at + rows * l.value_row + kCacheLine;
  l.shared_bytes = l.init_at + rows * sizeof(int32_t);
  l.with_bias = bias_ != kNoInput;
  l.with_output = !Fused(run.kernels) || head_rows_ != head_size_;
  const auto most = static_cast<size_t>(keys.most_rows());
  const size_t words = most * (l.with_bias ? 2 : 1) + 3 + static_cast<size_t>(head_rows_) * (l.with_output ? 2 : 1);
  l.slot_bytes = static_cast<size_t>(l.widest) * (words * 4 + most);
  return l;
}

StepNeeds AttentionStep::Needs(const RunContext& run) const {
  const Layout layout = LayOut(run);
  return AttentionNeeds(heads_, layout.shared_bytes, layout.slot_bytes);
}

AttentionStep::Slot AttentionStep::SlotOf(const Layout& layout, const TileTurn& turn) const {
  uint8_t* at = turn.scratch.worker;
  const auto take = [&](size_t rows, size_t element) {
    uint8_t* begin = at;
    at += rows * static_cast<size_t>(layout.widest) * element;
    return begin;
  };
  const auto most = static_cast<size_t>(layout.keys.most_rows());
  Slot slot;
  slot.scores = reinterpret_cast<int32_t*>(take(most, 4));
  slot.e = take(most, 1);
  slot.bias = reinterpret_cast<float*>(take(layout.with_bias ? most : 0, 4));
  slot.largest = reinterpret_cast<int32_t*>(take(1, 4));
  slot.row_sum = reinterpret_cast<int32_t*>(take(1, 4));
  slot.token_scale = reinterpret_cast<float*>(take(1, 4));
  slot.partial = reinterpret_cast<int32_t*>(take(static_cast<size_t>(head_rows_), 4));
  slot.output = take(layout.with_output ? static_cast<size_t>(head_rows_) : 0, 4);
  return slot;
}

// What the tier wants scores to be larger by.
int32_t AttentionStep::ScoreOffset(const KernelTable& kernels) const {
  return (kernels.extras & kOffsetScores) != 0 && head_size_ <= kOffsetHeadSize ? kScoreOffset : 0;
}

AttentionStep::PackedHead AttentionStep::Packed(const Layout& layout, const TileTurn& turn, int32_t sequence,
                                                int32_t head) const {
  const auto s = static_cast<size_t>(sequence);
  const int32_t rows = layout.keys.rows(s);
  const auto row = static_cast<size_t>(layout.keys.first_row(s) * heads_ + int64_t{head} * rows);
  uint8_t* shared = turn.scratch.shared;
  return {shared + row * layout.key_row, shared + layout.values_at + row * layout.value_row,
          reinterpret_cast<int32_t*>(shared + layout.init_at) + row, rows,
          static_cast<int32_t>(CeilDiv(static_cast<size_t>(layout.keys.keys(s)), 4))};
}

void AttentionStep::Run(const RunContext& run, TileTurn& turn) const {
  const Layout layout = LayOut(run);
  for (size_t task; turn.Next(task);) {
    if (turn.phase == 0) {
      Pack(run, layout, turn, static_cast<int32_t>(task));
    } else {
      Attend(run, layout, turn, static_cast<int32_t>(task));
    }
  }
}

StepWork AttentionStep::Work(const RunContext& run) const {
  return AttentionWork(run, run.keys[views_.key_map], views_.q.features);
}

// Visible keys stand side by side, wherever they stood in the sequence: hidden ones cost nothing.
void AttentionStep::Pack(const RunContext& run, const Layout& layout, const TileTurn& turn, int32_t head) const {
  KeyRun keys{};
  keys.tokens = turn.tile.tokens;
  keys.head_quads = head_size_ / 4;
  keys.zero_point = q_zero_point_;
  KeyRun values = keys;
  keys.tile = run.Tile(views_.k, turn.tile, HeadRow(head));
  values.tile = run.Tile(views_.v, turn.tile, HeadRow(head));
  for (const KeyMap::Run& visible : layout.keys.OfTile(turn.tile.index)) {
    const PackedHead packed = Packed(layout, turn, visible.sequence, head);
    keys.values = packed.keys;
    keys.acc_init = packed.acc_init;
    values.values = packed.values;
    values.key_quads = packed.key_quads;
    keys.lane = values.lane = visible.lane;
    keys.count = values.count = visible.count;
    keys.key = values.key = visible.key;
    run.encoder.pack_keys(&keys);
    run.encoder.pack_values(&values);
    for (int32_t i = 0; i < visible.count; ++i) packed.acc_init[visible.key + i] += ScoreOffset(run.kernels);
    Pad(layout, visible, packed);
  }
}

// Zeros beside keys that have just been packed: features up to head_rows_ of their values, and, behind the last key,
// the rest of its quad and of its rows. Others write right beside that, so not a byte more.
void AttentionStep::Pad(const Layout& layout, const KeyMap::Run& keys, const PackedHead& packed) const {
  const int32_t key_end = keys.key + keys.count;
  const DenseRhs values{packed.values, packed.key_quads};
  values.Clear(head_size_, head_rows_, keys.key, key_end);
  if (!layout.keys.IsLast(keys)) return;
  values.Clear(0, head_rows_, key_end, packed.key_quads * 4);
  const DenseRhs rows{packed.keys, head_size_ / 4};
  rows.Clear(key_end, packed.rows, 0, head_size_);
  std::fill(packed.acc_init + key_end, packed.acc_init + packed.rows,
            std::numeric_limits<int32_t>::min());  // never the largest score
}

void AttentionStep::Attend(const RunContext& run, const Layout& layout, const TileTurn& turn, int32_t head) const {
  const TokenTile& tile = turn.tile;
  const Slot slot = SlotOf(layout, turn);
  std::fill(slot.row_sum, slot.row_sum + tile.tokens, 0);
  std::fill(slot.token_scale, slot.token_scale + tile.tokens, 0.0f);
  const auto with_keys = [&](const Segment& segment) {
    return layout.keys.keys(static_cast<size_t>(segment.sequence)) > 0;
  };
  const TokenMap::SegmentRange segments = run.tokens.Segments(tile.index);
  const auto total = std::count_if(segments.begin(), segments.end(), with_keys);
  const Epilogue epilogue = OutputEpilogue(run, slot);
  uint8_t* y = run.Tile(views_.y, tile, HeadRow(head));
  void* out = layout.with_output ? slot.output : y;
  int64_t done = 0;
  for (const Segment& segment : segments) {
    if (!with_keys(segment)) continue;
    const PackedHead packed = Packed(layout, turn, segment.sequence, head);
    Score(run, layout, tile, segment, packed, head, slot);
    MultiplyDense(run.kernels, slot.e, tile.tokens, packed.values, packed.key_quads, head_rows_, epilogue, slot.partial,
                  done == 0, done + 1 == total, out);
    ++done;
  }
  const size_t bytes = static_cast<size_t>(head_size_) * run.RowBytes(views_.y.storage, tile);
  if (total == 0) {
    FillZeroPoint(kind_, out_zero_point_, bytes, y);
  } else if (layout.with_output) {
    Finish(run, tile, head, slot);
  }
  if (kind_ != OutputKind::kQuantS8) return;
  for (size_t i = 0; i < bytes; ++i) y[i] ^= 0x80;
}

// Probabilities of a tile's queries over the keys of one of its sequences.
void AttentionStep::Score(const RunContext& run, const Layout& layout, const TokenTile& tile, const Segment& segment,
                          const PackedHead& packed, int32_t head, const Slot& slot) const {
  const auto sequence = static_cast<size_t>(segment.sequence);
  Epilogue epilogue{};
  epilogue.kind = OutputKind::kInt32;
  epilogue.acc_init = packed.acc_init;
  if (bias_ == kNoInput && (run.kernels.extras & kTokenMaxEpilogue) != 0) {
    std::fill_n(slot.largest, tile.tokens, std::numeric_limits<int32_t>::min());
    epilogue.token_max = slot.largest;
  }
  MultiplyDense(run.kernels, run.Tile(views_.q, tile, HeadRow(head)), tile.tokens, packed.keys, head_size_ / 4,
                packed.rows, epilogue, nullptr, true, true, slot.scores);
  SoftmaxArgs args{};
  args.scores = slot.scores;
  if (bias_ != kNoInput) {
    const AttentionBias bias(run, bias_, run.keys[views_.key_map], sequence, head);
    bias.Fill(segment.position, segment.count, segment.lane, tile.tokens, slot.bias);
    args.bias = slot.bias;
  }
  args.largest = epilogue.token_max;
  args.keys = layout.keys.keys(sequence);
  args.key_quads = packed.key_quads;
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
