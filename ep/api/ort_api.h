// Which ONNX Runtime loaded this library, and the highest version of its C API that both sides know. Every file of
// ep/api reaches ONNX Runtime through this header; nothing newer than ApiVersion() may be called.
#pragma once

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include <cstdint>

namespace fastep {

constexpr uint32_t kMinApiVersion = 23;  // ONNX Runtime 1.23, the first with a usable plugin interface
static_assert(ORT_API_VERSION >= kMinApiVersion, "FastEP needs the headers of ONNX Runtime 1.23 or later");

// To be called by each exported entry point before anything else. An OrtStatus says what is wrong with the runtime.
[[nodiscard]] OrtStatus* NegotiateApi(const OrtApiBase* base) noexcept;

// Valid after NegotiateApi succeeded.
uint32_t ApiVersion();
const OrtApi& Api();
const OrtEpApi& EpApi();

}  // namespace fastep
