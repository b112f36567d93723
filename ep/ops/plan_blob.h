// The frame of a compiled plan as bytes: who made it for whom, and whether it is whole.
//
//   header       PlanBlobHeader, checksum of all else included
//   fields       core/archive.h; the first is the name of the partition
//   arrays       on cache lines
// Blobs may follow each other in one file, each starting on a page, and are told apart by the partition.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/archive.h"
#include "core/hash.h"
#include "core/mapped_file.h"
#include "core/tier.h"

namespace fastep {

struct PlanBlobHeader {
  char magic[8];
  uint32_t format;  // of header and fields
  uint32_t header_bytes;
  uint64_t total_bytes;  // of the blob, a multiple of a page
  uint64_t fields_bytes;
  uint64_t array_bytes;
  uint64_t checksum[2];       // of the blob, with zeros here
  char fastep_version[32];    // only the same version reads it: later ones may ask a node for more
  char layout[32];            // of packed weights
  char tier[16];              // by name
  uint8_t reserved[56] = {};  // up to 192 bytes: three cache lines
};
static_assert(sizeof(PlanBlobHeader) == 192);

// A plan on its way out; borrows what it is made of.
class PlanBlob {
 public:
  // `archive`: the partition first.
  PlanBlob(const ArchiveWriter& archive, Tier tier);

  using Sink = std::function<void(const void* data, size_t bytes)>;
  size_t bytes() const { return static_cast<size_t>(header_.total_bytes); }
  void Write(const Sink& sink) const;

 private:
  void WriteBody(const Sink& sink) const;

  const ArchiveWriter& archive_;
  PlanBlobHeader header_;
};

// Where blobs are read from.
struct BlobSource {
  std::string where;  // for messages: "compiled model 'm_ctx.onnx', file 'm_ctx_fastep.bin'"
  ArchiveSpan bytes;  // on a cache line
  std::shared_ptr<const void> owner;
  const MappedFile* file = nullptr;  // that `bytes` are the content of, if they are
};

struct OpenedBlob {
  ArchiveReader archive;  // behind the partition
  Tier tier;
  HashValue hash;  // of all that it says
};

// The blob of a partition, whole and fit for this library. Throws Error: expected, found, where, and what to do.
// `limit`: the best tier that may be used.
OpenedBlob OpenBlob(const BlobSource& source, const std::string& partition, Tier limit);

// What a model says about all of its blobs, for whoever wants to know beforehand whether they can be read.
std::string CompatibilityInfo(Tier tier);
enum class Compatibility { kUnknown, kOptimal, kBelowMachine, kUnsupported };
Compatibility JudgeCompatibility(const std::string& info, Tier best);

}  // namespace fastep
