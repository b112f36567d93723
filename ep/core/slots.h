// Scratch blocks for tasks that run at the same time, however many threads there are.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include "core/aligned.h"

namespace fastep {

// As many blocks as there are tasks, so that Take always finds one; but the lowest free one is taken, so one thread
// keeps using the same, cached block, and the others are never touched. Lives in memory that the caller owns.
class Slots {
 public:
  static size_t Bytes(size_t count, size_t slot_bytes) { return FlagBytes(count) + count * slot_bytes; }

  Slots(uint8_t* memory, size_t count, size_t slot_bytes)
      : taken_(new (memory) std::atomic<uint8_t>[count] {}),
        blocks_(memory + FlagBytes(count)),
        slot_bytes_(slot_bytes) {}

  class Lease {
   public:
    Lease(std::atomic<uint8_t>& taken, uint8_t* data) : taken_(taken), data_(data) {}
    ~Lease() { taken_.store(0, std::memory_order_release); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    uint8_t* data() const { return data_; }

   private:
    std::atomic<uint8_t>& taken_;
    uint8_t* data_;
  };

  // At most `count` leases at a time.
  Lease Take() const {
    size_t i = 0;
    while (taken_[i].exchange(1, std::memory_order_acquire) != 0) ++i;
    return Lease(taken_[i], blocks_ + i * slot_bytes_);
  }

 private:
  static size_t FlagBytes(size_t count) { return RoundUp(count * sizeof(std::atomic<uint8_t>), kCacheLine); }

  std::atomic<uint8_t>* taken_;
  uint8_t* blocks_;
  size_t slot_bytes_;
};

}  // namespace fastep
