// The one boundary between exceptions and the C API: no exception leaves a function that ONNX Runtime calls.
#pragma once

#include <exception>
#include <new>
#include <utility>

#include "api/ort_api.h"
#include "core/error.h"

namespace fastep {

// Runs `body` and turns whatever it throws into an OrtStatus; null on success.
template <typename Body>
[[nodiscard]] OrtStatus* ToStatus(Body&& body) noexcept {
  try {
    std::forward<Body>(body)();
    return nullptr;
  } catch (const Error& error) {
    return Api().CreateStatus(ORT_INVALID_ARGUMENT, error.what());
  } catch (const Ort::Exception& error) {
    return Api().CreateStatus(error.GetOrtErrorCode(), error.what());
  } catch (const std::bad_alloc&) {
    return Api().CreateStatus(ORT_FAIL, "FastEP: out of memory");
  } catch (const std::exception& error) {
    return Api().CreateStatus(ORT_FAIL, error.what());
  } catch (...) {
    return Api().CreateStatus(ORT_FAIL, "FastEP: unknown exception");
  }
}

}  // namespace fastep
