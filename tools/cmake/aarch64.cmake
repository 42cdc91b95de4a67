#===- aarch64.cmake - Build for AArch64 on another machine -----------------===#
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#===------------------------------------------------------------------------===#
#
# A toolchain file: clang is a compiler for every processor; what it lacks are
# the libraries, which tools/bootstrap fetches. Only the runtime is built so:
#
#   cmake --preset aarch64 && cmake --build --preset aarch64
#
#===------------------------------------------------------------------------===#

include("${CMAKE_CURRENT_LIST_DIR}/NibbleDeps.cmake")

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_SYSROOT "${NIBBLE_AARCH64_SYSROOT}")
set(CMAKE_C_COMPILER clang-22)
set(CMAKE_CXX_COMPILER clang++-22)
set(CMAKE_C_COMPILER_TARGET aarch64-linux-gnu)
set(CMAKE_CXX_COMPILER_TARGET aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-fuse-ld=lld")
# The standard library's own stable_sort, as clang sees it.
set(CMAKE_CXX_FLAGS_INIT "-Wno-deprecated-declarations")

# Programs of this machine, libraries of the other one.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
