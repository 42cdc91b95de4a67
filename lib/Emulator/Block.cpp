//===- Block.cpp - The warps of a block, in turns -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Warp.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/BuiltinTypes.h"

using namespace mlir;
using namespace nibble::emulator;

ThreadBlock::ThreadBlock(Machine &machine, const Program &program, Dim3 grid,
                         Dim3 size, Dim3 id, uint32_t dynamicShared)
    : machine(machine), program(program), grid(grid), size(size), id(id),
      dynamicShared(dynamicShared),
      host(!isa<gpu::GPUFuncOp>(program.function)), serial(++machine.blocks),
      clocks(llvm::alignTo(size.count(), warpSize)) {
  auto threads = static_cast<unsigned>(size.count());
  for (unsigned first = 0; first < threads; first += warpSize) {
    unsigned count = std::min(warpSize, threads - first);
    warps.emplace_back(*this, first / warpSize,
                       ~LaneMask(0) >> (warpSize - count));
  }
  products.resize(warps.size() / 4 + 1);
}

LogicalResult ThreadBlock::placeShared() {
  auto kernel = cast<gpu::GPUFuncOp>(program.function);
  if (kernel.getNumPrivateAttributions() != 0)
    return unsupported(kernel, "memory that a thread has for itself");
  unsigned first = kernel.getFirstWorkgroupAttributionIndex();
  for (auto [i, attribution] :
       llvm::enumerate(kernel.getWorkgroupAttributions())) {
    auto type = cast<MemRefType>(attribution.getType());
    if (!type.hasStaticShape() || !type.getLayout().isIdentity())
      return emitError(attribution.getLoc(),
                       "expects shared memory of a fixed size, got ")
             << type;
    // LLVM aligns arrays of more than 16 bytes like this if nothing is said.
    uint64_t alignment = 16;
    if (auto given = dyn_cast_if_present<IntegerAttr>(
            kernel.getWorkgroupAttributionAttr(i, "llvm.align")))
      alignment = given.getInt();
    Type element = type.getElementType();
    uint64_t bytes =
        type.getNumElements() *
        (element.isIndex()
             ? 8
             : llvm::divideCeil(element.getIntOrFloatBitWidth(), 8));
    Buffer &buffer = shared.allocate("workgroup memory " + std::to_string(i),
                                     bytes, alignment);
    SmallVector<int64_t> strides;
    int64_t offset;
    (void)type.getStridesAndOffset(strides, offset);
    for (Warp &warp : warps) {
      unsigned reg = program.arguments[first + i];
      auto set = [&](unsigned at, Word word) {
        std::fill_n(warp[reg + at].lane, warpSize, word);
      };
      set(0, buffer.base);
      for (unsigned d = 0; d < type.getRank(); ++d) {
        set(1 + d, type.getDimSize(d));
        set(1 + type.getRank() + d, strides[d]);
      }
    }
  }
  if (shared.used() > SharedMemory::staticLimit)
    return kernel.emitError("expects at most ")
           << SharedMemory::staticLimit << " bytes of workgroup memory, got "
           << shared.used() << "; take dynamic shared memory for more";
  dynamic = &shared.allocate("dynamic shared memory", dynamicShared, 16);
  if (shared.used() > SharedMemory::limit)
    return kernel.emitError("expects at most ")
           << SharedMemory::limit << " bytes of shared memory, got "
           << shared.used();
  return success();
}

Buffer *ThreadBlock::find(Word address) {
  if (Buffer *buffer = machine.memory.find(address))
    return buffer;
  if (Buffer *buffer = privates.find(address))
    return buffer;
  return shared.find(address);
}

Dim3 ThreadBlock::threadId(unsigned thread) const {
  return {thread % size.x, thread / size.x % size.y, thread / size.x / size.y};
}

/// "3", or "(3, 1, 0)" where there is more than one dimension.
static std::string describe(Dim3 at, Dim3 of) {
  if (of.y == 1 && of.z == 1)
    return std::to_string(at.x);
  return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " +
         std::to_string(at.z) + ")";
}

std::string ThreadBlock::nameThread(unsigned thread) const {
  if (thread >= warps.size() * warpSize)
    return "a bulk copy";
  return "thread " + describe(threadId(thread), size);
}

std::string ThreadBlock::name() const { return "block " + describe(id, grid); }

LogicalResult ThreadBlock::run() {
  // A warp that only tests something may need many turns.
  constexpr unsigned patience = 100000;
  unsigned idle = 0;
  while (true) {
    uint64_t before = progress;
    bool running = false, spins = false;
    for (Warp &warp : warps) {
      if (warp.ended)
        continue;
      size_t at = warp.pc;
      if (warp.run() == Outcome::Failed)
        return failure();
      running |= !warp.ended;
      spins |= !warp.ended && warp.pc != at;
    }
    if (!running)
      break;
    idle = progress == before ? idle + 1 : 0;
    if (idle > (spins ? patience : 0))
      return deadlock();
  }
  for (Warp &warp : warps) {
    const std::vector<const Instr *> &all = products[warp.index / 4];
    if (warp.productCount != all.size())
      return emitError(all[warp.productCount]->op->getLoc(), name())
             << ": warp " << warp.index
             << " does not run it, but other warps of its warpgroup do";
  }
  return success();
}

LogicalResult ThreadBlock::deadlock() {
  InFlightDiagnostic error = [&] {
    for (Warp &warp : warps)
      if (!warp.ended)
        return emitError(program.code[warp.pc].op->getLoc());
    llvm_unreachable("a warp is running");
  }();
  auto threads = [](const Warp &warp) {
    unsigned first = warp.thread(0);
    return "threads " + std::to_string(first) + " to " +
           std::to_string(first + llvm::popcount(warp.live) - 1);
  };
  bool first = true;
  for (Warp &warp : warps) {
    if (first && !warp.ended) {
      error << name() << ": deadlock: " << threads(warp)
            << " wait here for ever";
      first = false;
    } else if (warp.ended) {
      error.attachNote(program.code[warp.pc - 1].op->getLoc())
          << threads(warp) << " have ended";
    } else {
      error.attachNote(program.code[warp.pc].op->getLoc())
          << threads(warp) << " wait here";
    }
  }
  for (auto &[address, barrier] : mbarriers)
    if (barrier.missing != 0 || barrier.bytes != 0)
      error.attachNote(program.function->getLoc())
          << "an mbarrier in phase " << barrier.phase << " misses "
          << barrier.missing << " of " << barrier.expected << " arrivals and "
          << barrier.bytes << " bytes";
  return failure();
}

Outcome ThreadBlock::arrive(Warp &warp, const Instr &instr, int64_t id,
                            unsigned threads, bool sameOp) {
  if (warp.released) {
    warp.released = warp.arrived = false;
    return Outcome::Next;
  }
  if (warp.arrived)
    return Outcome::Wait;
  if (!warp.converged(instr))
    return Outcome::Failed;
  Barrier &barrier = barriers[id];
  if (barrier.instr && sameOp && barrier.instr != &instr) {
    Warp &other = *barrier.waiting.front();
    InFlightDiagnostic error = emitError(instr.op->getLoc());
    error << nameThread(warp.thread(0)) << " of " << name()
          << ": waits at another barrier than " << nameThread(other.thread(0));
    error.attachNote(barrier.instr->op->getLoc()) << "which waits here";
    return Outcome::Failed;
  }
  barrier.instr = &instr;
  warp.arrived = true;
  barrier.waiting.push_back(&warp);
  forLanes(warp.live, [&](unsigned lane) {
    barrier.threads.push_back(warp.thread(lane));
  });
  // Threads that PTX counts in whole warps.
  if (barrier.waiting.size() * warpSize < threads)
    return Outcome::Wait;
  clocks.synchronize(barrier.threads);
  for (Warp *waiting : barrier.waiting)
    waiting->released = true;
  barriers.erase(id);
  ++progress;
  warp.released = warp.arrived = false;
  return Outcome::Next;
}
