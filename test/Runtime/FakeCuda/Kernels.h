//===- Kernels.h - Functions that a fake GPU can launch ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_RUNTIME_FAKECUDA_KERNELS_H
#define NIBBLE_TEST_RUNTIME_FAKECUDA_KERNELS_H

#include <cstdint>
#include <string>

namespace nibble::test {

/// A function: all blocks [0, end) of a grid at once, as those of kernels.c do
/// tasks. `buffers` are addresses of the host; the workspace, where there is
/// one, is the last.
struct FakeKernel {
  const char *name;
  uint32_t buffers, scalars;
  bool hasWorkspace;
  void (*run)(void *const *buffers, const int64_t *scalars, int64_t begin,
              int64_t end);
};

/// Null if there is none.
const FakeKernel *findKernel(const std::string &name);

} // namespace nibble::test

#endif // NIBBLE_TEST_RUNTIME_FAKECUDA_KERNELS_H
