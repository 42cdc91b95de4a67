#===- CompilerDependencies.cmake - What the compiler is built with ---------===#
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#===------------------------------------------------------------------------===#
#
# BLAS, LLVM, ONNX and GoogleTest. Everything but ONNX comes from Debian 12;
# `tools/bootstrap` installs it.
#
#===------------------------------------------------------------------------===#

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
find_package(Protobuf REQUIRED)
find_package(ONNX 1.23 CONFIG HINTS "${NIBBLE_DEPS}/onnx-1.23.2")
if(NOT ONNX_FOUND)
  message(FATAL_ERROR "expected ONNX 1.23 in ${NIBBLE_DEPS}/onnx-1.23.2 or on "
    "CMAKE_PREFIX_PATH, found none; run tools/bootstrap")
endif()
