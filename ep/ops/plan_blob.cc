#include "ops/plan_blob.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <tuple>
#include <vector>

#include "core/kernel_table.h"
#include "core/packed_rhs.h"

namespace fastep {
namespace {

constexpr char kMagic[] = {'F', 'a', 's', 't', 'E', 'P', 'P', 'L'};
constexpr uint32_t kFormat = 1;
constexpr size_t kPage = 4096;
constexpr size_t kHashChunk = size_t{1} << 20;
constexpr const char* kCompileAgain =
    "; compile the model again, on this machine and with this version: fastep compile";

// What packed weights of a tier depend on, beside the tier.
std::string LayoutOf(Tier tier) {
  return "packing " + std::to_string(kPackingVersion) + ", " + std::to_string(KernelsOf(tier).value_bytes) + "-byte";
}

template <size_t N>
void SetText(char (&field)[N], const std::string& text) {
  std::memset(field, 0, N);
  std::memcpy(field, text.data(), std::min(text.size(), N - 1));
}

template <size_t N>
std::string GetText(const char (&field)[N]) {
  const std::string text(field, strnlen(field, N));
  return IsUtf8(text) ? text : "no text";
}

HashValue HashHeader(PlanBlobHeader header, const HashValue& body) {
  header.checksum[0] = header.checksum[1] = 0;
  Hash hash;
  hash.Add(&header, sizeof header);
  hash.Add(body.first);
  hash.Add(body.second);
  return hash.value();
}

// The body by pieces: arrays are hashed where they stand, whatever they are made of. A file's pages leave memory again.
HashValue HashBody(const uint8_t* data, size_t bytes, const MappedFile* file) {
  Hash hash;
  for (size_t at = 0; at < bytes; at += kHashChunk) {
    const size_t chunk = std::min(kHashChunk, bytes - at);
    hash.Add(data + at, chunk);
    if (file != nullptr) file->Release(data + at, chunk);
  }
  return hash.value();
}

class ChunkedHash {
 public:
  void Add(const void* data, size_t bytes) {
    const auto* at = static_cast<const uint8_t*>(data);
    while (bytes > 0) {
      const size_t taken = std::min(bytes, kHashChunk - chunk_.size());
      chunk_.insert(chunk_.end(), at, at + taken);
      at += taken;
      bytes -= taken;
      if (chunk_.size() == kHashChunk) Flush();
    }
  }
  HashValue Finish() {
    if (!chunk_.empty()) Flush();
    return hash_.value();
  }

 private:
  void Flush() {
    hash_.Add(chunk_.data(), chunk_.size());
    chunk_.clear();
  }
  Hash hash_;
  std::vector<uint8_t> chunk_;
};

[[noreturn]] void Refuse(const std::string& where, const std::string& expected, const std::string& found) {
  throw Error(where + ": expected " + expected + ", found " + found + kCompileAgain);
}

void CheckFits(const PlanBlobHeader& header, const std::string& where, Tier limit) {
  if (header.format != kFormat) {
    Refuse(where, "a compiled plan of format " + std::to_string(kFormat), "format " + std::to_string(header.format));
  }
  if (GetText(header.fastep_version) != FASTEP_VERSION) {
    Refuse(where, "a plan compiled by FastEP " FASTEP_VERSION, "one of version " + GetText(header.fastep_version));
  }
  const std::vector<Tier> supported = SupportedTiers();
  const std::optional<Tier> tier = ParseTier(GetText(header.tier));
  const bool runs = tier && *tier <= limit && std::find(supported.begin(), supported.end(), *tier) != supported.end();
  if (!runs) {
    Refuse(where, "a plan for tier " + std::string(TierName(limit)) + " or a lower one, all that may be used here",
           "one for tier " + GetText(header.tier));
  }
  if (GetText(header.layout) != LayoutOf(*tier)) {
    Refuse(where, "weights packed as '" + LayoutOf(*tier) + "'", "'" + GetText(header.layout) + "'");
  }
}

// Throws Error unless the header tells of a blob that fits `left` bytes.
PlanBlobHeader ReadHeader(const uint8_t* at, size_t left, const std::string& where) {
  PlanBlobHeader header;
  if (left < sizeof header) Refuse(where, "a compiled plan", std::to_string(left) + " bytes");
  std::memcpy(&header, at, sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) Refuse(where, "a compiled plan", "other bytes");
  if (header.total_bytes > left || header.total_bytes < sizeof header) {
    Refuse(where, std::to_string(header.total_bytes) + " bytes", std::to_string(left) + ": the file is truncated");
  }
  const uint64_t body = header.total_bytes - sizeof header;
  const bool inside = header.header_bytes == sizeof header && header.total_bytes % kPage == 0 &&
                      header.fields_bytes <= body && header.array_bytes <= body &&
                      RoundUp(header.fields_bytes, kCacheLine) + header.array_bytes <= body;
  if (!inside) Refuse(where, "an undamaged compiled plan", "a damaged header");
  return header;
}

std::string ReadPartition(ArchiveReader& archive, const std::string& where) {
  std::string name;
  try {
    archive(name);
  } catch (const Error& error) {
    Refuse(where, "an undamaged compiled plan", std::string("one whose name cannot be read: ") + error.what());
  }
  return name;
}

}  // namespace

PlanBlob::PlanBlob(const ArchiveWriter& archive, Tier tier) : archive_(archive), header_() {
  std::memcpy(header_.magic, kMagic, sizeof kMagic);
  header_.format = kFormat;
  header_.header_bytes = sizeof header_;
  header_.fields_bytes = archive.fields().size();
  header_.array_bytes = archive.array_bytes();
  header_.total_bytes =
      RoundUp(sizeof header_ + RoundUp(archive.fields().size(), kCacheLine) + archive.array_bytes(), kPage);
  SetText(header_.fastep_version, FASTEP_VERSION);
  SetText(header_.layout, LayoutOf(tier));
  SetText(header_.tier, std::string(TierName(tier)));
  ChunkedHash hash;
  WriteBody([&](const void* data, size_t bytes) { hash.Add(data, bytes); });
  std::tie(header_.checksum[0], header_.checksum[1]) = HashHeader(header_, hash.Finish());
}

void PlanBlob::Write(const Sink& sink) const {
  sink(&header_, sizeof header_);
  WriteBody(sink);
}

void PlanBlob::WriteBody(const Sink& sink) const {
  static constexpr uint8_t kZeros[kPage] = {};
  size_t written = sizeof header_;
  const auto put = [&](const void* data, size_t bytes) {
    if (bytes > 0) sink(data, bytes);
    written += bytes;
  };
  const auto pad = [&](size_t step) { put(kZeros, RoundUp(written, step) - written); };
  put(archive_.fields().data(), archive_.fields().size());
  pad(kCacheLine);
  for (const ArchiveSpan& array : archive_.arrays()) {
    put(array.data, array.bytes);
    pad(kCacheLine);
  }
  pad(kPage);
}

OpenedBlob OpenBlob(const BlobSource& source, const std::string& partition, Tier limit) {
  const auto* data = static_cast<const uint8_t*>(source.bytes.data);
  for (size_t at = 0; at < source.bytes.bytes;) {
    const PlanBlobHeader header = ReadHeader(data + at, source.bytes.bytes - at, source.where);
    CheckFits(header, source.where, limit);
    const uint8_t* fields = data + at + sizeof header;
    const uint8_t* arrays = fields + RoundUp(header.fields_bytes, kCacheLine);
    ArchiveReader archive({fields, header.fields_bytes}, {arrays, header.array_bytes}, source.owner);
    const std::string name = ReadPartition(archive, source.where);
    if (name != partition) {
      at += header.total_bytes;
      continue;
    }
    const size_t body = header.total_bytes - sizeof header;
    const HashValue hash = HashHeader(header, HashBody(fields, body, source.file));
    if (hash != HashValue{header.checksum[0], header.checksum[1]}) {
      Refuse(source.where, "an undamaged compiled plan", "bytes that do not belong to its checksum");
    }
    return {archive, *ParseTier(GetText(header.tier)), hash};
  }
  Refuse(source.where, "a compiled plan of '" + partition + "'", "only plans of other subgraphs");
}

std::string CompatibilityInfo(Tier tier) {
  return "FastEP " FASTEP_VERSION "; format " + std::to_string(kFormat) + "; " + LayoutOf(tier) + "; tier " +
         std::string(TierName(tier));
}

Compatibility JudgeCompatibility(const std::string& info, Tier best) {
  if (info.rfind("FastEP ", 0) != 0) return Compatibility::kUnknown;
  if (info == CompatibilityInfo(best)) return Compatibility::kOptimal;
  for (const Tier tier : SupportedTiers()) {
    if (tier < best && info == CompatibilityInfo(tier)) return Compatibility::kBelowMachine;
  }
  return Compatibility::kUnsupported;
}

}  // namespace fastep
