#include "api/ort_api.h"

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <string>

namespace fastep {
namespace {

struct Binding {
  const OrtApiBase* base = nullptr;
  const OrtApi* api = nullptr;
  const OrtEpApi* ep_api = nullptr;
  uint32_t version = 0;
};
Binding binding;
std::mutex binding_mutex;

// GetApi(1) is there in every runtime, however old.
OrtStatus* Refuse(const OrtApiBase* base, const std::string& message) {
  return base->GetApi(1)->CreateStatus(ORT_FAIL, message.c_str());
}

// "1.23.2" -> 23. The API version is the minor version; of a later major version only our own is asked for.
uint32_t RuntimeApiVersion(const char* version) {
  unsigned major = 0, minor = 0;
  if (std::sscanf(version, "%u.%u", &major, &minor) != 2 || major == 0) return 0;
  return major == 1 ? minor : ORT_API_VERSION;
}

OrtStatus* Bind(const OrtApiBase* base) {
  if (binding.base == base) return nullptr;
  const std::string found = base->GetVersionString();
  if (binding.base != nullptr) {
    return Refuse(base, "FastEP: expected one ONNX Runtime in this process, found a second one (" + found +
                            "); load FastEP into one of them only");
  }
  const uint32_t version = std::min<uint32_t>(ORT_API_VERSION, RuntimeApiVersion(found.c_str()));
  const OrtApi* api = version < kMinApiVersion ? nullptr : base->GetApi(version);
  if (api == nullptr) {
    return Refuse(base, "FastEP " FASTEP_VERSION " needs ONNX Runtime 1.23 or later, found " + found +
                            "; update it, for example with: pip install -U onnxruntime");
  }
  Ort::InitApi(api);
  binding = {base, api, api->GetEpApi(), version};
  return nullptr;
}

}  // namespace

OrtStatus* NegotiateApi(const OrtApiBase* base) noexcept {
  try {
    const std::lock_guard<std::mutex> lock(binding_mutex);
    return Bind(base);
  } catch (const std::exception&) {  // only std::bad_alloc and a broken mutex are left
    return base->GetApi(1)->CreateStatus(ORT_FAIL, "FastEP: out of memory while being loaded");
  }
}

uint32_t ApiVersion() { return binding.version; }
const OrtApi& Api() { return *binding.api; }
const OrtEpApi& EpApi() { return *binding.ep_api; }

}  // namespace fastep
