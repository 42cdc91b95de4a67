//===- Parallel.h - Loops with or without a pool ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_NUMERICS_PARALLEL_H
#define NIBBLE_LIB_NUMERICS_PARALLEL_H

#include "nibble/Base/ThreadPool.h"

#include <algorithm>

namespace nibble {

/// Calls `body(index)` for every index below `total`, on the pool if there is
/// one. Calls of different indices must not share outputs.
template <typename Body>
void forEachIndex(ThreadPool *pool, int64_t total, Body &&body) {
  auto range = [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index)
      body(index);
  };
  if (pool)
    pool->parallelFor(total, range);
  else
    range(0, total);
}

/// Calls `body(begin, end)` for every run of `step` indices below `total`.
template <typename Body>
void forEachTile(ThreadPool *pool, int64_t total, int64_t step, Body &&body) {
  forEachIndex(pool, (total + step - 1) / step, [&](int64_t tile) {
    body(tile * step, std::min((tile + 1) * step, total));
  });
}

} // namespace nibble

#endif // NIBBLE_LIB_NUMERICS_PARALLEL_H
