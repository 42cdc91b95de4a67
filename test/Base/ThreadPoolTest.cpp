//===- ThreadPoolTest.cpp - Every index once, on any threads ----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Meant to be run under ThreadSanitizer as well: the plain variables below are
// synchronized by the pool alone.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/ThreadPool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <numeric>
#include <thread>
#include <vector>

using namespace nibble;

TEST(ThreadPool, CountsTheCaller) {
  EXPECT_EQ(ThreadPool(1).threads(), 1u);
  EXPECT_EQ(ThreadPool(3).threads(), 3u);
  EXPECT_GE(ThreadPool(0).threads(), 1u);
}

TEST(ThreadPool, CoversEveryIndexOnce) {
  for (unsigned threads : {1u, 2u, 3u, 7u, 16u}) {
    ThreadPool pool(threads);
    for (int64_t total : {0, 1, 2, 3, 5, 8, 27, 64, 65, 1000, 4099}) {
      std::vector<int> visits(static_cast<size_t>(total));
      pool.parallelFor(total, [&](int64_t begin, int64_t end) {
        ASSERT_LT(begin, end);
        ASSERT_GE(begin, 0);
        ASSERT_LE(end, total);
        for (int64_t i = begin; i != end; ++i)
          ++visits[static_cast<size_t>(i)];
      });
      EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), total)
          << threads << " threads";
    }
  }
}

TEST(ThreadPool, IgnoresEmptyRanges) {
  ThreadPool pool(2);
  pool.parallelFor(-5, [](int64_t, int64_t) { FAIL(); });
  pool.parallelFor(0, [](int64_t, int64_t) { FAIL(); });
}

TEST(ThreadPool, PartitionsHugeRanges) {
  ThreadPool pool(4);
  std::atomic<uint64_t> covered{0}, chunks{0};
  pool.parallelFor(INT64_MAX, [&](int64_t begin, int64_t end) {
    covered += static_cast<uint64_t>(end - begin);
    ++chunks;
  });
  EXPECT_EQ(covered.load(), static_cast<uint64_t>(INT64_MAX));
  EXPECT_GE(chunks.load(), 4u);
}

// Back to back, so that workers of one loop run into the next one.
TEST(ThreadPool, OrdersConsecutiveLoops) {
  for (unsigned threads : {2u, 5u}) {
    ThreadPool pool(threads);
    std::vector<int64_t> values(37);
    for (int64_t round = 0; round != 20000; ++round)
      pool.parallelFor(37, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i != end; ++i)
          values[static_cast<size_t>(i)] += round;
      });
    EXPECT_EQ(std::accumulate(values.begin(), values.end(), int64_t{0}),
              int64_t{37} * 20000 * 19999 / 2);
  }
}

// Longer than the workers spin: the loop must wake them, or do without.
TEST(ThreadPool, WakesSleepingWorkers) {
  ThreadPool pool(2);
  for (int round = 0; round != 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> others{0};
    std::thread::id caller = std::this_thread::get_id();
    pool.parallelFor(8, [&](int64_t, int64_t) {
      others += std::this_thread::get_id() != caller;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    });
    EXPECT_GT(others.load(), 0);
  }
}

// The caller sleeps while a worker finishes the last chunk.
TEST(ThreadPool, WaitsForSlowChunks) {
  ThreadPool pool(2);
  std::thread::id caller = std::this_thread::get_id();
  int finished = 0;
  std::atomic<bool> slow{false};
  pool.parallelFor(8, [&](int64_t, int64_t) {
    if (std::this_thread::get_id() == caller || slow.exchange(true)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    finished = 1;
  });
  EXPECT_EQ(finished, slow.load() ? 1 : 0);
}
