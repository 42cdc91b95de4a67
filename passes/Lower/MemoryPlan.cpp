//===- MemoryPlan.cpp - Lifetimes to arena offsets ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Greedy by size: the largest buffer is placed first, each at the lowest offset
// that is free for its whole life. On decoder graphs this is within a few per
// cent of the lower bound (the widest step), and it is deterministic.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Lower/MemoryPlan.h"

#include "nibble/Target/KernelAbi.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/MathExtras.h"

using namespace nibble;

int64_t nibble::planMemory(llvm::MutableArrayRef<Lifetime> buffers) {
  llvm::SmallVector<Lifetime *> order;
  for (Lifetime &buffer : buffers)
    order.push_back(&buffer);
  llvm::stable_sort(order, [](const Lifetime *a, const Lifetime *b) {
    return a->bytes > b->bytes;
  });
  llvm::SmallVector<Lifetime *> placed; // by offset
  int64_t total = 0;
  for (Lifetime *buffer : order) {
    int64_t size =
        llvm::alignTo(std::max<int64_t>(buffer->bytes, 1), bufferAlignment);
    int64_t offset = 0;
    for (const Lifetime *other : placed) {
      if (other->last < buffer->first || buffer->last < other->first)
        continue;
      if (other->offset >= offset + size)
        break;
      offset = std::max<int64_t>(
          offset,
          llvm::alignTo(other->offset + std::max<int64_t>(other->bytes, 1),
                        bufferAlignment));
    }
    buffer->offset = offset;
    placed.insert(llvm::upper_bound(placed, offset,
                                    [](int64_t at, const Lifetime *other) {
                                      return at < other->offset;
                                    }),
                  buffer);
    total = std::max(total, offset + size);
  }
  return total;
}
