#===- Dependencies.cmake - What Nibble is built with ----------------------===#
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#===------------------------------------------------------------------------===#
#
# Finds the libraries of the runtime and sets what all of Nibble's code is
# compiled with. They come from Debian 12; `tools/bootstrap` installs them.
#
#===------------------------------------------------------------------------===#

include(NibbleDeps)

# zlib and libcrypto are linked statically, so that a runner needs nothing but
# the C and C++ libraries of the machine it is copied to.
set(ZLIB_USE_STATIC_LIBS ON)
set(OPENSSL_USE_STATIC_LIBS ON)
find_package(ZLIB REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(Threads REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED CONFIG)

# What the runtime alone does not need.
if(NOT NIBBLE_RUNTIME_ONLY)
  include(CompilerDependencies)
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
