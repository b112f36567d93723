// What ONNX Runtime asks once per process: the provider's name, version and devices; and a new provider per session.
#pragma once

#include "api/ort_api.h"

namespace fastep {

class Factory final : public OrtEpFactory {
 public:
  Factory();

 private:
  // Offers the CPU with our metadata: tier, tiers built and supported, ops.
  size_t ListDevices(const OrtHardwareDevice* const* devices, size_t count, OrtEpDevice** out, size_t capacity);
};

}  // namespace fastep
