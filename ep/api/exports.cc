// The three entry points of libfastep.so; nothing else is exported (ep/cmake/exports.map).
#include <memory>

#include "api/custom_ops.h"
#include "api/factory.h"
#include "api/log.h"
#include "api/ort_api.h"
#include "api/status.h"
#include "core/tier.h"

#define FASTEP_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// The environment variables are checked here, where an error still reaches the user.
void CheckEnvironment() {
  fastep::CheckLogEnvironment();
  (void)fastep::ChooseTier();
}

}  // namespace

// Door 1: the plugin execution provider.
FASTEP_EXPORT OrtStatus* CreateEpFactories(const char* /*registration_name*/, const OrtApiBase* base,
                                           const OrtLogger* /*logger*/, OrtEpFactory** factories, size_t capacity,
                                           size_t* count) noexcept {
  if (OrtStatus* refused = fastep::NegotiateApi(base)) return refused;
  *count = 0;
  return fastep::ToStatus([&] {
    CheckEnvironment();
    if (capacity < 1) throw fastep::Error("CreateEpFactories: expected room for 1 factory, found 0");
    factories[0] = new fastep::Factory;
    *count = 1;
  });
}

FASTEP_EXPORT OrtStatus* ReleaseEpFactory(OrtEpFactory* factory) noexcept {
  delete static_cast<fastep::Factory*>(factory);
  return nullptr;
}

// Door 2: the same ops as custom ops.
FASTEP_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* session_options, const OrtApiBase* base) noexcept {
  if (OrtStatus* refused = fastep::NegotiateApi(base)) return refused;
  return fastep::ToStatus([&] {
    CheckEnvironment();
    fastep::AddCustomOps(session_options);
  });
}
