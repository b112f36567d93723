#include "core/plan/float_attention_step.h"

#include <algorithm>
#include <cstring>

#include "core/plan/attention_parts.h"

namespace fastep {
namespace {

// Scores of a chunk, at most: a part of the second cache.
constexpr int32_t kScoreBytes = 128 * 1024;

}  // namespace

// Blocks of keys, then of values, of all sequences and heads, then one slot per worker.
struct FloatAttentionStep::Scratch {
  const KeyMap& keys;
  size_t row_bytes;  // of a packed key
  size_t values_at, slots_at, slot_bytes;
  int32_t lanes;  // of the widest chunk
  size_t tasks;

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

FloatAttentionStep::Scratch FloatAttentionStep::LayOut(const RunContext& run) const {
  const KeyMap& keys = run.keys[views_.key_map];
  const int32_t rows = std::max(keys.most_rows(), kKeyBlock);
  const int32_t fitting = kScoreBytes / (rows * static_cast<int32_t>(sizeof(float))) / kTileTokenStep * kTileTokenStep;
  Scratch s{keys, static_cast<size_t>(head_rows_) * sizeof(float), 0, 0, 0, 0, 0};
  s.lanes = std::clamp(fitting, kTileTokenStep, std::min(kMaxChunkLanes, run.tokens.tiling()[0].tokens));
  s.values_at = static_cast<size_t>(keys.all_rows() * heads_) * s.row_bytes;
  s.slots_at = 2 * s.values_at;
  const int32_t scores = bias_ == kNoInput ? 1 : 2;
  s.slot_bytes = static_cast<size_t>(rows * scores + head_rows_ + 1) * static_cast<size_t>(s.lanes) * sizeof(float);
  s.tasks = static_cast<size_t>(run.tokens.tile_count() * heads_);
  return s;
}

size_t FloatAttentionStep::ScratchBytes(const RunContext& run) const {
  const Scratch s = LayOut(run);
  return s.slots_at + s.slot_bytes * Workers(run.threads, s.tasks);
}

FloatAttentionStep::Slot FloatAttentionStep::SlotOf(const RunContext& run, const Scratch& s, size_t worker) const {
  auto* at = reinterpret_cast<float*>(run.scratch + s.slots_at + worker * s.slot_bytes);
  const auto take = [&](int32_t rows) {
    float* begin = at;
    at += static_cast<size_t>(rows) * static_cast<size_t>(s.lanes);
    return begin;
  };
  const int32_t rows = std::max(s.keys.most_rows(), kKeyBlock);
  Slot slot;
  slot.scores = take(rows);
  slot.bias = take(bias_ == kNoInput ? 0 : rows);
  slot.sums = take(head_rows_);
  slot.factor = take(1);
  return slot;
}

void FloatAttentionStep::Run(const RunContext& run, Parallel& parallel) const {
  const Scratch s = LayOut(run);
  const auto heads = static_cast<size_t>(heads_);
  RunTasks(run, parallel, run.tokens.sequences().size() * heads,
           [&](size_t task, size_t) { PackSequence(run, s, task / heads, static_cast<int32_t>(task % heads)); });
  RunTasks(run, parallel, s.tasks, [&](size_t task, size_t worker) {
    const auto index = static_cast<int64_t>(task / heads);
    const TokenTile tile = run.tokens.tiling()[index];
    const Slot slot = SlotOf(run, s, worker);
    for (const Segment& segment : run.tokens.Segments(index)) {
      AttendSegment(run, s, tile, segment, static_cast<int32_t>(task % heads), slot);
    }
  });
}

// In products of int8, of which a CPU does four in the time of one in float.
StepWork FloatAttentionStep::Work(const RunContext& run) const {
  StepWork work = AttentionWork(run, run.keys[views_.key_map], views_.q.features);
  work.macs *= 4;
  work.dense_macs *= 4;
  return work;
}

// Visible keys stand side by side, wherever they stood in the sequence: hidden ones cost nothing.
void FloatAttentionStep::PackSequence(const RunContext& run, const Scratch& s, size_t sequence, int32_t head) const {
  const size_t blocks = s.Blocks(sequence, head, heads_);
  FloatKeyRun keys{};
  keys.features = head_size_;
  keys.rows = head_rows_;
  keys.blocks = reinterpret_cast<float*>(run.scratch + blocks);
  const auto values = reinterpret_cast<float*>(run.scratch + s.values_at + blocks);
  const size_t block_bytes = s.row_bytes * kKeyBlock;
  if (s.keys.keys(sequence) % kKeyBlock != 0) {
    // Products of what stands there are not used, but take long if it is denormal.
    const size_t last = static_cast<size_t>(s.keys.keys(sequence) / kKeyBlock) * block_bytes;
    std::memset(run.scratch + blocks + last, 0, block_bytes);
  }
  for (const KeyMap::Run* visible = s.keys.begin(sequence); visible != s.keys.end(sequence); ++visible) {
    int64_t token = run.tokens.sequences()[sequence].begin + visible->position;
    for (const int64_t end = token + visible->count; token < end;) {
      const TokenTile tile = run.tokens.tiling()[run.tokens.TileOf(token)];
      keys.tokens = tile.tokens;
      keys.lane = static_cast<int32_t>(token - tile.begin);
      keys.count = static_cast<int32_t>(std::min<int64_t>(end - token, tile.tokens - keys.lane));
      FloatKeyRun of_values = keys;
      of_values.blocks = values;
      keys.tile = reinterpret_cast<const float*>(run.Tile(views_.k, tile, head * head_size_));
      of_values.tile = reinterpret_cast<const float*>(run.Tile(views_.v, tile, head * head_size_));
      run.encoder.pack_float_keys(&keys);
      run.encoder.pack_float_keys(&of_values);
      keys.key += keys.count;
      token += keys.count;
    }
  }
}

void FloatAttentionStep::AttendSegment(const RunContext& run, const Scratch& s, const TokenTile& tile,
                                       const Segment& segment, int32_t head, const Slot& slot) const {
  const int32_t end = static_cast<int32_t>(RoundUp(static_cast<size_t>(segment.lane + segment.lanes), kTileTokenStep));
  int32_t lanes = 0;
  for (int32_t begin = segment.lane / kTileTokenStep * kTileTokenStep; begin < end; begin += lanes) {
    lanes = std::min(end - begin, s.lanes);
    Attend(run, s, {tile, segment, head, begin, lanes}, slot);
  }
}

void FloatAttentionStep::Attend(const RunContext& run, const Scratch& s, const Chunk& chunk, const Slot& slot) const {
  const auto sequence = static_cast<size_t>(chunk.segment.sequence);
  FloatProductArgs product{};
  product.lanes = product.lhs_stride = chunk.lanes;
  product.rows = head_rows_;
  product.features = head_size_;
  product.keys = s.keys.keys(sequence);
  if (product.keys == 0) {
    std::fill_n(slot.sums, head_rows_ * chunk.lanes, 0.0f);
    std::fill_n(slot.factor, chunk.lanes, 0.0f);
    return Finish(run, chunk, slot);
  }
  const size_t blocks = s.Blocks(sequence, chunk.head, heads_);
  FloatProductArgs scores = product;
  scores.lhs = reinterpret_cast<const float*>(run.Tile(views_.q, chunk.tile, chunk.head * head_size_)) + chunk.begin;
  scores.lhs_stride = chunk.tile.tokens;
  scores.blocks = reinterpret_cast<const float*>(run.scratch + blocks);
  scores.out = slot.scores;
  run.encoder.float_scores(&scores);
  if (bias_ != kNoInput) FillBias(run, s.keys, chunk, slot.bias);
  const FloatSoftmaxArgs softmax{
      slot.scores, bias_ == kNoInput ? nullptr : slot.bias, product.keys, chunk.lanes, scale_, out_scale_, slot.factor};
  run.encoder.float_softmax(&softmax);
  product.lhs = slot.scores;
  product.blocks = reinterpret_cast<const float*>(run.scratch + s.values_at + blocks);
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
