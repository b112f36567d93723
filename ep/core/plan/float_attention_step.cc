#include "core/plan/float_attention_step.h"

#include <algorithm>

#include "core/plan/attention_parts.h"

namespace fastep {
namespace {

// Scores of a chunk, at most: a part of the second cache.
constexpr int32_t kScoreBytes = 128 * 1024;

// The rest of the last block of keys: products of what stands there are not used, but take long if it is denormal.
void ClearBehind(int32_t keys, int32_t rows, float* blocks) {
  const int32_t at = keys % kKeyBlock;
  if (at == 0) return;
  float* row = blocks + static_cast<size_t>(keys / kKeyBlock) * static_cast<size_t>(rows * kKeyBlock);
  for (int32_t i = 0; i < rows; ++i, row += kKeyBlock) std::fill(row + at, row + kKeyBlock, 0.0f);
}

}  // namespace

// Blocks of keys, then of values, of all sequences and heads, which tiles share, and a worker's slot.
struct FloatAttentionStep::Layout {
  const KeyMap& keys;
  size_t row_bytes;  // of a packed key
  size_t values_at, shared_bytes, slot_bytes;
  int32_t lanes;  // of the widest chunk

  // Bytes in front of the blocks of a sequence and head.
  size_t Blocks(size_t sequence, int32_t head, int32_t heads) const {
    const int64_t row = keys.first_row(sequence) * heads + int64_t{head} * keys.rows(sequence);
    return static_cast<size_t>(row) * row_bytes;
  }
};

struct FloatAttentionStep::Slot {
  float* scores;  // [rows][lanes]
  float* bias;    // [rows][lanes]
  float* sums;    // [head_rows][lanes]
  float* factor;  // [lanes]
};

// Queries that are taken together: lanes of a tile that belong to one sequence, and those beside them up to whole
// steps.
struct FloatAttentionStep::Chunk {
  const TokenTile& tile;
  const uint8_t* shared;
  const Segment& segment;
  int32_t head;
  int32_t begin, lanes;  // in the tile
};

FloatAttentionStep::FloatAttentionStep(const AttentionSpec& spec, const AttentionViews& views)
    : views_(views),
      heads_(static_cast<int32_t>(spec.num_heads)),
      head_size_(views.q.features / heads_),
      head_rows_(static_cast<int32_t>(RoundUp(static_cast<size_t>(head_size_), kFloatRows))),
      y_size_(views.y.features / heads_),
      bias_(spec.bias),
      scale_(static_cast<float>(double(spec.scale) * kLog2E)),
      out_scale_(spec.y.type == ElementType::kF32 ? 1.0f : static_cast<float>(1.0 / spec.y.scale)),
      y_(spec.y) {}

std::vector<StorageId> FloatAttentionStep::Touches() const {
  return {views_.q.storage, views_.k.storage, views_.v.storage, views_.y.storage};
}

FloatAttentionStep::Layout FloatAttentionStep::LayOut(const RunContext& run) const {
  const KeyMap& keys = run.keys[views_.key_map];
  const int32_t rows = std::max(keys.most_rows(), kKeyBlock);
  const int32_t fitting = kScoreBytes / (rows * static_cast<int32_t>(sizeof(float))) / kTileTokenStep * kTileTokenStep;
  Layout l{keys, static_cast<size_t>(head_rows_) * sizeof(float), 0, 0, 0, 0};
  l.lanes = std::clamp(fitting, kTileTokenStep, std::min(kMaxChunkLanes, run.tokens.tiling()[0].tokens));
  l.values_at = static_cast<size_t>(keys.all_rows() * heads_) * l.row_bytes;
  l.shared_bytes = 2 * l.values_at;
  const int32_t scores = bias_ == kNoInput ? 1 : 2;
  l.slot_bytes = static_cast<size_t>(rows * scores + head_rows_ + 1) * static_cast<size_t>(l.lanes) * sizeof(float);
  return l;
}

StepNeeds FloatAttentionStep::Needs(const RunContext& run) const {
  const Layout layout = LayOut(run);
  return AttentionNeeds(heads_, layout.shared_bytes, layout.slot_bytes);
}

FloatAttentionStep::Slot FloatAttentionStep::SlotOf(const Layout& layout, const TileTurn& turn) const {
  auto* at = reinterpret_cast<float*>(turn.scratch.worker);
  const auto take = [&](int32_t rows) {
    float* begin = at;
    at += static_cast<size_t>(rows) * static_cast<size_t>(layout.lanes);
    return begin;
  };
  const int32_t rows = std::max(layout.keys.most_rows(), kKeyBlock);
  Slot slot;
  slot.scores = take(rows);
  slot.bias = take(bias_ == kNoInput ? 0 : rows);
  slot.sums = take(head_rows_);
  slot.factor = take(1);
  return slot;
}

void FloatAttentionStep::Run(const RunContext& run, TileTurn& turn) const {
  const Layout layout = LayOut(run);
  for (size_t task; turn.Next(task);) {
    const auto head = static_cast<int32_t>(task);
    if (turn.phase == 0) {
      Pack(run, layout, turn, head);
      continue;
    }
    for (const Segment& segment : run.tokens.Segments(turn.tile.index)) {
      AttendSegment(run, layout, turn, segment, head);
    }
  }
}

// In products of int8, of which a CPU does four in the time of one in float.
StepWork FloatAttentionStep::Work(const RunContext& run) const {
  StepWork work = AttentionWork(run, run.keys[views_.key_map], views_.q.features);
  work.macs *= 4;
  work.dense_macs *= 4;
  return work;
}

// Visible keys stand side by side, wherever they stood in the sequence: hidden ones cost nothing.
void FloatAttentionStep::Pack(const RunContext& run, const Layout& layout, const TileTurn& turn, int32_t head) const {
  FloatKeyRun keys{};
  keys.tokens = turn.tile.tokens;
  keys.features = head_size_;
  keys.rows = head_rows_;
  FloatKeyRun values = keys;
  keys.tile = reinterpret_cast<const float*>(run.Tile(views_.k, turn.tile, head * head_size_));
  values.tile = reinterpret_cast<const float*>(run.Tile(views_.v, turn.tile, head * head_size_));
  for (const KeyMap::Run& visible : layout.keys.OfTile(turn.tile.index)) {
    uint8_t* blocks = turn.scratch.shared + layout.Blocks(static_cast<size_t>(visible.sequence), head, heads_);
    keys.blocks = reinterpret_cast<float*>(blocks);
    values.blocks = reinterpret_cast<float*>(blocks + layout.values_at);
    keys.lane = values.lane = visible.lane;
    keys.count = values.count = visible.count;
    keys.key = values.key = visible.key;
    run.encoder.pack_float_keys(&keys);
    run.encoder.pack_float_keys(&values);
    if (layout.keys.IsLast(visible)) ClearBehind(visible.key + visible.count, head_rows_, keys.blocks);
  }
}

void FloatAttentionStep::AttendSegment(const RunContext& run, const Layout& layout, const TileTurn& turn,
                                       const Segment& segment, int32_t head) const {
  const Slot slot = SlotOf(layout, turn);
  const int32_t end = static_cast<int32_t>(RoundUp(static_cast<size_t>(segment.lane + segment.lanes), kTileTokenStep));
  int32_t lanes = 0;
  for (int32_t begin = segment.lane / kTileTokenStep * kTileTokenStep; begin < end; begin += lanes) {
    lanes = std::min(end - begin, layout.lanes);
    Attend(run, layout, {turn.tile, turn.scratch.shared, segment, head, begin, lanes}, slot);
  }
}

void FloatAttentionStep::Attend(const RunContext& run, const Layout& layout, const Chunk& chunk,
                                const Slot& slot) const {
  const auto sequence = static_cast<size_t>(chunk.segment.sequence);
  FloatProductArgs product{};
  product.lanes = product.lhs_stride = chunk.lanes;
  product.rows = head_rows_;
  product.features = head_size_;
  product.keys = layout.keys.keys(sequence);
  if (product.keys == 0) {
    std::fill_n(slot.sums, head_rows_ * chunk.lanes, 0.0f);
    std::fill_n(slot.factor, chunk.lanes, 0.0f);
    return Finish(run, chunk, slot);
  }
  const uint8_t* blocks = chunk.shared + layout.Blocks(sequence, chunk.head, heads_);
  FloatProductArgs scores = product;
  scores.lhs = reinterpret_cast<const float*>(run.Tile(views_.q, chunk.tile, chunk.head * head_size_)) + chunk.begin;
  scores.lhs_stride = chunk.tile.tokens;
  scores.blocks = reinterpret_cast<const float*>(blocks);
  scores.out = slot.scores;
  run.encoder.float_scores(&scores);
  if (bias_ != kNoInput) FillBias(run, layout.keys, chunk, slot.bias);
  const FloatSoftmaxArgs softmax{
      slot.scores, bias_ == kNoInput ? nullptr : slot.bias, product.keys, chunk.lanes, scale_, out_scale_, slot.factor};
  run.encoder.float_softmax(&softmax);
  product.lhs = slot.scores;
  product.blocks = reinterpret_cast<const float*>(blocks + layout.values_at);
  product.out = slot.sums;
  run.encoder.float_sums(&product);
  Finish(run, chunk, slot);
}

void FloatAttentionStep::FillBias(const RunContext& run, const KeyMap& keys, const Chunk& chunk, float* bias) const {
  const Segment& segment = chunk.segment;
  const int32_t first = std::max(segment.lane, chunk.begin);
  const int32_t last = std::min(segment.lane + segment.count, chunk.begin + chunk.lanes);
  const AttentionBias source(run, bias_, keys, static_cast<size_t>(segment.sequence), chunk.head);
  source.Fill(segment.position + first - segment.lane, last - first, first - chunk.begin, chunk.lanes, bias);
}

// To the lanes of the chunk's sequence.
void FloatAttentionStep::Finish(const RunContext& run, const Chunk& chunk, const Slot& slot) const {
  FloatFinishArgs args{};
  args.sums = slot.sums;
  args.factor = slot.factor;
  args.features = y_size_;
  args.lanes = chunk.lanes;
  args.lane_begin = std::max(chunk.segment.lane - chunk.begin, 0);
  args.lane_end = std::min(chunk.segment.lane + chunk.segment.lanes - chunk.begin, chunk.lanes);
  args.tokens = chunk.tile.tokens;
  uint8_t* y = run.Tile(views_.y, chunk.tile, chunk.head * y_size_);
  if (y_.type == ElementType::kF32) {
    args.y = reinterpret_cast<float*>(y) + chunk.begin;
  } else {
    args.q = y + static_cast<size_t>(chunk.begin) * 4;
    args.zero_point = static_cast<float>(y_.zero_point);
    args.lo = y_.type == ElementType::kS8 ? -128 : 0;
    args.flip = y_.type == ElementType::kS8 ? 0x80 : 0;
  }
  args.hi = args.lo + 255;
  run.encoder.float_finish(&args);
}

}  // namespace fastep
