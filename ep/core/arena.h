// Scratch memory of one Run in flight: grows to the largest size asked for, never shrinks, never shared by two Runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace fastep {

class Arena {
 public:
  // 64-byte aligned, at least `bytes` long, contents undefined; invalidates the block handed out before.
  uint8_t* Reserve(size_t bytes);
  size_t capacity() const { return capacity_; }

  // Arenas of their own for so many threads of the run, kept with this one.
  void Split(size_t parts);
  Arena& Part(size_t i) { return *parts_[i]; }

 private:
  struct Free {
    void operator()(uint8_t* p) const;
  };
  std::unique_ptr<uint8_t[], Free> data_;
  size_t capacity_ = 0;
  std::vector<std::unique_ptr<Arena>> parts_;
};

// One arena per concurrent Run: taken at the start, given back at the end.
class ArenaPool {
 public:
  class Lease {
   public:
    Lease(ArenaPool& pool, std::unique_ptr<Arena> arena) : pool_(pool), arena_(std::move(arena)) {}
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Arena& operator*() const { return *arena_; }

   private:
    ArenaPool& pool_;
    std::unique_ptr<Arena> arena_;
  };
  Lease Take();

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Arena>> free_;
};

}  // namespace fastep
