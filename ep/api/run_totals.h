// What many Runs of one subgraph took, summed up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/plan/step_profile.h"

namespace fastep {

// Durations in nanoseconds: the sum of all, and the last ones.
class Durations {
 public:
  void Add(int64_t nanoseconds);
  int64_t total() const { return total_; }
  int64_t least() const { return least_; }
  std::vector<int64_t> Last() const;  // in order
  int64_t Median() const;             // of the last ones

 private:
  int64_t total_ = 0, least_ = 0;
  std::vector<int64_t> ring_;
  size_t next_ = 0;
};

// Runs of one shape.
struct ShapeTotals {
  struct Step {
    Durations durations;
    int64_t calls = 0;
    StepWork work;
  };

  ShapeTotals(std::vector<int64_t> shape_of_tokens, size_t count) : shape(std::move(shape_of_tokens)), steps(count) {}
  void Add(const RunRecord& record, int64_t nanoseconds);

  std::vector<int64_t> shape;
  bool skips_padding = false;
  int64_t runs = 0, tokens = 0, lanes = 0;
  Durations durations;  // of the whole subgraph
  std::vector<Step> steps;
};

class SubgraphTotals {
 public:
  explicit SubgraphTotals(std::vector<StepLabel> steps) : steps_(std::move(steps)) {}
  void Add(const RunRecord& record, int64_t nanoseconds);

  const std::vector<StepLabel>& steps() const { return steps_; }
  const std::vector<ShapeTotals>& shapes() const { return shapes_; }
  int64_t runs_left_out() const { return runs_left_out_; }  // of further shapes

 private:
  std::vector<StepLabel> steps_;
  std::vector<ShapeTotals> shapes_;
  int64_t runs_left_out_ = 0;
};

}  // namespace fastep
