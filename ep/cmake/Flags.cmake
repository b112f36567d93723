# The flags that every target shares: the interface target fastep_flags, and fastep_link_shared(<target>).
include(CheckCXXCompilerFlag)

if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$" OR NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  message(FATAL_ERROR "FastEP needs Linux on x86-64, found ${CMAKE_SYSTEM_NAME} on ${CMAKE_SYSTEM_PROCESSOR}.")
endif()
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
find_package(Threads REQUIRED)

add_library(fastep_flags INTERFACE)
set(fastep_optimize -O3)
if(FASTEP_SANITIZE)
  set(fastep_optimize -O1)  # instrumented kernels take minutes to compile above that
endif()
target_include_directories(fastep_flags INTERFACE ${PROJECT_SOURCE_DIR}/ep)
target_compile_definitions(fastep_flags INTERFACE FASTEP_VERSION="${fastep_version}" $<$<BOOL:${FASTEP_EMULATE}>:FASTEP_EMULATE>)
# -ffp-contract=off: every tier must round the same, so a fused multiply-add is written out, never invented by the compiler.
target_compile_options(
  fastep_flags INTERFACE -Wall -Wextra -fno-math-errno -ffp-contract=off $<$<NOT:$<CONFIG:Debug>>:${fastep_optimize}>
                         $<$<BOOL:${FASTEP_WERROR}>:-Werror>)

# STB_GNU_UNIQUE symbols would be shared with other libraries of the process and pin this one in memory (clang has none).
check_cxx_compiler_flag(-fno-gnu-unique FASTEP_HAS_FNO_GNU_UNIQUE)
if(FASTEP_HAS_FNO_GNU_UNIQUE)
  target_compile_options(fastep_flags INTERFACE -fno-gnu-unique)
endif()

if(FASTEP_SANITIZE)
  target_compile_options(fastep_flags INTERFACE -fsanitize=${FASTEP_SANITIZE} -fno-sanitize-recover=all
                                                -fno-omit-frame-pointer -g)
  target_link_options(fastep_flags INTERFACE -fsanitize=${FASTEP_SANITIZE})
endif()

# A shared library that brings its own C++ runtime, resolves its own symbols first and leaves nothing to find at load.
function(fastep_link_shared target)
  target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc -Wl,-Bsymbolic -Wl,--exclude-libs,ALL)
  # clang leaves the sanitizer runtime to the executable, so its symbols are undefined here.
  if(NOT (FASTEP_SANITIZE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang"))
    target_link_options(${target} PRIVATE -Wl,--no-undefined)
  endif()
endfunction()
