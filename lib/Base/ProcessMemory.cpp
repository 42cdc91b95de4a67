//===- ProcessMemory.cpp - What this process takes of memory --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/ProcessMemory.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

using namespace nibble;

MemoryUse nibble::memoryUse() {
  MemoryUse use;
  // Pages: size, resident, resident and shared with a file.
  if (std::FILE *file = std::fopen("/proc/self/statm", "re")) {
    unsigned long size = 0, resident = 0, shared = 0;
    if (std::fscanf(file, "%lu %lu %lu", &size, &resident, &shared) == 3) {
      uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
      use.anonymous = (resident - std::min(resident, shared)) * page;
      use.mapped = shared * page;
    }
    std::fclose(file);
  }
  return use;
}

PeakMemory::PeakMemory()
    : thread([this] {
        while (!isStopping) {
          look();
          std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
      }) {}

PeakMemory::~PeakMemory() {
  isStopping = true;
  thread.join();
}

void PeakMemory::look() {
  auto raise = [](std::atomic<uint64_t> &peak, uint64_t value) {
    uint64_t old = peak;
    while (old < value && !peak.compare_exchange_weak(old, value))
      ;
  };
  MemoryUse use = memoryUse();
  raise(anonymous, use.anonymous);
  raise(mapped, use.mapped);
}

MemoryUse PeakMemory::peak() {
  look();
  return {anonymous, mapped};
}

void nibble::returnLargeBlocks() {
#ifdef __GLIBC__
  // Naming a threshold also keeps it from growing.
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
}

void nibble::trimHeap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

void nibble::releaseMappedPages(std::span<const std::byte> bytes) {
  // Pages that others share at either end stay.
  uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  uintptr_t start = reinterpret_cast<uintptr_t>(bytes.data());
  uintptr_t first = (start + page - 1) / page * page;
  uintptr_t last = (start + bytes.size()) / page * page;
  if (first < last)
    (void)::madvise(reinterpret_cast<void *>(first), last - first,
                    MADV_DONTNEED);
}
