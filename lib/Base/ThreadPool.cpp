//===- ThreadPool.cpp - Deterministic parallel loops ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One word, `remaining`, is the whole protocol: the caller publishes a loop by
// storing its number of units, and every thread, the caller included, claims
// some of them, a chunk, by decrementing it. A worker that comes late finds
// zero and goes back to waiting, so nobody ever waits for a sleeping worker,
// and a missed wake-up costs time, never correctness.
//
// Chunks become smaller towards the end of a loop, so that threads of different
// speed finish together.
//
// The fields of the loop are read only after a claim succeeded. The loop cannot
// end before the claimed chunk is done, so they cannot change meanwhile.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/ThreadPool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
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
/// A chunk is at least 1/16 of a thread's fair share: small enough that nobody
/// waits long for the last one, large enough that claiming costs nothing.
constexpr int64_t unitsPerThread = 16;
/// How long a thread waits for work, or the caller for the last chunks, before
/// it sleeps: longer than the serial gaps between the kernels of one decoding
/// step and than their last chunks, shorter than anybody would notice in power
/// use. Who has not finished by then has most likely lost its core to another
/// process; a caller that sleeps gives it this one.
constexpr double spinSeconds = 100e-6;

void pauseBriefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Iterations of `pauseBriefly` in that time. An iteration takes between 5 and
/// 150 cycles, as the processor has it.
int pausesIn(double seconds) {
  static const double secondsPerPause = [] {
    constexpr int trials = 3, pauses = 200;
    double least = 1;
    for (int trial = 0; trial < trials; ++trial) {
      auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < pauses; ++i)
        pauseBriefly();
      std::chrono::duration<double> taken =
          std::chrono::steady_clock::now() - start;
      least = std::min(least, taken.count() / pauses);
    }
    return std::max(least, 1e-9);
  }();
  return static_cast<int>(seconds / secondsPerPause) + 1;
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

/// Keeps this thread on a core; -1: where the system puts it.
void stayOn(int core) {
  if (core < 0 || core >= CPU_SETSIZE)
    return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

} // namespace

struct ThreadPool::State {
  // The loop being run.
  Function function = nullptr;
  void *context = nullptr;
  int64_t total = 0;
  int32_t units = 0;
  int32_t threads = 1;
  int spins = 0;
  std::vector<std::thread> workers;

  // Unclaimed units; -1 ends the workers. On its own cache line, as is `done`:
  // every thread writes them.
  alignas(64) std::atomic<int32_t> remaining{0};
  std::atomic<int32_t> sleepers{0};
  alignas(64) std::atomic<int32_t> done{0};
  std::atomic<bool> callerSleeps{false};

  int64_t start(int32_t unit) const;
  void runChunks();
  void work();
  void awaitCompletion();
};

/// Where unit `unit` of a partition begins whose parts differ in length by at
/// most one.
int64_t ThreadPool::State::start(int32_t unit) const {
  int64_t length = total / units, longer = total % units;
  return unit * length + std::min<int64_t>(unit, longer);
}

void ThreadPool::State::runChunks() {
  int32_t left = remaining.load(std::memory_order_relaxed);
  while (left > 0) {
    int32_t claimed = std::max(1, left / (2 * threads));
    // Acquire pairs with the store that published the loop: later decrements
    // belong to its release sequence.
    if (!remaining.compare_exchange_weak(left, left - claimed,
                                         std::memory_order_acquire,
                                         std::memory_order_relaxed))
      continue;
    int32_t all = units, first = all - left;
    function(context, start(first), start(first + claimed));
    // Sequentially consistent with `callerSleeps`: either the caller sees these
    // units done before it sleeps, or this thread sees that it must wake it.
    if (done.fetch_add(claimed) + claimed == all && callerSleeps.load())
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
    if (done.load(std::memory_order_acquire) == units)
      return;
    pauseBriefly();
  }
  callerSleeps.store(true);
  for (int32_t now = done.load(); now != units; now = done.load())
    sleepWhile(done, now);
  callerSleeps.store(false);
}

Status ThreadPool::checkCores(std::span<const int> cores) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return Status::success(); // nothing to compare with
  for (int core : cores) {
    if (core >= 0 && core < CPU_SETSIZE && CPU_ISSET(core, &allowed))
      continue;
    std::string names;
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &allowed))
        names += (names.empty() ? "" : ", ") + std::to_string(i);
    return Status::error("expected cores out of " + names + ", got " +
                         std::to_string(core));
  }
  return Status::success();
}

ThreadPool::ThreadPool(unsigned threads, std::span<const int> cores)
    : state(std::make_unique<State>()), count(1) {
  unsigned available =
      cores.empty() ? availableCores() : static_cast<unsigned>(cores.size());
  unsigned wanted = std::min(threads == 0 ? available : threads, maxThreads);
  state->threads = static_cast<int32_t>(wanted);
  // With more threads than cores, a spinning thread keeps a working one out.
  state->spins = wanted <= available ? pausesIn(spinSeconds) : 0;
  // The program's own signals belong to its own threads.
  sigset_t all, before;
  sigfillset(&all);
  bool masked = pthread_sigmask(SIG_SETMASK, &all, &before) == 0;
  state->workers.reserve(wanted - 1);
  try {
    while (count < wanted) {
      int core = cores.empty() ? -1 : cores[count % cores.size()];
      state->workers.emplace_back([s = state.get(), core] {
        stayOn(core);
        s->work();
      });
      ++count;
    }
  } catch (const std::system_error &) {
    // At the limit of threads: the loops run on those that there are.
  }
  if (!cores.empty())
    stayOn(cores.front());
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
  s.units =
      static_cast<int32_t>(std::min<int64_t>(total, unitsPerThread * count));
  s.done.store(0, std::memory_order_relaxed);
  s.remaining.store(s.units);
  if (s.sleepers.load() > 0)
    wake(s.remaining, s.units - 1);
  s.runChunks();
  s.awaitCompletion();
}
