//===- Races.h - Which accesses are ordered ---------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Vector clocks: a thread counts its synchronisations, and knows up to which of
// its own everyone else's have been ordered before it. What touched a byte last
// is kept beside the byte (Flanagan and Freund, FastTrack, PLDI 2009).
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_EMULATOR_RACES_H
#define NIBBLE_LIB_EMULATOR_RACES_H

#include "Program.h"

#include "llvm/ADT/ArrayRef.h"

#include <memory>

namespace nibble::emulator {

/// What a thread has seen of each other thread. Copies that work on behind the
/// threads count as threads of their own, behind those of the block.
using Seen = std::shared_ptr<const std::vector<uint32_t>>;

class Clocks {
public:
  explicit Clocks(unsigned threads);

  /// Stamp of an access that `thread` makes now.
  uint32_t now(unsigned thread) const { return own[thread]; }
  /// Whether what `other` did at `clock` is ordered before what `thread` does.
  bool ordered(unsigned thread, unsigned other, uint32_t clock) const {
    const std::vector<uint32_t> &known = *seen[thread];
    return thread == other || (other < known.size() && known[other] >= clock);
  }
  /// A barrier: everything before it is ordered before everything after it.
  void synchronize(llvm::ArrayRef<unsigned> threads);
  /// What `thread` did until now, for others to acquire.
  Seen release(unsigned thread);
  void acquire(unsigned thread, const Seen &released);

private:
  std::vector<Seen> seen;
  std::vector<uint32_t> own;
};

/// The elementwise maximum; null counts as zeros.
Seen join(const Seen &a, const Seen &b);
/// `seen`, and `thread` up to `clock`.
Seen withThread(const Seen &seen, unsigned thread, uint32_t clock);

/// Who touched a byte.
struct Access {
  const Instr *instr = nullptr; ///< null: nobody
  uint32_t clock = 0;
  uint32_t block = 0;   ///< serial number over all launches
  uint16_t thread = 0;  ///< in the block
  bool pending = false; ///< an asynchronous access that was not waited for
  bool atomic = false;
};

/// Lanes of a warp that read a byte at the same time.
struct Readers {
  const Instr *instr = nullptr;
  uint32_t clock = 0;
  LaneMask lanes = 0;
  uint16_t warp = 0;
  bool pending = false;
};

/// What is known about one byte.
struct Cell {
  Access write;
  llvm::SmallVector<Readers, 1> reads;
};

/// Cells of a range of addresses, made as they are touched.
class Shadow {
public:
  Cell &operator[](uint64_t offset) {
    std::unique_ptr<Page> &page = pages[offset / pageSize];
    if (!page)
      page = std::make_unique<Page>();
    return page->cells[offset % pageSize];
  }
  /// Null if nothing near was touched.
  Cell *find(uint64_t offset) {
    auto page = pages.find(offset / pageSize);
    return page == pages.end() ? nullptr
                               : &page->second->cells[offset % pageSize];
  }

  /// Nothing at all was touched.
  bool isEmpty() const { return pages.empty(); }

private:
  static constexpr uint64_t pageSize = 256;
  struct Page {
    Cell cells[pageSize];
  };
  llvm::DenseMap<uint64_t, std::unique_ptr<Page>> pages;
};

} // namespace nibble::emulator

#endif // NIBBLE_LIB_EMULATOR_RACES_H
