//===- Memory.h - Buffers with exact bounds ---------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Addresses are numbers, so that kernels can compute with them. Shared memory
// begins near 0, as its offsets do on the device, whose matrix descriptors have
// 18 bits for them; each buffer of global memory, and of the private memory of
// a thread, has an address range of its own.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_EMULATOR_MEMORY_H
#define NIBBLE_LIB_EMULATOR_MEMORY_H

#include "Races.h"

#include <deque>
#include <optional>
#include <string>

namespace nibble::emulator {

struct Buffer {
  std::string name; ///< for messages: "argument 0"
  Word base = 0;
  std::vector<uint8_t> bytes;
  /// Bytes that nobody has written have no value.
  bool undefined = true;
  bool shared = false;
  /// The thread of the block that alone may touch it.
  std::optional<unsigned> owner;
  Shadow shadow;

  uint64_t size() const { return bytes.size(); }
};

/// Global memory, or private memory of threads.
class RangedMemory {
public:
  /// Addresses from `first` on, a multiple of 2^60.
  explicit RangedMemory(Word first) : first(first) {}

  /// A buffer at a multiple of `alignment`, but not of twice as much.
  Buffer &allocate(std::string name, uint64_t size, uint64_t alignment);
  /// The buffer that an address is meant for, also when it is out of bounds.
  Buffer *find(Word address);
  /// Gives back what a buffer takes; accesses to it are out of bounds then.
  void release(Buffer &buffer);

private:
  static constexpr unsigned rangeBits = 36;
  Word first;
  std::deque<Buffer> buffers;
};

/// The shared memory of one block.
class SharedMemory {
public:
  /// What a block can have at most (sm_90), and what can be static.
  static constexpr uint64_t limit = 227 * 1024;
  static constexpr uint64_t staticLimit = 48 * 1024;

  /// A buffer at a multiple of `alignment`, but not of twice as much.
  Buffer &allocate(std::string name, uint64_t size, uint64_t alignment);
  Buffer *find(Word address);
  uint64_t used() const { return end - start; }

private:
  /// The system keeps the first KiB.
  static constexpr Word start = 1024;
  Word end = start;
  std::deque<Buffer> buffers;
};

} // namespace nibble::emulator

#endif // NIBBLE_LIB_EMULATOR_MEMORY_H
