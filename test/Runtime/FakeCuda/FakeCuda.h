//===- FakeCuda.h - A driver without a GPU ----------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// libcuda.so.1 for tests: memory of the host in place of a GPU's, and functions
// of the host in place of kernels. It is stricter than the real one:
//
// - Work on a stream is done when somebody waits for it, so that nobody gets
//   away with reading a result, or changing a source, too early.
// - Addresses of the device cannot be read by the host.
// - Handles, addresses, sizes, the current context and what is still there at
//   the end are checked; what is wrong is listed in `misuse`.
//
// A test finds `fakeCuda` with dlsym in the library that the runtime has
// loaded.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_RUNTIME_FAKECUDA_H
#define NIBBLE_TEST_RUNTIME_FAKECUDA_H

#include <cstdint>
#include <string>
#include <vector>

namespace nibble::test {

struct FakeCuda {
  // What is there. For tools, the environment variable FAKE_CUDA_CAPABILITY
  // sets the capability, and FAKE_CUDA_ANY_FUNCTION makes functions that it
  // does not know do nothing instead of being an error.
  int version = 12040;
  int devices = 1;
  int capability = 90;
  uint64_t memoryBytes = 1 << 30; ///< of each device
  int initResult = 0;

  // What goes wrong: call number `failCall` (from 1) gives `failResult`. With
  // `staysLost`, so does all work from then on, until the context is gone.
  uint64_t failCall = 0;
  int failResult = 999;
  bool staysLost = false;

  // What has happened.
  uint64_t callCount = 0;
  std::vector<std::string> calls; ///< names of all functions called
  std::vector<std::string> misuse;
  uint64_t usedBytes = 0, copiedToDevice = 0;

  /// What has not been given back, as text; empty: all is well.
  std::string (*leaks)() = nullptr;
  /// Forgets what has happened, and what was to go wrong.
  void restart() {
    failCall = callCount = copiedToDevice = 0;
    failResult = 999;
    staysLost = false;
    calls.clear();
    misuse.clear();
  }
};

} // namespace nibble::test

extern "C" nibble::test::FakeCuda *fakeCuda();

#endif // NIBBLE_TEST_RUNTIME_FAKECUDA_H
