#include "core/packed_rhs.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "core/couples.h"
#include "core/error.h"
#include "core/gathered_couples.h"

namespace fastep {
namespace {

constexpr size_t kReadableSlack = 64;        // bytes past the end that kernels may read
constexpr int kQuadIndexStep = 64;           // bytes of a quad in a tile of 16 tokens
constexpr int kInputIndexStep = 16;          // bytes of an input there
constexpr int kShortOrder[] = {0, 2, 1, 3};  // of 16-bit values inside a quad

constexpr size_t IndicesPerBlock(RhsKind kind) { return kind == RhsKind::k4x1 ? 4 : 1; }

void Require(bool condition) {
  if (!condition) throw Error("packed weights do not have the form that they claim");
}

bool AnyNonZero(const Weights& weights, int64_t row, int count, int64_t k0, int64_t k1) {
  const int64_t row_end = std::min(weights.n, row + count);
  for (; row < row_end; ++row) {
    for (int64_t k = k0; k < std::min(k1, weights.k); ++k) {
      if (weights.Row(row)[k] != 0) return true;
    }
  }
  return false;
}

// Rows [row, row + count) of one quad; what is beyond the matrix reads as 0.
QuadBlock BlockOf(const Weights& weights, int64_t row, int count, int64_t quad, int32_t place) {
  QuadBlock block{place, {}};
  for (int r = 0; r < count && row + r < weights.n; ++r) {
    for (int i = 0; i < 4 && 4 * quad + i < weights.k; ++i) block.rows[r][i] = weights.Row(row + r)[4 * quad + i];
  }
  return block;
}

// Vector instructions for eight tokens of `count` blocks, and of `count` couples. Inputs of 4x1 are interleaved first.
int64_t BlockCost(RhsKind kind, int64_t count) {
  return (4 * RowsPerGroup(kind) + (kind == RhsKind::k4x1 ? 3 : 2)) * count;
}
int64_t CoupleCost(RhsKind kind, int64_t count) {
  return (5 * RowsPerGroup(kind) + (kind == RhsKind::k4x1 ? 4 : 1)) * count;
}

// Every block of every row group reads inside its K-block.
void CheckIndices(const PackedRhs& rhs) {
  const int32_t groups = rhs.rows() / RowsPerGroup(rhs.kind());
  const int step = rhs.kind() == RhsKind::k4x1 ? kInputIndexStep : kQuadIndexStep;
  for (int32_t b = 0; b < rhs.k_blocks(); ++b) {
    const RhsView view = rhs.View(b);
    const int32_t end = view.k_quads * kQuadIndexStep;
    const size_t last = size_t{view.group_ptr[groups]} * IndicesPerBlock(rhs.kind());
    for (size_t i = size_t{view.group_ptr[0]} * IndicesPerBlock(rhs.kind()); i < last; ++i) {
      Require(view.index[i] < end && view.index[i] % step == 0);
    }
  }
}

}  // namespace

// Fills the arrays, which grow, and hands them over at their size.
class PackedRhs::Packer {
 public:
  Packer(const Weights& weights, const KernelTable& kernels, PackedRhs& rhs)
      : weights_(weights), kernels_(kernels), rhs_(rhs) {}

  void Run() {
    switch (rhs_.kind_) {
      case RhsKind::kDense:
        PackDense();
        break;
      case RhsKind::k4x1:
        if (!PackCouples()) PackGatherBlocks();
        break;
      default:
        if (!PackCouples()) PackQuadBlocks();
    }
    values_.resize(values_.size() + kReadableSlack);
    rhs_.values_ = SharedArray<uint8_t>(std::move(values_));
    if (rhs_.kind_ == RhsKind::kDense) return;
    index_.resize(index_.size() + kReadableSlack / sizeof(uint16_t));
    group_ptr_.push_back(group_ptr_.back());  // readable, too
    rhs_.index_ = SharedArray<uint16_t>(std::move(index_));
    rhs_.group_ptr_ = SharedArray<uint32_t>(std::move(group_ptr_));
  }

 private:
  void PackDense();
  void PackQuadBlocks();
  void PackGatherBlocks();
  // Leaves everything as it was and returns false where the tier has no couples or single blocks are faster.
  bool PackCouples();
  // One row group, from `row` on. Return its blocks.
  size_t AppendQuadCouples(int64_t row, int32_t k_block);
  size_t AppendGatheredCouples(int64_t row, int32_t k_block);
  std::vector<QuadBlock> KeptBlocks(int64_t row, int32_t k_block) const;
  std::vector<int64_t> KeptInputs(int64_t row, int32_t k_block) const;
  void AppendCouple(int64_t row, const Couple& couple);
  // `places`: indices of the columns.
  void AppendLanes(const Lane& first, const Lane& second, const std::vector<uint16_t>& places);
  void Append(const std::array<int8_t, 4>& bytes);
  void AppendGathered(int64_t row, int64_t first_input, const std::vector<int64_t>& kept);
  // Appends a block: rows [row, row + count) x four inputs. An input at or beyond K reads as 0.
  void AppendValues(int64_t row, int count, const int64_t* inputs);

  const Weights& weights_;
  const KernelTable& kernels_;
  PackedRhs& rhs_;
  AlignedVector<uint32_t> group_ptr_;
  AlignedVector<uint16_t> index_;
  AlignedVector<uint8_t> values_;
  AlignedVector<int32_t> couple_offset_;
};

PackedRhs::PackedRhs(const Weights& weights, RhsKind kind, const KernelTable& kernels)
    : kind_(kind),
      value_bytes_(kernels.value_bytes),
      rows_(static_cast<int32_t>(RoundUp(weights.n, kRowStep))),
      k_quads_(static_cast<int32_t>(CeilDiv(weights.k, 4))),
      k_blocks_(static_cast<int32_t>(
          CeilDiv(k_quads_, std::min(kernels.blocking[static_cast<int>(kind)].k_quads, kMaxBlockQuads)))) {
  Packer(weights, kernels, *this).Run();
}

// As even as whole quads allow.
int32_t PackedRhs::QuadBegin(int32_t k_block) const {
  return static_cast<int32_t>(int64_t{k_quads_} * k_block / k_blocks_);
}

RhsView PackedRhs::View(int32_t k_block) const {
  const int32_t groups = rows_ / RowsPerGroup(kind_);
  const int32_t quad_begin = QuadBegin(k_block);
  RhsView view{};
  view.couple_offset = coupled() ? couple_offset_.data() : nullptr;
  view.k_quads = QuadBegin(k_block + 1) - quad_begin;
  if (kind_ == RhsKind::kDense) {
    view.group_ptr = nullptr;
    view.index = nullptr;
    view.values = values_.data() + size_t(quad_begin) * rows_ * 4 * value_bytes_;
  } else {
    view.group_ptr = group_ptr_.data() + size_t(k_block) * (groups + 1);
    view.index = index_.data();
    view.values = values_.data();
  }
  return view;
}

int64_t PackedRhs::stored_blocks() const {
  if (!coupled()) return blocks_;
  const auto indices = static_cast<int64_t>(index_.size()) - static_cast<int64_t>(kReadableSlack / sizeof(uint16_t));
  return indices / static_cast<int64_t>(IndicesPerBlock(kind_));
}

size_t PackedRhs::bytes() const {
  return values_.bytes() + index_.bytes() + group_ptr_.bytes() + couple_offset_.bytes();
}

void PackedRhs::MoveInto(PagePool& pool) {
  pool.Take(values_);
  pool.Take(index_);
  pool.Take(group_ptr_);
  pool.Take(couple_offset_);
}

void PackedRhs::Packer::AppendValues(int64_t row, int count, const int64_t* inputs) {
  for (int64_t n = row; n < row + count; ++n) {
    for (int i = 0; i < 4; ++i) {
      const int64_t k = inputs[rhs_.value_bytes_ == 2 ? kShortOrder[i] : i];
      const int8_t value = n < weights_.n && k < weights_.k ? weights_.Row(n)[k] : int8_t{0};
      values_.push_back(static_cast<uint8_t>(value));
      if (rhs_.value_bytes_ == 2) values_.push_back(value < 0 ? 0xff : 0);
    }
  }
  ++rhs_.blocks_;
}

void PackedRhs::Packer::PackDense() {
  const int rows = RowsPerGroup(rhs_.kind_);
  values_.reserve(size_t(rhs_.rows_) * rhs_.k_quads_ * 4 * rhs_.value_bytes_ + kReadableSlack);
  for (int32_t b = 0; b < rhs_.k_blocks_; ++b) {
    for (int32_t row = 0; row < rhs_.rows_; row += rows) {
      for (int64_t q = rhs_.QuadBegin(b); q < rhs_.QuadBegin(b + 1); ++q) {
        const int64_t inputs[] = {4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3};
        AppendValues(row, rows, inputs);
      }
    }
  }
}

void PackedRhs::Packer::PackQuadBlocks() {
  const int rows = RowsPerGroup(rhs_.kind_);
  for (int32_t b = 0; b < rhs_.k_blocks_; ++b) {
    for (int32_t row = 0; row < rhs_.rows_; row += rows) {
      group_ptr_.push_back(static_cast<uint32_t>(rhs_.blocks_));
      for (int64_t q = rhs_.QuadBegin(b); q < rhs_.QuadBegin(b + 1); ++q) {
        if (!AnyNonZero(weights_, row, rows, 4 * q, 4 * q + 4)) continue;
        const int64_t inputs[] = {4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3};
        AppendValues(row, rows, inputs);
        index_.push_back(static_cast<uint16_t>((q - rhs_.QuadBegin(b)) * kQuadIndexStep));
      }
    }
    group_ptr_.push_back(static_cast<uint32_t>(rhs_.blocks_));
  }
}

// Blocks with weights other than 0, in a row group from `row` on.
std::vector<QuadBlock> PackedRhs::Packer::KeptBlocks(int64_t row, int32_t k_block) const {
  const int rows = RowsPerGroup(rhs_.kind_);
  std::vector<QuadBlock> kept;
  for (int32_t q = rhs_.QuadBegin(k_block); q < rhs_.QuadBegin(k_block + 1); ++q) {
    if (!AnyNonZero(weights_, row, rows, 4 * int64_t{q}, 4 * int64_t{q} + 4)) continue;
    kept.push_back(BlockOf(weights_, row, rows, q, q - rhs_.QuadBegin(k_block)));
  }
  return kept;
}

bool PackedRhs::Packer::PackCouples() {
  if ((kernels_.extras & kCoupledBlocks) == 0) return false;
  const bool gathered = rhs_.kind_ == RhsKind::k4x1;
  const size_t indices = IndicesPerBlock(rhs_.kind_);
  couple_offset_.assign(static_cast<size_t>(rhs_.rows_), 0);
  for (int32_t b = 0; b < rhs_.k_blocks_; ++b) {
    for (int32_t row = 0; row < rhs_.rows_; row += RowsPerGroup(rhs_.kind_)) {
      group_ptr_.push_back(static_cast<uint32_t>(index_.size() / indices));
      rhs_.blocks_ += static_cast<int64_t>(gathered ? AppendGatheredCouples(row, b) : AppendQuadCouples(row, b));
    }
    group_ptr_.push_back(static_cast<uint32_t>(index_.size() / indices));
  }
  const auto couples = static_cast<int64_t>(index_.size() / indices / 2);
  if (CoupleCost(rhs_.kind_, couples) <= BlockCost(rhs_.kind_, rhs_.blocks_)) {
    rhs_.value_bytes_ = 1;
    rhs_.couple_offset_ = SharedArray<int32_t>(std::move(couple_offset_));
    return true;
  }
  rhs_.blocks_ = 0;
  group_ptr_.clear();
  index_.clear();
  values_.clear();
  return false;
}

size_t PackedRhs::Packer::AppendQuadCouples(int64_t row, int32_t k_block) {
  const std::vector<QuadBlock> kept = KeptBlocks(row, k_block);
  for (const Couple& couple : CoupleBlocks(kept, RowsPerGroup(rhs_.kind_))) AppendCouple(row, couple);
  return kept.size();
}

size_t PackedRhs::Packer::AppendGatheredCouples(int64_t row, int32_t k_block) {
  std::vector<ColumnWeights> columns;
  std::vector<uint16_t> places;
  for (const int64_t input : KeptInputs(row, k_block)) {
    ColumnWeights& column = columns.emplace_back();
    for (size_t r = 0; r < column.size(); ++r) {
      const int64_t n = row + static_cast<int64_t>(r);
      column[r] = n < weights_.n ? weights_.Row(n)[input] : int8_t{0};
    }
    places.push_back(static_cast<uint16_t>((input - int64_t{rhs_.QuadBegin(k_block)} * 4) * kInputIndexStep));
  }
  std::vector<Lane> lanes = FillLanes(columns);
  lanes.resize(RoundUp(lanes.size(), 2));
  for (size_t i = 0; i < lanes.size(); i += 2) AppendLanes(lanes[i], lanes[i + 1], places);
  return CeilDiv(columns.size(), 4);
}

// Inputs 0 and 1 of both blocks are one lane, 2 and 3 the other one.
void PackedRhs::Packer::AppendLanes(const Lane& first, const Lane& second, const std::vector<uint16_t>& places) {
  const Lane::Part none = {first.parts[0].column, {}};
  Lane::Part parts[2][4];  // of each block
  for (size_t i = 0; i < 8; ++i) {
    const Lane& lane = i % 4 < 2 ? first : second;
    const size_t part = i / 4 * 2 + i % 2;
    parts[i / 4][i % 4] = part < lane.count ? lane.parts[part] : none;
  }
  for (const auto& block : parts) {
    for (const Lane::Part& part : block) index_.push_back(places[part.column]);
  }
  for (size_t r = 0; r < none.weights.size(); ++r) {
    for (const auto& block : parts) {
      Append({block[0].weights[r], block[1].weights[r], block[2].weights[r], block[3].weights[r]});
    }
  }
}

void PackedRhs::Packer::AppendCouple(int64_t row, const Couple& couple) {
  const int rows = RowsPerGroup(rhs_.kind_);
  for (const QuadBlock& block : couple.block) index_.push_back(static_cast<uint16_t>(block.quad * kQuadIndexStep));
  for (int r = 0; r < rows; ++r) {
    for (const QuadBlock& block : couple.block) Append(block.rows[r]);
    for (size_t i = 0; i < 4; ++i) couple_offset_[row + r] += couple.mask[i] * 255 * couple.block[1].rows[r][i];
  }
  Append(couple.mask);
}

void PackedRhs::Packer::Append(const std::array<int8_t, 4>& bytes) {
  values_.resize(values_.size() + bytes.size());
  std::memcpy(values_.data() + values_.size() - bytes.size(), bytes.data(), bytes.size());
}

void PackedRhs::Packer::PackGatherBlocks() {
  const int rows = RowsPerGroup(rhs_.kind_);
  for (int32_t b = 0; b < rhs_.k_blocks_; ++b) {
    for (int32_t row = 0; row < rhs_.rows_; row += rows) {
      group_ptr_.push_back(static_cast<uint32_t>(rhs_.blocks_));
      AppendGathered(row, int64_t{rhs_.QuadBegin(b)} * 4, KeptInputs(row, b));
    }
    group_ptr_.push_back(static_cast<uint32_t>(rhs_.blocks_));
  }
}

// Inputs with weights other than 0, in a row group from `row` on.
std::vector<int64_t> PackedRhs::Packer::KeptInputs(int64_t row, int32_t k_block) const {
  std::vector<int64_t> kept;
  const int64_t end = std::min<int64_t>(weights_.k, int64_t{rhs_.QuadBegin(k_block + 1)} * 4);
  for (int64_t k = int64_t{rhs_.QuadBegin(k_block)} * 4; k < end; ++k) {
    if (AnyNonZero(weights_, row, RowsPerGroup(rhs_.kind_), k, k + 1)) kept.push_back(k);
  }
  return kept;
}

// Four kept inputs per block; the last is filled up with the last input again, with zero weights.
void PackedRhs::Packer::AppendGathered(int64_t row, int64_t first_input, const std::vector<int64_t>& kept) {
  for (size_t i = 0; i < kept.size(); i += 4) {
    int64_t inputs[4];
    for (size_t j = 0; j < 4; ++j) {
      const bool real = i + j < kept.size();
      inputs[j] = real ? kept[i + j] : weights_.k;
      const int64_t place = (real ? kept[i + j] : kept.back()) - first_input;
      index_.push_back(static_cast<uint16_t>(place * kInputIndexStep));
    }
    AppendValues(row, RowsPerGroup(rhs_.kind_), inputs);
  }
}

void PackedRhs::Check(int64_t n, int64_t k, const KernelTable& kernels) const {
  const auto kind = static_cast<int>(kind_);
  Require(kind >= 0 && kind < kRhsKinds && kernels.product[kind] != nullptr);
  Require(!coupled() || (kind_ != RhsKind::kDense && (kernels.extras & kCoupledBlocks) != 0));
  Require(value_bytes_ == (coupled() ? 1 : kernels.value_bytes));
  Require(rows_ == static_cast<int64_t>(RoundUp(n, kRowStep)) && k_quads_ == static_cast<int64_t>(CeilDiv(k, 4)));
  Require(k_blocks_ >= 1 && k_blocks_ <= k_quads_ && CeilDiv(k_quads_, k_blocks_) <= kMaxBlockQuads);
  const int64_t groups = rows_ / RowsPerGroup(kind_);
  if (kind_ == RhsKind::kDense) Require(blocks_ == groups * k_quads_);
  Require(blocks_ >= 0 && blocks_ <= groups * (2 * int64_t{k_quads_} + k_blocks_));
  Require(stored_blocks() >= 0);
  const auto stored = static_cast<uint64_t>(stored_blocks());
  const size_t block_bytes = static_cast<size_t>(RowsPerGroup(kind_)) * 4 * value_bytes_;
  const size_t mask_bytes = coupled() ? stored / 2 * CoupleMaskBytes(kind_) : 0;
  Require(values_.size() == stored * block_bytes + mask_bytes + kReadableSlack);
  if (kind_ == RhsKind::kDense) return;
  Require(group_ptr_.size() == static_cast<size_t>(k_blocks_ * (groups + 1) + 1));
  Require(index_.size() == stored * IndicesPerBlock(kind_) + kReadableSlack / sizeof(uint16_t));
  for (size_t i = 0; i + 1 < group_ptr_.size(); ++i) Require(group_ptr_[i] <= group_ptr_[i + 1]);
  Require(group_ptr_[group_ptr_.size() - 1] <= stored);
  if (coupled()) {
    Require(couple_offset_.size() == static_cast<size_t>(rows_));
    for (const uint32_t first : group_ptr_) Require(first % 2 == 0);
  }
  // 4x1 reads the block after the last one of a call, too: the first of the next K-block, or zeros.
  if (kind_ == RhsKind::k4x1) {
    for (int32_t b = 1; b < k_blocks_; ++b) Require(View(b - 1).group_ptr[groups] == View(b).group_ptr[0]);
    Require(View(k_blocks_ - 1).group_ptr[groups] == stored);
    for (size_t i = static_cast<size_t>(stored) * 4; i < index_.size(); ++i) Require(index_[i] == 0);
  }
  CheckIndices(*this);
}

}  // namespace fastep
