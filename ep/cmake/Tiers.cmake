# fastep_add_tier(<tier> [FLAGS <flag>...] [EMULATED_BY <tier>]): the objects of ep/kernels/<tier>, compiled with FLAGS; with
# FASTEP_EMULATE with those of the tier named, whose instructions then stand for its own. The only place with -m flags.
#
# The target is fastep_kernels_<tier>; core sees FASTEP_HAVE_<TIER>. A folder without sources, or flags that the compiler does
# not know, leave the tier out with a message: the library then works with the other tiers.
#
# Tier files are compiled without C++ standard headers (-nostdinc++): an inline function from one would be emitted with the
# tier's instructions, the linker keeps one copy for everybody, and a lesser CPU dies with an illegal instruction.
# Loops start on a cache line: where an inner loop lands must not depend on what is compiled before it (6 % of its speed).
include_guard()
include(CheckCXXCompilerFlag)

set(FASTEP_TIERS "")

function(fastep_add_tier tier)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" EMULATED_BY FLAGS)
  string(TOUPPER ${tier} upper)

  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/ep/kernels/${tier}/*.cc)
  if(NOT sources)
    message(STATUS "Tier ${tier}: no sources, left out")
    return()
  endif()
  if(arg_FLAGS)
    list(JOIN arg_FLAGS " " flags)
    check_cxx_compiler_flag("${flags}" FASTEP_COMPILER_KNOWS_${upper})
    if(NOT FASTEP_COMPILER_KNOWS_${upper})
      message(WARNING "Tier ${tier}: ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} does not know ${flags}, left out")
      return()
    endif()
  endif()

  set(FASTEP_FLAGS_${upper} ${arg_FLAGS} PARENT_SCOPE)
  if(FASTEP_EMULATE AND arg_EMULATED_BY)
    # Vectors that the CPU has no registers for are passed to inlined functions alone, so their ABI does not matter.
    string(TOUPPER ${arg_EMULATED_BY} by)
    set(arg_FLAGS ${FASTEP_FLAGS_${by}} -Wno-psabi -Wno-ignored-attributes -include ${PROJECT_SOURCE_DIR}/ep/emulation/avx512.h)
  endif()

  set(target fastep_kernels_${tier})
  add_library(${target} OBJECT ${sources})
  target_link_libraries(${target} PRIVATE fastep_flags)
  target_compile_options(${target} PRIVATE ${arg_FLAGS} -nostdinc++ -fno-exceptions -fno-rtti -fno-threadsafe-statics
                         -falign-loops=64)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # gcc's own AVX-512 header trips its own warning (GCC PR 105593, fixed in 13).
    target_compile_options(${target} PRIVATE -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
  set(FASTEP_TIERS ${FASTEP_TIERS} ${tier} PARENT_SCOPE)
endfunction()
