//===- Threads.cpp - Ids, barriers, shuffles, votes -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What needs other threads. gpu.barrier is one barrier for the whole block, at
// the same op; barriers of nvvm go by their number, as those of PTX.
//
//===----------------------------------------------------------------------===//

#include "Warp.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;
using namespace nibble::emulator;

//===----------------------------------------------------------------------===//
// Ids
//===----------------------------------------------------------------------===//

using IdOf = uint64_t (*)(const ThreadBlock &, unsigned thread,
                          unsigned dimension);

static uint32_t part(Dim3 dim, unsigned dimension) {
  return dimension == 0 ? dim.x : dimension == 1 ? dim.y : dim.z;
}

static uint64_t threadId(const ThreadBlock &block, unsigned thread,
                         unsigned d) {
  return part(block.threadId(thread), d);
}
static uint64_t blockId(const ThreadBlock &block, unsigned, unsigned d) {
  return part(block.id, d);
}
static uint64_t blockDim(const ThreadBlock &block, unsigned, unsigned d) {
  return part(block.size, d);
}
static uint64_t gridDim(const ThreadBlock &block, unsigned, unsigned d) {
  return part(block.grid, d);
}
static uint64_t globalId(const ThreadBlock &block, unsigned thread,
                         unsigned d) {
  return blockId(block, thread, d) * blockDim(block, thread, d) +
         threadId(block, thread, d);
}
static uint64_t laneId(const ThreadBlock &, unsigned thread, unsigned) {
  return thread % warpSize;
}
static uint64_t warpId(const ThreadBlock &, unsigned thread, unsigned) {
  return thread / warpSize;
}
static uint64_t warps(const ThreadBlock &block, unsigned, unsigned) {
  return block.warps.size();
}
static uint64_t warpLanes(const ThreadBlock &, unsigned, unsigned) {
  return warpSize;
}

/// imm: the dimension.
template <IdOf fn> static Outcome runId(Warp &warp, const Instr &instr) {
  forLanes(warp.active, [&](unsigned lane) {
    warp[instr.out[0]].lane[lane] =
        fn(warp.block, warp.thread(lane), instr.imm[0]);
  });
  return Outcome::Next;
}

template <typename Op, IdOf fn, unsigned dimension = 0>
static void addId(DecodeTable &table) {
  table.add<Op>([](Decoder &decoder, Operation *op) {
    if (failed(defineResults(decoder, op)))
      return failure();
    int64_t d = dimension;
    if (auto named = op->getAttrOfType<gpu::DimensionAttr>("dimension"))
      d = static_cast<int64_t>(named.getValue());
    decoder.emit(op, runId<fn>).imm = {d};
    return success();
  });
}

//===----------------------------------------------------------------------===//
// Barriers
//===----------------------------------------------------------------------===//

static Outcome runBarrier(Warp &warp, const Instr &instr) {
  return warp.block.arrive(warp, instr, 0,
                           static_cast<unsigned>(warp.block.size.count()),
                           isa<gpu::BarrierOp>(instr.op));
}

/// nvvm.barrier, of a number and of some threads. in: those that are given.
static Outcome runNamedBarrier(Warp &warp, const Instr &instr) {
  auto barrier = cast<NVVM::BarrierOp>(instr.op);
  unsigned lane = __builtin_ctz(warp.active);
  unsigned next = 0;
  int64_t id = 0;
  auto threads = static_cast<unsigned>(warp.block.size.count());
  if (barrier.getBarrierId())
    id = static_cast<int64_t>(warp[instr.in[next++]].lane[lane]);
  if (barrier.getNumberOfThreads())
    threads = static_cast<unsigned>(warp[instr.in[next++]].lane[lane]);
  if (id > 15)
    return warp.fail(instr, lane,
                     "barrier " + llvm::Twine(id) +
                         " does not exist; a block has barriers 0 to 15");
  if (threads == 0 || threads % warpSize != 0)
    return warp.fail(instr, lane,
                     "expects a number of threads that is a multiple of 32, "
                     "got " +
                         llvm::Twine(threads));
  return warp.block.arrive(warp, instr, id, threads, false);
}

static LogicalResult decodeNamedBarrier(Decoder &decoder, Operation *op) {
  auto barrier = cast<NVVM::BarrierOp>(op);
  if (barrier.getReductionOp())
    return unsupported(op, "barriers that reduce");
  decoder.emit(op, runNamedBarrier);
  return success();
}

/// bar.warp.sync. in: the mask of threads.
static Outcome runWarpBarrier(Warp &warp, const Instr &instr) {
  unsigned first = __builtin_ctz(warp.active);
  auto mask = static_cast<LaneMask>(warp[instr.in[0]].lane[first]) & warp.live;
  if (LaneMask missing = mask & ~warp.active)
    return warp.fail(
        instr, first,
        warp.block.nameThread(warp.thread(__builtin_ctz(missing))) +
            " is in the mask, but does not run it: the warp has "
            "diverged");
  if (LaneMask other = warp.active & ~mask)
    return warp.fail(instr, __builtin_ctz(other), "is not in its own mask");
  SmallVector<unsigned> threads;
  forLanes(mask, [&](unsigned lane) { threads.push_back(warp.thread(lane)); });
  warp.block.clocks.synchronize(threads);
  return Outcome::Next;
}

/// Orders nothing by itself: another thread sees what was before a fence only
/// through a barrier, and that orders everything.
static Outcome runFence(Warp &, const Instr &) { return Outcome::Next; }

//===----------------------------------------------------------------------===//
// Shuffles and votes
//===----------------------------------------------------------------------===//

enum class Shuffle { Xor, Down, Up, Index };

/// The lane that `lane` reads from, and whether that is one of the `width` that
/// take part; its own if not.
static std::pair<unsigned, bool> sourceLane(Shuffle mode, unsigned lane,
                                            unsigned offset, unsigned width) {
  int64_t source = 0;
  switch (mode) {
  case Shuffle::Xor:
    source = lane ^ offset;
    break;
  case Shuffle::Down:
    source = int64_t(lane) + offset;
    break;
  case Shuffle::Up:
    source = int64_t(lane) - offset;
    break;
  case Shuffle::Index:
    source = offset;
    break;
  }
  bool inside = source >= 0 && source < width;
  return {inside ? static_cast<unsigned>(source) : lane, inside};
}

/// gpu.shuffle: the first `width` lanes, no others. in: value, offset, width.
/// out: value, whether it is valid.
static Outcome runShuffle(Warp &warp, const Instr &instr) {
  auto mode = static_cast<Shuffle>(instr.imm[0]);
  unsigned first = __builtin_ctz(warp.active);
  auto width = static_cast<uint32_t>(warp[instr.in[2]].lane[first]);
  if (width == 0 || width > warpSize)
    return warp.fail(instr, first,
                     "expects a width of 1 to 32 lanes, got " +
                         llvm::Twine(width));
  LaneMask expected = ~LaneMask(0) >> (warpSize - width);
  if (LaneMask missing = expected & ~warp.active)
    return warp.fail(instr, first,
                     "lane " + llvm::Twine(__builtin_ctz(missing)) +
                         " of the " + llvm::Twine(width) +
                         " that shuffle does not run it: the warp has "
                         "diverged");
  if (LaneMask other = warp.active & ~expected)
    return warp.fail(instr, __builtin_ctz(other),
                     "is not one of the first " + llvm::Twine(width) +
                         " lanes, which are those that shuffle");
  SmallVector<Register, 2> values;
  for (unsigned i = 0; i < instr.count; ++i)
    values.push_back(warp[instr.in[0] + i]);
  forLanes(warp.active, [&](unsigned lane) {
    auto offset = static_cast<uint32_t>(warp[instr.in[1]].lane[lane]);
    auto [source, valid] = sourceLane(mode, lane, offset, width);
    for (unsigned i = 0; i < instr.count; ++i)
      warp[instr.out[0] + i].lane[lane] = values[i].lane[source];
    warp[instr.out[1]].lane[lane] = valid;
  });
  return Outcome::Next;
}

static LogicalResult decodeShuffle(Decoder &decoder, Operation *op) {
  auto shuffle = cast<gpu::ShuffleOp>(op);
  if (failed(defineResults(decoder, op)))
    return failure();
  Shuffle mode = Shuffle::Xor;
  switch (shuffle.getMode()) {
  case gpu::ShuffleMode::XOR:
    mode = Shuffle::Xor;
    break;
  case gpu::ShuffleMode::DOWN:
    mode = Shuffle::Down;
    break;
  case gpu::ShuffleMode::UP:
    mode = Shuffle::Up;
    break;
  case gpu::ShuffleMode::IDX:
    mode = Shuffle::Index;
    break;
  }
  decoder.emit(op, runShuffle).imm = {static_cast<int64_t>(mode)};
  return success();
}

/// nvvm.shfl.sync. in: mask, value, offset, clamp with segment mask.
static Outcome runShuffleSync(Warp &warp, const Instr &instr) {
  auto shuffle = cast<NVVM::ShflOp>(instr.op);
  Register values = warp[instr.in[1]];
  LaneMask active = warp.active;
  bool done = allLanes(active, [&](unsigned lane) {
    auto mask = static_cast<LaneMask>(warp[instr.in[0]].lane[lane]) & warp.live;
    if (mask != active) {
      warp.fail(instr, lane,
                "the mask 0x" + llvm::Twine::utohexstr(mask) +
                    " is not that of the threads that run it, 0x" +
                    llvm::Twine::utohexstr(active));
      return false;
    }
    auto offset = static_cast<unsigned>(warp[instr.in[2]].lane[lane]) & 31;
    auto packed = static_cast<unsigned>(warp[instr.in[3]].lane[lane]);
    unsigned clamp = packed & 31, segment = packed >> 8 & 31;
    unsigned last = (lane & segment) | (clamp & ~segment);
    unsigned first = lane & segment;
    unsigned source = lane;
    bool valid = false;
    switch (shuffle.getKind()) {
    case NVVM::ShflKind::bfly:
      source = lane ^ offset;
      valid = source <= last;
      break;
    case NVVM::ShflKind::down:
      source = lane + offset;
      valid = source <= last;
      break;
    case NVVM::ShflKind::up:
      source = lane - offset;
      valid = static_cast<int>(lane) - static_cast<int>(offset) >=
              static_cast<int>(last);
      break;
    case NVVM::ShflKind::idx:
      source = first | (offset & ~segment & 31);
      valid = source <= last;
      break;
    }
    if (!valid)
      source = lane;
    if (!(active >> source & 1)) {
      warp.fail(instr, lane,
                "reads lane " + llvm::Twine(source) +
                    ", which does not take part");
      return false;
    }
    warp[instr.out[0]].lane[lane] = values.lane[source];
    if (instr.count > 1)
      warp[instr.out[0] + 1].lane[lane] = valid;
    return true;
  });
  return done ? Outcome::Next : Outcome::Failed;
}

/// One thread of the warp, which PTX leaves open: the first one here.
static Outcome runElect(Warp &warp, const Instr &instr) {
  if (!warp.converged(instr))
    return Outcome::Failed;
  unsigned first = __builtin_ctz(warp.active);
  forLanes(warp.active, [&](unsigned lane) {
    warp[instr.out[0]].lane[lane] = lane == first;
  });
  return Outcome::Next;
}

static LogicalResult decodeElect(Decoder &decoder, Operation *op) {
  if (op->getNumOperands() != 0)
    return unsupported(op, "nvvm.elect.sync with a mask");
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runElect);
  return success();
}

/// The start of the launch's shared memory.
static Outcome runDynamicShared(Warp &warp, const Instr &instr) {
  ThreadBlock &block = warp.block;
  forLanes(warp.active, [&](unsigned lane) {
    warp[instr.out[0]].lane[lane] = block.dynamic->base;
    warp[instr.out[0] + 1].lane[lane] = block.dynamic->size();
    warp[instr.out[0] + 2].lane[lane] = 1;
  });
  return Outcome::Next;
}

void nibble::emulator::addThreads(DecodeTable &table) {
  addId<gpu::ThreadIdOp, threadId>(table);
  addId<gpu::BlockIdOp, blockId>(table);
  addId<gpu::BlockDimOp, blockDim>(table);
  addId<gpu::GridDimOp, gridDim>(table);
  addId<gpu::GlobalIdOp, globalId>(table);
  addId<gpu::LaneIdOp, laneId>(table);
  addId<gpu::SubgroupIdOp, warpId>(table);
  addId<gpu::NumSubgroupsOp, warps>(table);
  addId<gpu::SubgroupSizeOp, warpLanes>(table);
  addId<NVVM::ThreadIdXOp, threadId, 0>(table);
  addId<NVVM::ThreadIdYOp, threadId, 1>(table);
  addId<NVVM::ThreadIdZOp, threadId, 2>(table);
  addId<NVVM::BlockIdXOp, blockId, 0>(table);
  addId<NVVM::BlockIdYOp, blockId, 1>(table);
  addId<NVVM::BlockIdZOp, blockId, 2>(table);
  addId<NVVM::BlockDimXOp, blockDim, 0>(table);
  addId<NVVM::BlockDimYOp, blockDim, 1>(table);
  addId<NVVM::BlockDimZOp, blockDim, 2>(table);
  addId<NVVM::GridDimXOp, gridDim, 0>(table);
  addId<NVVM::GridDimYOp, gridDim, 1>(table);
  addId<NVVM::GridDimZOp, gridDim, 2>(table);
  addId<NVVM::LaneIdOp, laneId>(table);
  table.add<gpu::BarrierOp, runBarrier>();
  table.add<NVVM::Barrier0Op, runBarrier>();
  table.add<NVVM::BarrierOp>(decodeNamedBarrier);
  table.add<NVVM::SyncWarpOp, runWarpBarrier>();
  table.add<NVVM::FenceProxyOp, runFence>();
  table.add<gpu::ShuffleOp>(decodeShuffle);
  table.add<NVVM::ShflOp, runShuffleSync>();
  table.add<NVVM::ElectSyncOp>(decodeElect);
  table.add<gpu::DynamicSharedMemoryOp, runDynamicShared>();
}
