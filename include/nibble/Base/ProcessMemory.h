//===- ProcessMemory.h - What this process takes of memory ------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   returnLargeBlocks();               // first thing in main
//   PeakMemory peak;
//   work();
//   print(peak.peak().anonymous);
//
// Anonymous memory is what the process has allocated; mapped memory is pages of
// files, which the system takes back when it needs them.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_PROCESSMEMORY_H
#define NIBBLE_BASE_PROCESSMEMORY_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>

namespace nibble {

/// Bytes that are in memory.
struct MemoryUse {
  uint64_t anonymous = 0, mapped = 0;
};

/// Of this process now; zeros where the system does not say.
MemoryUse memoryUse();

/// Looks at the use of memory every few milliseconds, while this lives.
class PeakMemory {
public:
  PeakMemory();
  ~PeakMemory();
  PeakMemory(const PeakMemory &) = delete;
  PeakMemory &operator=(const PeakMemory &) = delete;

  /// The largest values that were seen, each by itself.
  MemoryUse peak();

private:
  void look();

  std::atomic<bool> isStopping{false};
  std::atomic<uint64_t> anonymous{0}, mapped{0};
  std::thread thread;
};

/// Makes the allocator give large blocks back to the system when they are
/// freed. Left to itself, glibc moves them into its heap after some time, which
/// tensors of many sizes then tear into pieces that nothing fits into.
void returnLargeBlocks();

/// Gives back what is free of the heap.
void trimHeap();

/// Takes the pages of `bytes`, which must be a read-only mapping of a file, out
/// of the process; they stay in the system's cache, from where the next access
/// has them again.
void releaseMappedPages(std::span<const std::byte> bytes);

} // namespace nibble

#endif // NIBBLE_BASE_PROCESSMEMORY_H
