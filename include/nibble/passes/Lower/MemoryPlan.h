//===- MemoryPlan.h - Lifetimes to arena offsets ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_LOWER_MEMORYPLAN_H
#define NIBBLE_PASSES_LOWER_MEMORYPLAN_H

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>

namespace nibble {

/// A buffer that lives from the step that writes it first to the last that
/// reads it, both included.
struct Lifetime {
  int64_t bytes = 0; ///< at the bounds of the dimensions
  int64_t first = 0, last = 0;
  int64_t offset = 0; ///< out: multiple of bufferAlignment
};

/// Gives every buffer an offset so that no two that live at the same time
/// overlap; largest first, lowest fit. Returns the size of the arena.
int64_t planMemory(llvm::MutableArrayRef<Lifetime> buffers);

} // namespace nibble

#endif // NIBBLE_PASSES_LOWER_MEMORYPLAN_H
