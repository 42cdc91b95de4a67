//===- Warp.h - A block of threads, warp by warp ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The lanes of a warp run in lockstep under a mask; warps take turns where they
// wait. That is one of the orders that a device may choose; what the others
// could change, the checks of accesses find.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_EMULATOR_WARP_H
#define NIBBLE_LIB_EMULATOR_WARP_H

#include "Memory.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/SymbolTable.h"

#include <array>
#include <deque>
#include <map>

namespace nibble::emulator {

class ThreadBlock;
class Machine;

enum class AccessKind : uint8_t { Read, Write, Atomic, AsyncRead, AsyncWrite };

/// Bytes that an asynchronous operation works on.
struct AsyncRange {
  const Instr *instr;
  Word address;
  unsigned bytes;
  unsigned lane;
};

/// Asynchronous operations in the order of their groups, the last one open.
struct AsyncGroups {
  std::vector<AsyncRange> open;
  std::deque<std::vector<AsyncRange>> committed;

  void commit() {
    committed.push_back(std::move(open));
    open.clear();
  }
};

class Warp {
public:
  Warp(ThreadBlock &block, unsigned index, LaneMask live);

  Register &operator[](unsigned reg) { return registers[reg]; }
  unsigned thread(unsigned lane) const { return index * warpSize + lane; }
  /// Runs until the warp waits or ends.
  Outcome run();
  /// Whether all of its threads are at this instruction; emits an error if not.
  bool converged(const Instr &instr);

  /// Emits an error at the op of `instr`, for one of its lanes.
  Outcome fail(const Instr &instr, unsigned lane, const llvm::Twine &message);

  /// The bytes that a lane reads or writes, once they are checked: bounds,
  /// alignment, whether they have a value, whether other accesses are ordered.
  /// Null after an error.
  uint8_t *access(const Instr &instr, unsigned lane, Word address,
                  unsigned bytes, unsigned alignment, AccessKind kind);
  /// Loads or stores `count` elements of `bytes` each, one behind the other in
  /// memory and in registers from `reg` on. False after an error.
  bool move(const Instr &instr, unsigned lane, Word address, unsigned reg,
            unsigned count, unsigned bytes, unsigned alignment,
            AccessKind kind);
  /// The asynchronous accesses of a range are over, as far as `thread`, at
  /// `clock`, is concerned.
  void complete(const AsyncRange &range, unsigned thread, uint32_t clock);

  ThreadBlock &block;
  const unsigned index;
  /// Lanes with a thread, and those that run the current instruction.
  const LaneMask live;
  LaneMask active;
  size_t pc = 0;
  /// What loops and branches will restore.
  struct Frame {
    LaneMask saved, other;
  };
  llvm::SmallVector<Frame> frames;
  bool ended = false;
  /// At a barrier, and let go by it.
  bool arrived = false, released = false;
  /// Lets other warps run after this instruction: a test that failed.
  bool yields = false;
  /// cp.async of each lane.
  std::array<AsyncGroups, warpSize> copies;
  /// wgmma of the warp: what they read, how many there were, and how many are
  /// in each group that runs; registers that each of these still writes.
  AsyncGroups products;
  size_t productCount = 0, openProducts = 0;
  std::deque<size_t> committedProducts;
  std::vector<std::vector<unsigned>> pendingResults;

private:
  bool checkPendingResults(const Instr &instr);
  bool checkRace(const Instr &instr, unsigned lane, Buffer &buffer,
                 uint64_t offset, unsigned bytes, AccessKind kind);
  bool conflict(const Instr &instr, unsigned lane, const Buffer &buffer,
                uint64_t offset, const char *verb, const Instr &other,
                unsigned otherThread, uint32_t otherBlock,
                const char *otherVerb, bool pending);

  std::vector<Register> registers;
};

/// An mbarrier object in shared memory.
struct MBarrier {
  unsigned agent;        ///< the thread that copies into its phases count as
  uint32_t expected = 0; ///< arrivals of a phase
  uint32_t missing = 0;  ///< of the current one
  int64_t bytes = 0;     ///< expected and not yet copied
  uint32_t phase = 0;
  Seen arriving, completed;
};

/// Warps at a barrier of a block.
struct Barrier {
  const Instr *instr = nullptr;
  llvm::SmallVector<unsigned> threads;
  llvm::SmallVector<Warp *> waiting;
};

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t(x) * y * z; }
};

class ThreadBlock {
  static constexpr Word privateMemory = Word(1) << 62;

public:
  /// `dynamicShared`: bytes of the launch.
  ThreadBlock(Machine &machine, const Program &program, Dim3 grid, Dim3 block,
              Dim3 id, uint32_t dynamicShared);

  /// Runs all warps to their end.
  llvm::LogicalResult run();
  /// An error of the launch if shared memory is larger than any device's.
  llvm::LogicalResult placeShared();
  /// The warp arrives at barrier `id`, which lets `threads` of them go.
  Outcome arrive(Warp &warp, const Instr &instr, int64_t id, unsigned threads,
                 bool sameOp);
  std::string nameThread(unsigned thread) const;
  std::string name() const;
  Dim3 threadId(unsigned thread) const;
  Buffer *find(Word address);

  Machine &machine;
  const Program &program;
  const Dim3 grid, size, id;
  const uint32_t dynamicShared;
  /// The only "block" of host code.
  const bool host;
  const uint32_t serial;
  std::deque<Warp> warps;
  SharedMemory shared;
  Buffer *dynamic = nullptr;
  RangedMemory privates{privateMemory};
  Clocks clocks;
  std::map<int64_t, Barrier> barriers;
  std::map<Word, MBarrier> mbarriers;
  std::map<const Instr *, Buffer *> mbarrierGroups;
  unsigned agents = 0;
  /// The wgmma ops of each warpgroup, in order.
  std::vector<std::vector<const Instr *>> products;
  /// Grows whenever a waiting warp may go on.
  uint64_t progress = 0;

private:
  llvm::LogicalResult deadlock();
};

/// What the emulator's memory of the device is aligned to where nothing is
/// said: all that a driver gives.
inline constexpr uint64_t deviceAlignment = 256;

/// Everything that a run shares.
class Machine {
public:
  explicit Machine(mlir::ModuleOp module) : module(module) {}

  /// Decoded when it is first asked for; null after an error.
  const Program *program(mlir::FunctionOpInterface function);
  /// Runs a function of the host; arguments and results as words.
  llvm::LogicalResult runHost(mlir::FunctionOpInterface function,
                              llvm::ArrayRef<Word> arguments);
  llvm::LogicalResult launch(const Program &program, Dim3 grid, Dim3 block,
                             uint32_t dynamicShared,
                             llvm::ArrayRef<Word> arguments,
                             mlir::Location loc);

  mlir::ModuleOp module;
  RangedMemory memory{0};
  /// Constants of the module, by symbol.
  std::map<mlir::Operation *, Buffer *> globals;
  uint32_t blocks = 0;
  /// The first block of the launch that runs.
  uint32_t firstBlock = 0;

private:
  std::map<mlir::Operation *, std::unique_ptr<Program>> programs;
};

/// Calls `fn` for each lane of a mask.
template <typename Fn> void forLanes(LaneMask mask, Fn fn) {
  if (mask == ~LaneMask(0)) {
    for (unsigned lane = 0; lane < warpSize; ++lane)
      fn(lane);
    return;
  }
  for (; mask; mask &= mask - 1)
    fn(static_cast<unsigned>(__builtin_ctz(mask)));
}

/// The same for functions that may fail.
template <typename Fn> bool allLanes(LaneMask mask, Fn fn) {
  for (; mask; mask &= mask - 1)
    if (!fn(static_cast<unsigned>(__builtin_ctz(mask))))
      return false;
  return true;
}

} // namespace nibble::emulator

#endif // NIBBLE_LIB_EMULATOR_WARP_H
