//===- Threads.h - The threads of a block -----------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Threads threads(function, 128);
//   Value sum = threads.reduceBlock(mine, add);
//   threads.stride(n, [&](Value i) { ... });   // i = thread, thread + 128, ...
//
// What kernels need whose threads work together. Reductions combine in an order
// that depends on nothing but the number of threads, so that results have the
// same bits every time.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_THREADS_H
#define NIBBLE_CODEGEN_CUDA_THREADS_H

#include "GpuKernel.h"

namespace nibble::cuda {

/// Memory that the threads of a block share: `count` elements of one type.
class Shared {
public:
  Shared() = default;
  Shared(Code &code, Value memref) : code(&code), memref(memref) {}

  Value load(Value at) const;
  void store(Value value, Value at) const;

private:
  Code *code = nullptr;
  Value memref;
};

class Threads {
public:
  static constexpr int64_t warpSize = 32;
  /// Shared memory that a kernel can have without asking for more at a launch.
  static constexpr int64_t sharedBytes = 48 * 1024;

  /// The code stands at the start of the body of `function`, whose blocks have
  /// `count` threads, a multiple of 32.
  Threads(GpuFunction &function, int64_t count);

  const int64_t count, warps;
  /// In the block, in the warp, and the number of the warp; i64.
  Value thread, lane, warp;

  Shared share(Type element, int64_t elements);

  /// Orders what the threads of the block, or of the warp, have done in memory.
  void barrier() { function.barrier(); }
  void barrierOfWarp();

  using Combine = llvm::function_ref<Value(Value, Value)>;
  /// The values of groups of `lanes` lanes (a power of two) combined; all lanes
  /// of a group get the same bits if `combine` commutes.
  Value reduceLanes(Value value, Combine combine, int64_t lanes = warpSize);
  /// The values of all threads of the block, for all of them.
  Value reduceBlock(Value value, Combine combine);

  /// A vector, or a number, whose address is a multiple of its size: what one
  /// instruction loads. `offset` counts elements.
  Value loadAligned(Type type, Value base, Value offset);
  /// What Kernel::storedType is in memory (float32, float16, or the bits of
  /// bfloat16), as float32.
  Value widen(Value stored);

  /// `body` for the numbers below `size` that are this thread's.
  void stride(Value size, llvm::function_ref<void(Value)> body);
  Values stride(Value size, llvm::ArrayRef<Value> init,
                llvm::function_ref<Values(Value, llvm::ArrayRef<Value>)> body);

private:
  GpuFunction &function;
  Code &code;
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_THREADS_H
