//===- ProcessMemoryTest.cpp - What this process takes of memory ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/ProcessMemory.h"

#include "nibble/Base/Tensor.h"

#include <algorithm>
#include <gtest/gtest.h>

using namespace nibble;

namespace {

constexpr int64_t size = 64 << 20;

TEST(ProcessMemory, CountsWhatIsAllocatedAndWasAllocated) {
  returnLargeBlocks();
  uint64_t before = memoryUse().anonymous;
  PeakMemory peak;
  {
    Tensor tensor = Tensor::allocate(ElementType::signedInt(8), {size});
    // Pages of a large tensor are not there before they are written.
    std::ranges::fill(tensor.mutableBytes(), std::byte(1));
    EXPECT_GE(memoryUse().anonymous, before + size / 2);
    EXPECT_GE(peak.peak().anonymous, before + size / 2);
  }
  trimHeap();
#ifndef __SANITIZE_ADDRESS__ // which keeps what is freed for a while
  EXPECT_LT(memoryUse().anonymous, before + size / 2);
#endif
  EXPECT_GE(peak.peak().anonymous, before + size / 2);
}

} // namespace
