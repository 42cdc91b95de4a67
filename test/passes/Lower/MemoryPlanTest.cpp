//===- MemoryPlanTest.cpp - Buffers that live together do not overlap -----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Lower/MemoryPlan.h"

#include "nibble/Target/KernelAbi.h"

#include "llvm/Support/MathExtras.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

using namespace nibble;

namespace {

bool liveTogether(const Lifetime &a, const Lifetime &b) {
  return a.first <= b.last && b.first <= a.last;
}

/// What any plan needs at least: the step with the most live bytes.
int64_t lowerBound(const std::vector<Lifetime> &buffers, int64_t steps) {
  int64_t most = 0;
  for (int64_t step = 0; step < steps; ++step) {
    int64_t live = 0;
    for (const Lifetime &buffer : buffers)
      if (buffer.first <= step && step <= buffer.last)
        live += llvm::alignTo(buffer.bytes, bufferAlignment);
    most = std::max(most, live);
  }
  return most;
}

void expectValid(const std::vector<Lifetime> &buffers, int64_t arena) {
  for (size_t i = 0; i < buffers.size(); ++i) {
    const Lifetime &a = buffers[i];
    EXPECT_GE(a.offset, 0);
    EXPECT_EQ(a.offset % bufferAlignment, 0);
    EXPECT_LE(a.offset + a.bytes, arena);
    for (size_t j = 0; j < i; ++j) {
      const Lifetime &b = buffers[j];
      bool apart =
          a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
      EXPECT_TRUE(apart || !liveTogether(a, b))
          << "buffers " << j << " and " << i;
    }
  }
}

TEST(MemoryPlan, Nothing) {
  std::vector<Lifetime> none;
  EXPECT_EQ(planMemory(none), 0);
}

TEST(MemoryPlan, ReusesWhatIsDead) {
  std::vector<Lifetime> chain;
  for (int64_t step = 0; step < 10; ++step)
    chain.push_back({1000, step, step + 1});
  int64_t arena = planMemory(chain);
  expectValid(chain, arena);
  EXPECT_EQ(arena, 2 * llvm::alignTo(1000, bufferAlignment));
}

TEST(MemoryPlan, BuffersOfOneStepAreApart) {
  // A kernel reads its operands while it writes its results.
  std::vector<Lifetime> step = {{256, 0, 3}, {256, 3, 5}};
  EXPECT_EQ(planMemory(step), 2 * llvm::alignTo(256, bufferAlignment));
  expectValid(step, 2 * llvm::alignTo(256, bufferAlignment));
}

TEST(MemoryPlan, EmptyBuffersAreApartToo) {
  std::vector<Lifetime> empty = {{0, 0, 1}, {0, 0, 1}, {8, 0, 1}};
  int64_t arena = planMemory(empty);
  expectValid(empty, arena);
  EXPECT_NE(empty[0].offset, empty[1].offset);
}

TEST(MemoryPlan, RandomLifetimes) {
  std::mt19937 random(20261121);
  auto below = [&](int64_t n) {
    return std::uniform_int_distribution<int64_t>(0, n - 1)(random);
  };
  for (int round = 0; round < 500; ++round) {
    int64_t steps = 1 + below(40);
    std::vector<Lifetime> buffers(1 + below(60));
    for (Lifetime &buffer : buffers) {
      buffer.bytes = below(4) ? below(1 << 16) : below(16);
      buffer.first = below(steps);
      buffer.last = buffer.first + below(steps - buffer.first);
    }
    std::vector<Lifetime> again = buffers;
    int64_t arena = planMemory(buffers);
    expectValid(buffers, arena);
    EXPECT_GE(arena, lowerBound(buffers, steps));
    EXPECT_EQ(arena, planMemory(again));
    for (size_t i = 0; i < buffers.size(); ++i)
      EXPECT_EQ(buffers[i].offset, again[i].offset);
  }
}

} // namespace
