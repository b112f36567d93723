# Finds the ONNX Runtime C/C++ API headers and defines the interface target ort::headers. Nothing of ONNX Runtime is linked.
#
# In this order, the first that has ORT_API_VERSION >= 23 and the execution-provider API wins; each step says what it found:
#   1. -DONNXRUNTIME_INCLUDE_DIR=<folder>, or the environment variable of that name; a wrong folder is an error
#   2. the system's include folders, then what an earlier run left in the build folder
#   3. the official release archive of ORT_RELEASE (include/ only, sha256 checked)        not with -DORT_HEADERS_DOWNLOAD=OFF
#   4. Debian's libonnxruntime-dev, through the machine's own apt mirror, without root    not with -DORT_HEADERS_DOWNLOAD=OFF
#   5. an error that names the ways out
include_guard()

set(ORT_MIN_API 23)
option(ORT_HEADERS_DOWNLOAD "Allow downloading the ONNX Runtime headers (steps 3 and 4)" ON)
set(ORT_RELEASE "1.23.2" CACHE STRING "Official release whose headers step 3 takes")
set(ORT_RELEASE_SHA256 "1fa4dcaef22f6f7d5cd81b28c2800414350c10116f5fdd46a2160082551c5f9b" CACHE STRING
    "sha256 of that release's archive")
set(ORT_HEADERS_SUITES "forky;sid" CACHE STRING "Debian suites that step 4 tries, in order")
set(ORT_HEADERS_CACHE "${CMAKE_BINARY_DIR}/_ort_headers" CACHE PATH "Where steps 3 and 4 leave the headers")
set(ort_cache "${ORT_HEADERS_CACHE}")
set(ort_script "${CMAKE_CURRENT_LIST_DIR}/fetch_debian_ort_headers.sh")
set(ort_dir "")

# Takes <dir> if its headers are good enough: sets ort_dir; says why not otherwise.
function(ort_try dir how)
  if(NOT EXISTS "${dir}/onnxruntime_c_api.h")
    return()
  endif()
  file(STRINGS "${dir}/onnxruntime_c_api.h" line REGEX "^#define ORT_API_VERSION [0-9]+" LIMIT_COUNT 1)
  string(REGEX MATCH "[0-9]+$" api "${line}")
  if(api GREATER_EQUAL ORT_MIN_API AND EXISTS "${dir}/onnxruntime_ep_c_api.h")
    message(STATUS "ONNX Runtime headers: ${dir} (${how}, API version ${api})")
    set(ort_dir "${dir}" PARENT_SCOPE)
  else()
    message(STATUS "ONNX Runtime headers: not ${dir} (${how}): API version ${api}, ${ORT_MIN_API} or later is needed")
  endif()
endfunction()

# Step 1. The environment variable is read on every configure, so a stale cache entry cannot win over it.
macro(ort_from_user)
  set(ort_user "${ONNXRUNTIME_INCLUDE_DIR}")
  set(ort_how "-DONNXRUNTIME_INCLUDE_DIR")
  if(ort_user STREQUAL "")
    set(ort_user "$ENV{ONNXRUNTIME_INCLUDE_DIR}")
    set(ort_how "environment variable ONNXRUNTIME_INCLUDE_DIR")
  endif()
  if(NOT ort_user STREQUAL "")
    ort_try("${ort_user}" "${ort_how}")
    if(NOT ort_dir)
      message(FATAL_ERROR "${ort_how}=${ort_user}: expected a folder with onnxruntime_c_api.h (ORT_API_VERSION >= ${ORT_MIN_API}, "
                          "ONNX Runtime 1.${ORT_MIN_API} or later) and onnxruntime_ep_c_api.h. Correct it, or unset it to have the headers searched.")
    endif()
  endif()
endmacro()

# Step 2.
macro(ort_from_system)
  find_path(ort_system NAMES onnxruntime_ep_c_api.h PATH_SUFFIXES onnxruntime onnxruntime/core/session NO_CACHE)
  if(ort_system)
    ort_try("${ort_system}" "system")
  endif()
  foreach(dir IN ITEMS "${ort_cache}/usr/include/onnxruntime" "${ort_cache}/release/include")
    if(NOT ort_dir)
      ort_try("${dir}" "fetched earlier")
    endif()
  endforeach()
endmacro()

# Step 3. The short timeouts are for machines behind a firewall that swallows packets.
macro(ort_from_release)
  set(name "onnxruntime-linux-x64-${ORT_RELEASE}")
  set(url "https://github.com/microsoft/onnxruntime/releases/download/v${ORT_RELEASE}/${name}.tgz")
  set(archive "${ort_cache}/${name}.tgz")
  message(STATUS "ONNX Runtime headers: trying the official release ${ORT_RELEASE}")
  file(DOWNLOAD ${url} "${archive}" STATUS status TIMEOUT 45 INACTIVITY_TIMEOUT 8)
  list(POP_FRONT status code)
  if(code EQUAL 0)
    file(SHA256 "${archive}" sha256)
    if(NOT sha256 STREQUAL ORT_RELEASE_SHA256)
      message(FATAL_ERROR "${url}: expected sha256 ${ORT_RELEASE_SHA256}, found ${sha256}. Set ORT_RELEASE_SHA256 if you changed ORT_RELEASE.")
    endif()
    file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${ort_cache}" PATTERNS "*/include/*")
    file(RENAME "${ort_cache}/${name}" "${ort_cache}/release")
    ort_try("${ort_cache}/release/include" "official release ${ORT_RELEASE}")
  else()
    message(STATUS "ONNX Runtime headers: no official release: ${status}")
  endif()
  file(REMOVE "${archive}")
endmacro()

# Step 4.
macro(ort_from_debian)
  foreach(suite IN LISTS ORT_HEADERS_SUITES)
    if(NOT ort_dir)
      message(STATUS "ONNX Runtime headers: trying libonnxruntime-dev of Debian ${suite} through apt")
      execute_process(COMMAND bash "${ort_script}" ${suite} "${ort_cache}" RESULT_VARIABLE code OUTPUT_VARIABLE log ERROR_VARIABLE log
                      TIMEOUT 180)
      if(code EQUAL 0)
        ort_try("${ort_cache}/usr/include/onnxruntime" "Debian ${suite}, libonnxruntime-dev")
      else()
        string(STRIP "${log}" log)
        message(STATUS "ONNX Runtime headers: no package from Debian ${suite}: ${log} (${code})")
      endif()
    endif()
  endforeach()
endmacro()

ort_from_user()
if(NOT ort_dir)
  ort_from_system()
endif()
if(NOT ort_dir AND ORT_HEADERS_DOWNLOAD)
  ort_from_release()
endif()
if(NOT ort_dir AND ORT_HEADERS_DOWNLOAD)
  ort_from_debian()
endif()
if(NOT ort_dir)
  message(FATAL_ERROR "ONNX Runtime headers (ORT_API_VERSION >= ${ORT_MIN_API}) were not found. Ways out:\n"
                      "  1. unpack an ONNX Runtime release, 1.${ORT_MIN_API} or later, and pass its include folder: -DONNXRUNTIME_INCLUDE_DIR=<folder>, "
                      "or set the environment variable of that name (pip: ONNXRUNTIME_INCLUDE_DIR=<folder> pip install .)\n"
                      "  2. install the system package libonnxruntime-dev, 1.${ORT_MIN_API} or later\n"
                      "  3. allow the download (-DORT_HEADERS_DOWNLOAD=ON) on a machine that reaches the release page or a Debian mirror\n")
endif()

add_library(ort_headers INTERFACE)
add_library(ort::headers ALIAS ort_headers)
target_include_directories(ort_headers SYSTEM INTERFACE "${ort_dir}")
