//===- ThreadPool.h - Deterministic parallel loops --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   ThreadPool pool(2);
//   pool.parallelFor(rows, [&](int64_t begin, int64_t end) { ... });
//
// The caller takes part. Chunks may run in any order on any thread, so results
// are the same for every thread count as long as chunks do not share outputs.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_THREADPOOL_H
#define NIBBLE_BASE_THREADPOOL_H

#include "nibble/Base/Status.h"

#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

namespace nibble {

/// A fixed set of threads. `parallelFor` neither allocates nor locks while the
/// workers are awake; idle workers spin briefly and then sleep.
class ThreadPool {
public:
  /// `threads` counts the caller; 0 means one per available core, or per core
  /// of `cores`. With `cores`, thread i stays on core i of them, counted round;
  /// the first is the thread that makes the pool, which should also use it.
  explicit ThreadPool(unsigned threads, std::span<const int> cores = {});
  ~ThreadPool();
  unsigned threads() const { return count; }

  /// An error that names the first of `cores` that this process may not use.
  static Status checkCores(std::span<const int> cores);

  /// Calls `body(begin, end)` over a partition of [0, total). Not reentrant.
  template <typename Body> void parallelFor(int64_t total, Body &&body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        total,
        [](void *context, int64_t begin, int64_t end) {
          (*static_cast<Plain *>(context))(begin, end);
        },
        const_cast<void *>(static_cast<const void *>(&body)));
  }

private:
  using Function = void (*)(void *context, int64_t begin, int64_t end);
  void run(int64_t total, Function function, void *context);
  struct State;
  std::unique_ptr<State> state;
  unsigned count;
};

} // namespace nibble

#endif // NIBBLE_BASE_THREADPOOL_H
