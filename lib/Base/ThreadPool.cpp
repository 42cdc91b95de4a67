//===- ThreadPool.cpp - Deterministic parallel loops ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One word, `remaining`, is the whole protocol: the caller publishes a loop by
// storing its number of chunks, and every thread, the caller included, claims
// chunks by decrementing it. A worker that comes late finds zero and goes back
// to waiting, so nobody ever waits for a sleeping worker, and a missed wake-up
// costs time, never correctness.
//
// The fields of the loop are read only after a claim succeeded. The loop cannot
// end before the claimed chunk is done, so they cannot change meanwhile.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/ThreadPool.h"

#include <algorithm>
#include <atomic>
#include <climits>
#include <csignal>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace nibble;

namespace {

constexpr unsigned maxThreads = 1024;
/// Enough to balance uneven cores, few enough that claiming costs nothing.
constexpr int64_t chunksPerThread = 4;
/// About 100 microseconds: longer than the serial gaps between the kernels of
/// one decoding step, shorter than anybody would notice in power use.
constexpr int spinCount = 4000;

void pauseBriefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void sleepWhile(std::atomic<int32_t> &word, int32_t value) {
  ::syscall(SYS_futex, reinterpret_cast<int32_t *>(&word), FUTEX_WAIT_PRIVATE,
            value, nullptr, nullptr, 0);
}

void wake(std::atomic<int32_t> &word, int32_t threads) {
  ::syscall(SYS_futex, reinterpret_cast<int32_t *>(&word), FUTEX_WAKE_PRIVATE,
            threads, nullptr, nullptr, 0);
}

unsigned availableCores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

} // namespace

struct ThreadPool::State {
  // The loop being run.
  Function function = nullptr;
  void *context = nullptr;
  int64_t total = 0;
  int32_t chunks = 0;
  int spins = 0;
  std::vector<std::thread> workers;

  // Unclaimed chunks; -1 ends the workers. On its own cache line, as is `done`:
  // every thread writes them.
  alignas(64) std::atomic<int32_t> remaining{0};
  std::atomic<int32_t> sleepers{0};
  alignas(64) std::atomic<int32_t> done{0};
  std::atomic<bool> callerSleeps{false};

  void runChunk(int32_t index);
  void runChunks();
  void work();
  void awaitCompletion();
};

/// Chunk `index` of a partition into contiguous ranges that differ in length by
/// at most one.
void ThreadPool::State::runChunk(int32_t index) {
  int64_t length = total / chunks, longer = total % chunks;
  int64_t begin = index * length + std::min<int64_t>(index, longer);
  function(context, begin, begin + length + (index < longer ? 1 : 0));
}

void ThreadPool::State::runChunks() {
  int32_t left = remaining.load(std::memory_order_relaxed);
  while (left > 0) {
    // Acquire pairs with the store that published the loop: later decrements
    // belong to its release sequence.
    if (!remaining.compare_exchange_weak(left, left - 1,
                                         std::memory_order_acquire,
                                         std::memory_order_relaxed))
      continue;
    int32_t count = chunks;
    runChunk(count - left);
    // Sequentially consistent with `callerSleeps`: either the caller sees this
    // chunk done before it sleeps, or this thread sees that it must wake it.
    if (done.fetch_add(1) + 1 == count && callerSleeps.load())
      wake(done, 1);
    left = remaining.load(std::memory_order_relaxed);
  }
}

void ThreadPool::State::work() {
  for (;;) {
    int32_t left = remaining.load(std::memory_order_relaxed);
    for (int spin = 0; left == 0 && spin < spins; ++spin) {
      pauseBriefly();
      left = remaining.load(std::memory_order_relaxed);
    }
    if (left == 0) {
      sleepers.fetch_add(1);
      sleepWhile(remaining, 0);
      sleepers.fetch_sub(1);
    } else if (left < 0) {
      return;
    } else {
      runChunks();
    }
  }
}

void ThreadPool::State::awaitCompletion() {
  for (int spin = 0; spin < spins; ++spin) {
    if (done.load(std::memory_order_acquire) == chunks)
      return;
    pauseBriefly();
  }
  callerSleeps.store(true);
  for (int32_t now = done.load(); now != chunks; now = done.load())
    sleepWhile(done, now);
  callerSleeps.store(false);
}

ThreadPool::ThreadPool(unsigned threads)
    : state(std::make_unique<State>()), count(1) {
  unsigned cores = availableCores();
  unsigned wanted = std::min(threads == 0 ? cores : threads, maxThreads);
  // With more threads than cores, a spinning thread keeps a working one out.
  state->spins = wanted <= cores ? spinCount : 0;
  // The program's own signals belong to its own threads.
  sigset_t all, before;
  sigfillset(&all);
  bool masked = pthread_sigmask(SIG_SETMASK, &all, &before) == 0;
  state->workers.reserve(wanted - 1);
  try {
    while (count < wanted) {
      state->workers.emplace_back([s = state.get()] { s->work(); });
      ++count;
    }
  } catch (const std::system_error &) {
    // At the limit of threads: the loops run on those that there are.
  }
  if (masked)
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ThreadPool::~ThreadPool() {
  state->remaining.store(-1);
  wake(state->remaining, INT_MAX);
  for (std::thread &worker : state->workers)
    worker.join();
}

void ThreadPool::run(int64_t total, Function function, void *context) {
  if (total <= 0)
    return;
  if (count == 1 || total == 1)
    return function(context, 0, total);
  State &s = *state;
  s.function = function;
  s.context = context;
  s.total = total;
  s.chunks =
      static_cast<int32_t>(std::min<int64_t>(total, chunksPerThread * count));
  s.done.store(0, std::memory_order_relaxed);
  s.remaining.store(s.chunks);
  if (s.sleepers.load() > 0)
    wake(s.remaining, s.chunks - 1);
  s.runChunks();
  s.awaitCompletion();
}
