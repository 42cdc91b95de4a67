#===- Dependencies.cmake - What Nibble is built with ----------------------===#
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#===------------------------------------------------------------------------===#
#
# Finds every library and sets what all of Nibble's code is compiled with.
# Everything but ONNX comes from Debian 12; `tools/bootstrap` installs it.
#
#===------------------------------------------------------------------------===#

# zlib and libcrypto are linked statically, so that a runner needs nothing but
# the C and C++ libraries of the machine it is copied to.
set(ZLIB_USE_STATIC_LIBS ON)
set(OPENSSL_USE_STATIC_LIBS ON)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED CONFIG)
find_package(GTest REQUIRED)

# Debian's OpenBLAS package describes itself with variables, not with a target.
find_package(OpenBLAS REQUIRED CONFIG)
add_library(OpenBLAS::OpenBLAS INTERFACE IMPORTED)
target_include_directories(OpenBLAS::OpenBLAS INTERFACE
  ${OpenBLAS_INCLUDE_DIRS})
target_link_libraries(OpenBLAS::OpenBLAS INTERFACE ${OpenBLAS_LIBRARIES})

# LLVM and MLIR: llvm-config knows where this machine keeps version 22.
find_program(LLVM_CONFIG NAMES llvm-config-22)
if(LLVM_CONFIG)
  execute_process(COMMAND ${LLVM_CONFIG} --prefix
    OUTPUT_VARIABLE llvm_prefix OUTPUT_STRIP_TRAILING_WHITESPACE
    COMMAND_ERROR_IS_FATAL ANY)
endif()
find_package(MLIR REQUIRED CONFIG HINTS ${llvm_prefix})
find_package(LLD REQUIRED CONFIG HINTS ${llvm_prefix})
if(NOT LLVM_VERSION_MAJOR EQUAL 22)
  message(FATAL_ERROR "expected LLVM 22, found ${LLVM_PACKAGE_VERSION} in "
    "${LLVM_DIR}; run tools/bootstrap, or give MLIR_DIR")
endif()
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)
separate_arguments(llvm_definitions NATIVE_COMMAND "${LLVM_DEFINITIONS}")

# One target to link for whatever uses MLIR. The headers are system headers:
# their warnings are not ours to fix.
add_library(NibbleLLVM INTERFACE)
target_include_directories(NibbleLLVM SYSTEM INTERFACE
  ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
target_compile_definitions(NibbleLLVM INTERFACE ${llvm_definitions})
target_link_libraries(NibbleLLVM INTERFACE MLIR LLVM)

# ONNX: Debian's release ends at opset 17, so `tools/bootstrap` builds one that
# does not. Its package file forgets to look for protobuf.
set(nibble_cache "$ENV{XDG_CACHE_HOME}")
if(NOT nibble_cache)
  set(nibble_cache "$ENV{HOME}/.cache")
endif()
if(DEFINED ENV{NIBBLE_DEPS})
  set(nibble_deps "$ENV{NIBBLE_DEPS}")
else()
  set(nibble_deps "${nibble_cache}/nibble")
endif()
set(NIBBLE_DEPS "${nibble_deps}" CACHE PATH
  "folder where tools/bootstrap keeps what it builds")
find_package(Protobuf REQUIRED)
find_package(ONNX 1.23 CONFIG HINTS "${NIBBLE_DEPS}/onnx-1.23.2")
if(NOT ONNX_FOUND)
  message(FATAL_ERROR "expected ONNX 1.23 in ${NIBBLE_DEPS}/onnx-1.23.2 or on "
    "CMAKE_PREFIX_PATH, found none; run tools/bootstrap")
endif()

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# Static libraries also go into plugins.
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# Debian's LLVM is compiled with NDEBUG, and some of its headers lay out types
# differently without it (llvm::Statistic, for one). All of Nibble is therefore
# compiled with NDEBUG whatever the build type; nothing relies on assert.
add_compile_definitions(NDEBUG NIBBLE_VERSION="${PROJECT_VERSION}")

# Contraction would let the same source round differently per CPU, and a last
# place can move a quantized code: same inputs must give the same bytes.
add_compile_options(-Wall -Wextra -ffp-contract=off)

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
