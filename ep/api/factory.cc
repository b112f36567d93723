#include "api/factory.h"

#include <memory>
#include <string>
#include <vector>

#include "api/options.h"
#include "api/provider.h"
#include "api/status.h"
#include "core/tier.h"
#include "ops/plan_blob.h"
#include "ops/registry.h"

namespace fastep {
namespace {

std::string Join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",") + part;
  return text;
}

std::string TierList(const std::vector<Tier>& tiers) {
  std::vector<std::string> names;
  for (const Tier tier : tiers) names.emplace_back(TierName(tier));
  return Join(names);
}

std::string OptionList() {
  std::vector<std::string> options;
  for (const OptionDoc& doc : OptionDocs()) options.push_back(doc.key + "=" + doc.default_value);
  return Join(options);
}

// What `ep_metadata` of the device shows beside "version", which ONNX Runtime takes from GetVersion.
Ort::KeyValuePairs Metadata() {
  Ort::KeyValuePairs pairs;
  pairs.Add("tier", std::string(TierName(ChooseTier())).c_str());
  pairs.Add("tiers_built", TierList(BuiltTiers()).c_str());
  pairs.Add("tiers_supported", TierList(SupportedTiers()).c_str());
  pairs.Add("ort_headers", ("1." + std::to_string(ORT_API_VERSION)).c_str());
  pairs.Add("ops", Join(OpFamilies()).c_str());
  // Not as ep_options of the device: ONNX Runtime would copy them into every session and warn when a user sets one.
  pairs.Add("options", OptionList().c_str());
  return pairs;
}

ConfigEntries ReadConfigEntries(const OrtSessionOptions* session_options) {
  OrtKeyValuePairs* raw = nullptr;
  Ort::ThrowOnError(Api().GetSessionOptionsConfigEntries(session_options, &raw));
  const Ort::KeyValuePairs owner(raw);
  std::vector<const char*> keys, values;
  owner.GetKeyValuePairs(keys, values);
  ConfigEntries entries;
  for (size_t i = 0; i < keys.size(); ++i) entries.emplace_back(keys[i], values[i]);
  return entries;
}

}  // namespace

Factory::Factory() : OrtEpFactory{} {
  ort_version_supported = ORT_API_VERSION;
  GetName = [](const OrtEpFactory*) noexcept { return kEpName; };
  GetVendor = [](const OrtEpFactory*) noexcept { return "FastEP"; };
  GetVendorId = [](const OrtEpFactory*) noexcept -> uint32_t { return 0; };  // no PCI vendor
  GetVersion = [](const OrtEpFactory*) noexcept { return FASTEP_VERSION; };
  GetSupportedDevices = [](OrtEpFactory* self, const OrtHardwareDevice* const* devices, size_t count, OrtEpDevice** out,
                           size_t capacity, size_t* listed) noexcept -> OrtStatus* {
    *listed = 0;
    return ToStatus([&] { *listed = static_cast<Factory*>(self)->ListDevices(devices, count, out, capacity); });
  };
  CreateEp = [](OrtEpFactory*, const OrtHardwareDevice* const*, const OrtKeyValuePairs* const*, size_t,
                const OrtSessionOptions* session_options, const OrtLogger* logger, OrtEp** ep) noexcept -> OrtStatus* {
    *ep = nullptr;
    return ToStatus([&] { *ep = new Provider(ReadConfigEntries(session_options), logger); });
  };
  ReleaseEp = [](OrtEpFactory*, OrtEp* ep) noexcept { delete static_cast<Provider*>(ep); };
  // Ordinary CPU memory: no allocator, no data transfer, no streams of our own.
  CreateAllocator = [](OrtEpFactory*, const OrtMemoryInfo*, const OrtKeyValuePairs*,
                       OrtAllocator** allocator) noexcept -> OrtStatus* {
    *allocator = nullptr;
    return nullptr;
  };
  ReleaseAllocator = [](OrtEpFactory*, OrtAllocator*) noexcept {};
  CreateDataTransfer = [](OrtEpFactory*, OrtDataTransferImpl** transfer) noexcept -> OrtStatus* {
    *transfer = nullptr;
    return nullptr;
  };
  ValidateCompiledModelCompatibilityInfo = [](OrtEpFactory*, const OrtHardwareDevice* const*, size_t, const char* info,
                                              OrtCompiledModelCompatibility* result) noexcept -> OrtStatus* {
    return ToStatus([&] {
      static constexpr OrtCompiledModelCompatibility kAnswers[] = {
          OrtCompiledModelCompatibility_EP_NOT_APPLICABLE, OrtCompiledModelCompatibility_EP_SUPPORTED_OPTIMAL,
          OrtCompiledModelCompatibility_EP_SUPPORTED_PREFER_RECOMPILATION,
          OrtCompiledModelCompatibility_EP_UNSUPPORTED};
      *result = kAnswers[static_cast<int>(JudgeCompatibility(info, ChooseTier()))];
    });
  };
  IsStreamAware = [](const OrtEpFactory*) noexcept { return false; };
}

size_t Factory::ListDevices(const OrtHardwareDevice* const* devices, size_t count, OrtEpDevice** out, size_t capacity) {
  size_t listed = 0;
  for (size_t i = 0; i < count && listed < capacity; ++i) {
    if (Api().HardwareDevice_Type(devices[i]) != OrtHardwareDeviceType_CPU) continue;
    const Ort::KeyValuePairs metadata = Metadata();
    Ort::ThrowOnError(EpApi().CreateEpDevice(this, devices[i], metadata, nullptr, &out[listed]));
    ++listed;
  }
  return listed;
}

}  // namespace fastep
