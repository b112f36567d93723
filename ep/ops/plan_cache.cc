#include "ops/plan_cache.h"

#include <iterator>
#include <map>
#include <mutex>
#include <utility>

namespace fastep {
namespace {

class PlanCache {
 public:
  // Null: nobody uses such a plan.
  std::shared_ptr<const GraphPlan> Find(const PlanKey& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = plans_.find(key);
    return found == plans_.end() ? nullptr : found->second.lock();
  }

  // The plan to use: this one, or that of somebody who added it in the meantime.
  std::shared_ptr<const GraphPlan> Add(const PlanKey& key, std::shared_ptr<const GraphPlan> plan) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto i = plans_.begin(); i != plans_.end();) i = i->second.expired() ? plans_.erase(i) : std::next(i);
    std::weak_ptr<const GraphPlan>& entry = plans_[key];
    if (auto earlier = entry.lock()) return earlier;
    entry = plan;
    return plan;
  }

 private:
  std::mutex mutex_;
  std::map<PlanKey, std::weak_ptr<const GraphPlan>> plans_;
};

PlanCache& Cache() {
  static auto* const cache = new PlanCache;  // never destroyed: sessions may outlive static objects
  return *cache;
}

}  // namespace

SharedPlan SharePlan(const PlanKey& key, const std::function<GraphPlan()>& make) {
  std::shared_ptr<const GraphPlan> plan = Cache().Find(key);
  const bool shared = plan != nullptr;
  if (!shared) plan = Cache().Add(key, std::make_shared<const GraphPlan>(make()));
  return {{plan, plan->plan.get()}, plan->inputs, shared};
}

SharedPlan MakeOrSharePlan(const std::vector<const NodeView*>& nodes, const std::vector<std::string>& outputs,
                           const GraphPlanOptions& options) {
  return SharePlan(KeyOf(nodes, outputs, options), [&] { return MakePlan(nodes, outputs, options); });
}

}  // namespace fastep
