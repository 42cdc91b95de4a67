//===- Threads.h - The threads of a compilation -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   quantizeToNearest(weight, group, scheme, &threadPool(context));
//
// MLIR's own threading is off; this pool gives the parallelism, inside passes,
// so that results do not depend on the number of threads.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_SUPPORT_THREADS_H
#define NIBBLE_SUPPORT_THREADS_H

#include "nibble/Base/ThreadPool.h"

namespace mlir {
class MLIRContext;
} // namespace mlir

namespace nibble {

/// The pool of a context; one thread until `setThreads` says otherwise.
ThreadPool &threadPool(mlir::MLIRContext *context);

/// Replaces the pool; 0: one thread per available core.
void setThreads(mlir::MLIRContext *context, unsigned threads);

} // namespace nibble

#endif // NIBBLE_SUPPORT_THREADS_H
