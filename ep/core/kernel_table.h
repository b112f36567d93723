// What a tier offers: one table of plain function pointers. The contract of every kernel stands above its pointer, here
// and nowhere else. Shared by core (C++) and by the tier files, which may include no C++ standard header: only C types
// below.
//
// Kernels take pointers and ranges. They never allocate, throw, log or own a thread. Only the driver (core/linear.cc)
// calls them.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace fastep {

enum class Activation : int { kNone = 0, kRelu = 1, kGelu = 2, kGeluTanh = 3 };

// How the weights of a layer are packed, and with it which product kernel runs.
//   kDense          every quad of inputs of every group of 8 outputs
//   k1x4 .. k8x4    blocks of R consecutive outputs x 4 consecutive inputs (the inputs aligned to 4)
//   k4x1            blocks of 4 consecutive outputs x 1 input, gathered four at a time
enum class RhsKind : int { kDense = 0, k1x4 = 1, k2x4 = 2, k4x4 = 3, k8x4 = 4, k4x1 = 5 };
constexpr int kRhsKinds = 6;

// Layouts of a tile of `tokens` activations (tokens is a multiple of 16, at most kMaxTileTokens); both are 64-byte
// aligned:
//   quad    u8 [ceil(K/4)][tokens][4]   tokens in vector lanes, four inputs in a 32-bit lane
//   planar  u8 [ceil(K/4)*4][row bytes] what 4x1 gathers from. A row holds one input of all tokens; its length
//   (planar_row_bytes) and
//                                       the order inside it are the tier's own, such that products come out in natural
//                                       token order
// Lanes beyond the real tokens and inputs beyond K hold zeros. s8 activations are stored as u8 by XOR 0x80.
constexpr int kTileTokenStep = 16;
constexpr int kMaxTileTokens = 64;
// Output rows are padded to a multiple of this; every packed layer has N rounded up, with zero weights in the padding.
constexpr int kRowStep = 16;

// Packed weights of one K-block of one layer. Row groups are of RowsPerGroup(kind) outputs: dense 8, Rx4 R, 4x1 4.
// index and values are 64-byte aligned at block 0 and may be read (not used) up to 64 bytes past their ends, where an
// index is 0, group_ptr one element past its end.
struct RhsView {
  const uint32_t* group_ptr;  // [groups + 1] first block of each row group, counted from `index` and `values`
                              // (dense: null, every group has k_quads blocks)
  // Where a block reads, as byte offset in a tile of 16 tokens: Rx4 [blocks], 64 * quad inside the K-block; 4x1
  // [blocks][4], 16 * input inside the K-block (a block that is not full repeats an input, with zero weights); dense:
  // null. A tile of T tokens scales it by T / 16 (planar: by planar_row_bytes / 16).
  const uint16_t* index;
  const void*
      values;       // [blocks][R][4] in the tier's own element form (see value_bytes); 4x1: [blocks][4 rows][4 inputs]
  int32_t k_quads;  // quads in this K-block
  // Not null: blocks stand in couples, so that sums of 16 bits hold the products of a whole couple; not dense, only for
  // tiers that list kCoupledBlocks. The values of a couple are s8 [R][2 blocks][4], then, but not for 4x1, a mask [4]:
  // where it is not 0 but -1, the kernel takes 255 - x instead of this input of the second block, and the weights of
  // that input are negated. Of no row do the weights of inputs 0 and 1 of both blocks, each times a number of 0..255,
  // add up to what leaves int16, in whatever order; nor do those of inputs 2 and 3. A couple counts as two blocks in
  // group_ptr and index.
  const int32_t* couple_offset = nullptr;  // [N] to be added to acc_init: what 255 - x leaves out
};

// Bytes of the mask of a couple.
[[gnu::always_inline]] constexpr size_t CoupleMaskBytes(RhsKind kind) { return kind == RhsKind::k4x1 ? 0 : 4; }

enum class OutputKind : int {
  kInt32 = 0,     // i32 [rows][tokens]: the accumulators (before the epilogue, after acc_init)
  kQuantU8 = 1,   // u8 quad layout [rows/4][tokens][4]
  kQuantS8 = 2,   // s8 quad layout
  kFloat = 3,     // f32 [rows][tokens]
  kResidual = 4,  // f32 [rows][tokens], added to what `out` holds: out += fma(acc, scale, bias); no activation
};

// y = epilogue(acc); all arrays start at output row 0 of the layer and are padded to kRowStep.
struct Epilogue {
  OutputKind kind;
  Activation activation;
  const int32_t* acc_init;  // [N] added to the products: -x_zero_point * sum_k w and the like
  const float* scale;       // [N]
  const float* bias;        // [N]
  float out_scale;          // gelu only: q = rne(fma(g, out_scale, out_zero_point))
  float out_zero_point;
  int32_t lo, hi;  // clamp of the quantized value; relu raises lo
  // Only when the weights have zero points other than 0 (dense): acc -= rhs_zero_point[n] * token_sum[t]; null
  // otherwise.
  const int32_t* rhs_zero_point;  // [N]
  const int32_t* token_sum;       // [tokens] of this tile: sum_k (x - x_zero_point)
  // Not null: takes the place of `scale`, one factor per token instead of one per row; no activation. Only for tiers
  // that list kTokenScaleEpilogue.
  const float* token_scale = nullptr;  // [tokens] of this tile
  // Not null: of kInt32, takes part in token_max[t] = max(token_max[t], all rows of the call); dense products only.
  // Only for tiers that list kTokenMaxEpilogue.
  int32_t* token_max = nullptr;  // [tokens] of this tile
  // Known: no value to be clamped reaches 2^31, where the conversion to int32 would fail before the clamp.
  bool bounded = false;
  // A quantized output is written in the planar layout, the lhs of a 4x1 product; lanes beyond the tile's tokens hold
  // anything. Only for tiers that list kPlanarEpilogue.
  bool planar = false;
};

// Epilogues beyond those of a single linear, as bits of KernelTable::extras; without one the driver finishes in a
// second pass.
constexpr uint32_t kResidualEpilogue = 1;    // OutputKind::kResidual
constexpr uint32_t kTokenScaleEpilogue = 2;  // Epilogue::token_scale
constexpr uint32_t kTokenMaxEpilogue = 4;    // Epilogue::token_max
constexpr uint32_t kPlanarEpilogue = 8;      // Epilogue::planar, and LayerNormArgs::planar
// Another form of weights.
constexpr uint32_t kCoupledBlocks = 16;  // RhsView::couple_offset
// Another form of scores.
constexpr uint32_t kOffsetScores = 32;  // SoftmaxArgs::score_offset

// One call: one tile of tokens, one K-block, row groups [group_begin, group_end).
struct ProductArgs {
  const uint8_t* lhs;  // this K-block of the tile, in the layout the kernel wants
  int32_t tokens;      // 16, 32, 48 or 64: the tile's width
  RhsView rhs;
  int32_t group_begin, group_end;  // a multiple of kRowStep rows, counted in groups
  // Layers whose K is split: partial sums i32 [rows of this call][tokens]. first: start from acc_init, else from
  // partial. last: run the epilogue, else store to partial. Unsplit layers: first = last = true, partial = null.
  int32_t* partial;
  bool first, last;
  const Epilogue* epilogue;
  void* out;  // output rows of this call only, layout by epilogue->kind; row group_begin is at out
};

// How the driver cuts the products of one RhsKind on this tier.
struct Blocking {
  int32_t tile_tokens;  // preferred widest tile: 16, 32, 48 or 64; every kernel takes every width up to 64
  int32_t k_quads;  // most quads in a K-block, at most kMaxBlockQuads: a K-block of the tile should stay in the nearest
                    // cache
};
constexpr int kMaxBlockQuads = 1024;  // so that an index fits 16 bits

// ---- Kernels of an encoder's other ops ----
//
// Tiles as above. A float tile is f32 [rows][tokens], rows padded to kRowStep; what stands in padding rows and in lanes
// without a token means nothing, but is readable. Everything is vertical: a lane is a token, and no lane depends on
// another. All arrays that are indexed by token are 64-byte aligned at the tile's first token.

// Features per run of LayerNorm statistics; the last run of a layer may be shorter.
constexpr int kNormRun = 32;

// y = (z - mean) * rstd * gamma + beta of rows [row_begin, row_end); pointers are those of row 0.
struct LayerNormArgs {
  const float* z;      // [features][tokens]
  const float* stats;  // what layer_norm_stats wrote: [ceil(features / kNormRun)][2][tokens]
  int32_t features;
  int32_t tokens;
  int32_t row_begin, row_end;  // multiples of 4; row_end may reach the padding
  float epsilon;
  const float* gamma;  // [features], padded with zeros to kRowStep
  const float* beta;
  float* y;    // [features][tokens], may be z; null: not wanted
  uint8_t* q;  // quad tile of clamp(rne(fma(y, out_scale, out_zero_point)), lo, hi) ^ flip; null: not wanted
  float out_scale, out_zero_point;
  int32_t lo, hi;  // 0, 255 or -128, 127
  uint8_t flip;    // 0x80 for s8, 0 for u8
  bool planar;     // q is a planar tile instead, as Epilogue::planar
};

// One embedding table: the row of each token, as f32 or as (value - zero_point) * scale.
enum class TableElement : int { kF32 = 0, kU8 = 1, kS8 = 2 };
struct EmbedTable {
  const void* data;  // row-major [n][features]
  TableElement element;
  float scale;
  int32_t zero_point;
  const int32_t* rows;  // [tokens], checked by the driver; below 0 in every table: a lane without a token
};
struct EmbedArgs {
  EmbedTable tables[3];
  int32_t table_count;
  int32_t features;
  int32_t tokens;
  int32_t row_begin, row_end;  // features wanted, multiples of kRowStep or `features`
  float* z;                    // [features][tokens] from row 0
};

// A run of keys that stand side by side in one tile, for one head: what pack_keys and pack_values move into the dense
// form of RhsView (groups of 8 rows), bytes on every tier. Values become s8 by XOR 0x80. A run may start and end
// anywhere, at a lane as at a row; most are multiples of 4 or 8 in all of them. The driver has zeroed the padding.
struct KeyRun {
  const uint8_t* tile;  // the head's first quad: [head_quads][tokens][4]
  int32_t tokens;
  int32_t lane;        // the first key's lane in the tile
  int32_t count;       // keys
  int32_t head_quads;  // head size / 4
  int32_t key;         // the first key's index among the packed keys of its sequence
  // pack_keys: rows are keys, quads run over the head: [keys / 8][head_quads][8][4].
  // pack_values: rows are features of the head, quads run over keys: [head size / 8][key_quads][8][4].
  void* values;
  int32_t key_quads;   // pack_values only
  int32_t zero_point;  // pack_keys only: of q, as u8
  int32_t* acc_init;   // pack_keys only: acc_init[key] = -zero_point * sum over the head of the key's s8 values
};

// Probabilities of the queries of one tile over the keys of one sequence, unnormalized.
struct SoftmaxArgs {
  int32_t* scores;         // i32 [keys][tokens]; may be overwritten
  const float* bias;       // [keys][tokens], already multiplied by log2(e); null: none
  const int32_t* largest;  // [tokens], of each lane's scores, from kTokenMaxEpilogue; not with bias; null: not known
  int32_t keys;            // may be 0
  int32_t key_quads;       // of the output; key_quads * 4 >= keys, what is beyond `keys` gets 0
  int32_t tokens;
  int32_t lane_begin, lane_end;  // multiples of 4: the lanes of this sequence's queries, all others get 0
  float scale;                   // > 0
  float out_scale;
  uint8_t* e;          // quad tile [key_quads][tokens][4]
  int32_t* row_sum;    // [tokens]; this and token_scale are written in [lane_begin, lane_end) only
  float* token_scale;  // [tokens]
  // 0 or, only for tiers that list kOffsetScores, kScoreOffset: so much larger than the scores are `scores` and
  // `largest`.
  int32_t score_offset = 0;
};
// The float 1.5 * 2^23 as an integer. Scores of a magnitude below 2^22 that are larger by this are, read as floats,
// 1.5 * 2^23 + score.
constexpr int32_t kScoreOffset = 0x4b400000;

// ---- Attention in float ----
//
// Visible keys of one sequence and head, or their values, side by side: blocks of kKeyBlock keys, each
// [rows][kKeyBlock] f32, rows: features of the head rounded up to kFloatRows. 64-byte aligned. Queries are taken in
// chunks of 16, 32 or 48 lanes; all arrays of a chunk are 64-byte aligned in every row.
constexpr int kKeyBlock = 16;
constexpr int kFloatRows = 8;
constexpr int kMaxChunkLanes = 48;

// Keys that stand side by side in one float tile move to their place among the packed ones. Features in front of `rows`
// get 0; lanes behind the last key of the last block are the driver's.
struct FloatKeyRun {
  const float* tile;  // the head's first feature: [features][tokens]
  int32_t tokens;
  int32_t lane;   // the first key's
  int32_t count;  // keys
  int32_t key;    // the first key's index among the packed ones
  int32_t features, rows;
  float* blocks;
};

// out[row][lane] = fma(rhs(row, k), lhs[k][lane], ...) in one chain, from 0, k ascending.
struct FloatProductArgs {
  const float* lhs;  // [k][lhs_stride]
  int32_t lhs_stride;
  int32_t lanes;
  const float* blocks;
  int32_t rows;      // of a block
  int32_t features;  // of the head
  int32_t keys;      // at least 1
  float* out;        // [out rows][lanes]
};

struct FloatSoftmaxArgs {
  float* scores;      // [keys][lanes]: s in, e out
  const float* bias;  // [keys][lanes], already multiplied by log2(e); null: none
  int32_t keys;       // at least 1
  int32_t lanes;
  float scale;  // > 0
  float out_scale;
  float* factor;  // [lanes]
};

// y = fma(sums, factor, zero_point) of lanes [lane_begin, lane_end), multiples of 4. Pointers are those of the chunk's
// first lane.
struct FloatFinishArgs {
  const float* sums;    // [features][lanes]
  const float* factor;  // [lanes]
  int32_t features;     // a multiple of 4 where q is wanted
  int32_t lanes;
  int32_t lane_begin, lane_end;
  int32_t tokens;  // of the tile of y or q
  float* y;        // [features][tokens]; null: not wanted
  uint8_t* q;      // quad tile of clamp(rne(y), lo, hi) ^ flip; null: not wanted
  float zero_point;
  int32_t lo, hi;  // 0, 255 or -128, 127
  uint8_t flip;    // 0x80 for s8, 0 for u8
};

// A null entry: the tier has none of its own, the driver takes that of the tier scalar. No layout but `planar` depends
// on the tier.
struct EncoderKernels {
  // Row-major f32 [m][rows] -> float tile; lanes beyond m get 0.
  void (*pack_f32)(const float* x, size_t stride_bytes, int32_t rows, int32_t m, int32_t tokens, float* tile) = nullptr;

  // Quad tile -> planar tile, the same bytes as pack_planar would write. Null: the driver goes by way of row-major.
  void (*planar_from_quad)(const uint8_t* tile, int32_t quads, int32_t tokens, uint8_t* out) = nullptr;

  // z += x where x is not null. Then, for each run of kNormRun rows (the last may be shorter), n rows:
  //   mean = (z_0 + z_1 + ... in this order) / n
  //   M2 = fma(z_i - mean, z_i - mean, M2) in the same order, from 0
  // to stats [runs][2][tokens]: mean, M2. `rows` are real rows, and all pointers are at the first row of a run.
  void (*layer_norm_stats)(const float* x, float* z, int32_t rows, int32_t tokens, float* stats) = nullptr;

  // mean, M2 of all features, from those of the runs in order (Chan, Golub, LeVeque 1983), from those of run 0 on:
  //   n: features so far, m: of the next run; r = float(m) / float(n + m)
  //   delta = mean_next - mean;  mean = fma(delta, r, mean);  M2 = fma(delta * delta, float(n) * r, M2 + M2_next)
  // rstd = 1 / sqrt(M2 / float(features) + epsilon), two divisions and a correctly rounded root
  // y = fma((z - mean) * rstd, gamma, beta)
  void (*layer_norm)(const LayerNormArgs* args) = nullptr;

  // z = (row of table 0 + row of table 1) + row of table 2, each f32; lanes without a token: 0.
  void (*embed)(const EmbedArgs* args) = nullptr;

  void (*pack_keys)(const KeyRun* run) = nullptr;
  void (*pack_values)(const KeyRun* run) = nullptr;

  // Of each lane in [lane_begin, lane_end), over the keys, Exp2 and L = log2(255) of kernels/generic/exp2.h:
  //   without bias: e = rne(Exp2(max(fma(float(s - max s), scale, L), -2)))                  s - max s in int32
  //   with bias:    s' = fma(float(s), scale, bias);  m = max(max s', -1e30)
  //                 e = rne(Exp2(max((s' - m) + L, -2)))                                     bias is never NaN
  // so the largest e of a lane is 255, except where every bias is below -1e30: then all are 0.
  // row_sum = sum of e;  token_scale = out_scale / float(row_sum), or 0 where row_sum is 0.
  void (*softmax)(const SoftmaxArgs* args) = nullptr;

  void (*pack_float_keys)(const FloatKeyRun* run) = nullptr;
  // Rows are keys, rounded up to kFloatRows, k runs over the features.
  void (*float_scores)(const FloatProductArgs* args) = nullptr;
  // Of each lane, over the keys, FineExp2 and -64 = kFineExp2Lowest of kernels/generic/exp2.h:
  //   without bias: x = (s - max s) * scale
  //   with bias:    s' = fma(s, scale, bias);  x = s' - max(max s', -1e30)
  //   e = x >= -64 ? FineExp2(x) : 0
  // sum = e_0 + e_1 + ... in this order;  factor = out_scale / sum, or 0 where the sum is 0.
  void (*float_softmax)(const FloatSoftmaxArgs* args) = nullptr;
  // Rows are features, rounded up to kFloatRows, k runs over the keys.
  void (*float_sums)(const FloatProductArgs* args) = nullptr;
  void (*float_finish)(const FloatFinishArgs* args) = nullptr;
};

struct KernelTable {
  int32_t tier;              // static_cast<int>(Tier)
  int32_t value_bytes;       // bytes per packed weight: 1 (s8) or 2 (avx2: s16, quads stored in the order 0 2 1 3)
  int32_t planar_row_bytes;  // bytes per input of a planar tile, whatever its width; 0: as many as the tile has tokens
  Blocking blocking[kRhsKinds];

  // acc[r][t] = sum over the blocks of the group of lhs * w, then the epilogue. Exact: the driver guarantees that no
  // partial sum leaves int32 (255 * sum_k |w| < 2^31 per output row). A null entry: the kind is not offered, the driver
  // falls back.
  void (*product[kRhsKinds])(const ProductArgs* args);

  // Row-major u8/s8 [m][k] (row stride in bytes) -> one tile. m <= tokens; flip = 0x80 for s8, 0 for u8. Writes all of
  // the tile, padding included. Writes whole K-blocks: quads [quad_begin, quad_end) at out (which is the address of
  // quad_begin).
  void (*pack_quad)(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
                    int32_t tokens, uint8_t flip, uint8_t* out);
  // pack_planar may be null where product[k4x1] is.
  void (*pack_planar)(const uint8_t* x, size_t stride_bytes, int32_t m, int32_t k, int32_t quad_begin, int32_t quad_end,
                      int32_t tokens, uint8_t flip, uint8_t* out);

  // Tile -> row-major: rows [0, rows) of the tile to columns of y (rows <= padded rows; only `rows` columns and `m`
  // tokens are written).
  void (*unpack_quad)(const uint8_t* tile, int32_t rows, int32_t m, int32_t tokens, uint8_t* y, size_t stride_bytes);
  // unpack_f32 only moves 32-bit words; the driver uses it for i32 too.
  void (*unpack_f32)(const float* tile, int32_t rows, int32_t m, int32_t tokens, float* y, size_t stride_bytes);

  uint32_t extras = 0;  // bits of these constants
  EncoderKernels encoder = {};
  // Where value_bytes is not 1: the dense product of weights that are bytes all the same, which is that of attention.
  void (*byte_product)(const ProductArgs* args) = nullptr;
};

// Always inline: an emitted copy would be shared by all tiers.
[[gnu::always_inline]] constexpr int RowsPerGroup(RhsKind kind) {
  return kind == RhsKind::kDense ? 8
         : kind == RhsKind::k1x4 ? 1
         : kind == RhsKind::k2x4 ? 2
         : kind == RhsKind::k8x4 ? 8
                                 : 4;
}

// One per tier folder, the only symbol it exports. blocking may depend on the CPU model.
const KernelTable* ScalarKernels();
const KernelTable* Avx2Kernels();
const KernelTable* AvxVnniKernels();
const KernelTable* Avx512VnniKernels();

}  // namespace fastep
