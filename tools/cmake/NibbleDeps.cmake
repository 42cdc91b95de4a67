#===- NibbleDeps.cmake - Where tools/bootstrap puts things -----------------===#
#
# Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
#===------------------------------------------------------------------------===#
#
# Sets NIBBLE_DEPS, for the build and for toolchain files.
#
#===------------------------------------------------------------------------===#

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

# Debian's libraries for AArch64, to build the runtime for it.
set(NIBBLE_AARCH64_SYSROOT "${NIBBLE_DEPS}/aarch64-1")
