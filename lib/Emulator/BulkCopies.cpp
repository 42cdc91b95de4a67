//===- BulkCopies.cpp - mbarrier objects and bulk copies ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An mbarrier object has phases. One ends when as many threads have arrived as
// it expects, and as many bytes have been copied; who waits for its end has
// everything before the arrivals, and the copied bytes, behind itself.
//
//===----------------------------------------------------------------------===//

#include "Warp.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"

#include <cstring>

using namespace mlir;
using namespace nibble::emulator;

/// The operands of all these ops, however they are written.
namespace {
struct Barriers {
  enum Part { Object, Index, Number, Predicate, Parts };
};
} // namespace

/// in: object, then what imm says is there: index into a group, number,
/// predicate; -1 if absent.
static unsigned operand(const Instr &instr, Barriers::Part part) {
  return instr.imm[part] < 0 ? ~0u : instr.in[instr.imm[part]];
}

static bool runsIn(Warp &warp, const Instr &instr, unsigned lane) {
  unsigned predicate = operand(instr, Barriers::Predicate);
  return predicate == ~0u || (warp[predicate].lane[lane] & 1);
}

static Word addressOf(Warp &warp, const Instr &instr, unsigned lane) {
  Word address = warp[instr.in[instr.imm[Barriers::Object]]].lane[lane];
  unsigned index = operand(instr, Barriers::Index);
  return index == ~0u ? address : address + 8 * warp[index].lane[lane];
}

/// The object, checked like a read of its bytes.
static MBarrier *find(Warp &warp, const Instr &instr, unsigned lane) {
  Word address = addressOf(warp, instr, lane);
  Buffer *buffer = warp.block.find(address);
  auto found = warp.block.mbarriers.find(address);
  if (!buffer || !buffer->shared || found == warp.block.mbarriers.end()) {
    warp.fail(instr, lane,
              "there is no mbarrier at this address; mbarrier.init makes one");
    return nullptr;
  }
  if (!warp.access(instr, lane, address, 8, 8, AccessKind::Read))
    return nullptr;
  // Operations on the object are atomic: they do not race with each other.
  for (unsigned i = 0; i < 8; ++i)
    buffer->shadow[address - buffer->base + i].reads.clear();
  return &found->second;
}

/// Ends the phase if nothing is missing.
static void advance(ThreadBlock &block, MBarrier &barrier) {
  ++block.progress;
  if (barrier.missing != 0 || barrier.bytes != 0)
    return;
  barrier.completed = join(barrier.completed, barrier.arriving);
  // The copies into this phase.
  barrier.completed =
      withThread(barrier.completed, barrier.agent, barrier.phase + 1);
  barrier.arriving = nullptr;
  barrier.missing = barrier.expected;
  ++barrier.phase;
}

/// in: object, number of arrivals.
static Outcome runInit(Warp &warp, const Instr &instr) {
  bool done = allLanes(warp.active, [&](unsigned lane) {
    if (!runsIn(warp, instr, lane))
      return true;
    Word address = addressOf(warp, instr, lane);
    uint8_t *memory =
        warp.access(instr, lane, address, 8, 8, AccessKind::Write);
    if (!memory)
      return false;
    std::memset(memory, 0, 8);
    auto count = static_cast<uint32_t>(
        warp[operand(instr, Barriers::Number)].lane[lane]);
    if (count == 0 || count >= 1u << 20) {
      warp.fail(instr, lane,
                "expects 1 to 2^20 - 1 arrivals, got " + llvm::Twine(count));
      return false;
    }
    ThreadBlock &block = warp.block;
    auto agent = static_cast<unsigned>(block.warps.size() * warpSize);
    block.mbarriers[address] =
        MBarrier{agent + block.agents++, count, count, 0, 0, {}, {}};
    return true;
  });
  return done ? Outcome::Next : Outcome::Failed;
}

/// in: object, arrivals (1 if absent). out: the phase, as a token.
static Outcome runArrive(Warp &warp, const Instr &instr) {
  bool done = allLanes(warp.active, [&](unsigned lane) {
    MBarrier *barrier = find(warp, instr, lane);
    if (!barrier)
      return false;
    unsigned number = operand(instr, Barriers::Number);
    auto count =
        number == ~0u ? 1u : static_cast<uint32_t>(warp[number].lane[lane]);
    if (count > barrier->missing) {
      warp.fail(instr, lane,
                "arrives " + llvm::Twine(count) + " times where " +
                    llvm::Twine(barrier->missing) + " of " +
                    llvm::Twine(barrier->expected) +
                    " arrivals of the phase are missing");
      return false;
    }
    if (!instr.out.empty())
      warp[instr.out[0]].lane[lane] = barrier->phase;
    barrier->arriving =
        join(barrier->arriving, warp.block.clocks.release(warp.thread(lane)));
    barrier->missing -= count;
    advance(warp.block, *barrier);
    return true;
  });
  return done ? Outcome::Next : Outcome::Failed;
}

/// Arrives, and expects so many more bytes. in: object, bytes.
static Outcome runArriveExpect(Warp &warp, const Instr &instr) {
  bool done = allLanes(warp.active, [&](unsigned lane) {
    if (!runsIn(warp, instr, lane))
      return true;
    MBarrier *barrier = find(warp, instr, lane);
    if (!barrier)
      return false;
    if (barrier->missing == 0) {
      warp.fail(instr, lane, "arrives at a phase that all have arrived at");
      return false;
    }
    if (!instr.out.empty())
      warp[instr.out[0]].lane[lane] = barrier->phase;
    barrier->bytes += static_cast<uint32_t>(
        warp[operand(instr, Barriers::Number)].lane[lane]);
    barrier->arriving =
        join(barrier->arriving, warp.block.clocks.release(warp.thread(lane)));
    --barrier->missing;
    advance(warp.block, *barrier);
    return true;
  });
  return done ? Outcome::Next : Outcome::Failed;
}

static void acquire(Warp &warp, unsigned lane, const MBarrier &barrier) {
  warp.block.clocks.acquire(warp.thread(lane), barrier.completed);
}

/// Waits for the end of the phase of a parity. in: object, parity.
static Outcome runWaitParity(Warp &warp, const Instr &instr) {
  SmallVector<std::pair<unsigned, MBarrier *>> waited;
  bool ready = true;
  bool found = allLanes(warp.active, [&](unsigned lane) {
    MBarrier *barrier = find(warp, instr, lane);
    if (!barrier)
      return false;
    Word parity = warp[operand(instr, Barriers::Number)].lane[lane] & 1;
    ready &= (barrier->phase & 1) != parity;
    waited.push_back({lane, barrier});
    return true;
  });
  if (!found)
    return Outcome::Failed;
  if (!ready)
    return Outcome::Wait;
  for (auto [lane, barrier] : waited)
    acquire(warp, lane, *barrier);
  return Outcome::Next;
}

/// Whether a phase is over. in: object, token or parity. imm: after the parts,
/// whether it is a token.
static Outcome runTest(Warp &warp, const Instr &instr) {
  bool isToken = instr.imm[Barriers::Parts] != 0;
  bool all = true;
  bool done = allLanes(warp.active, [&](unsigned lane) {
    MBarrier *barrier = find(warp, instr, lane);
    if (!barrier)
      return false;
    Word given = warp[operand(instr, Barriers::Number)].lane[lane];
    bool over =
        isToken ? barrier->phase > given : (barrier->phase & 1) != (given & 1);
    warp[instr.out[0]].lane[lane] = over;
    all &= over;
    if (over)
      acquire(warp, lane, *barrier);
    return true;
  });
  warp.yields = !all;
  return done ? Outcome::Next : Outcome::Failed;
}

/// Decodes an op on an object with these operands, null where absent.
static Instr &emitOn(Decoder &decoder, Operation *op, RunInstr run,
                     Value object, Value index, Value number, Value predicate) {
  Instr &instr = decoder.emit(op, run);
  instr.in.clear();
  instr.imm.clear();
  for (Value value : {object, index, number, predicate}) {
    instr.imm.push_back(value ? static_cast<int64_t>(instr.in.size()) : -1);
    if (value)
      instr.in.push_back(decoder.reg(value));
  }
  return instr;
}

/// cp.async.bulk from global to shared memory. in: target, source, object,
/// size.
static Outcome runBulkCopy(Warp &warp, const Instr &instr) {
  bool done = allLanes(warp.active, [&](unsigned lane) {
    MBarrier *barrier = find(warp, instr, lane);
    if (!barrier)
      return false;
    Word to = warp[instr.in[2]].lane[lane], from = warp[instr.in[3]].lane[lane];
    auto size = static_cast<uint32_t>(
        warp[operand(instr, Barriers::Number)].lane[lane]);
    if (size == 0 || size % 16 != 0) {
      warp.fail(instr, lane,
                "expects to copy a multiple of 16 bytes, got " +
                    llvm::Twine(size));
      return false;
    }
    uint8_t *source =
        warp.access(instr, lane, from, size, 16, AccessKind::Read);
    uint8_t *target =
        source ? warp.access(instr, lane, to, size, 16, AccessKind::AsyncWrite)
               : nullptr;
    if (!target)
      return false;
    std::memcpy(target, source, size);
    // From now on only who has seen the phase end may touch the bytes.
    warp.complete({&instr, to, size, lane}, barrier->agent, barrier->phase + 1);
    barrier->bytes -= size;
    advance(warp.block, *barrier);
    return true;
  });
  return done ? Outcome::Next : Outcome::Failed;
}

static LogicalResult decodeBulkCopy(Decoder &decoder, Operation *op) {
  auto copy = cast<NVVM::CpAsyncBulkGlobalToSharedClusterOp>(op);
  if (copy.getMulticastMask())
    return unsupported(op, "bulk copies to several blocks");
  Instr &instr = emitOn(decoder, op, runBulkCopy, copy.getMbar(), nullptr,
                        copy.getSize(), nullptr);
  instr.in.push_back(decoder.reg(copy.getDstMem()));
  instr.in.push_back(decoder.reg(copy.getSrcMem()));
  return success();
}

/// nvgpu.mbarrier.create: objects of the block. imm: how many.
static Outcome runCreate(Warp &warp, const Instr &instr) {
  ThreadBlock &block = warp.block;
  Buffer *&group = block.mbarrierGroups[&instr];
  if (!group)
    group = &block.shared.allocate("mbarrier group", 8 * instr.imm[0], 8);
  forLanes(warp.active,
           [&](unsigned lane) { warp[instr.out[0]].lane[lane] = group->base; });
  return Outcome::Next;
}

static LogicalResult decodeCreate(Decoder &decoder, Operation *op) {
  auto create = cast<nvgpu::MBarrierCreateOp>(op);
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runCreate).imm = {
      create.getBarriers().getType().getNumBarriers()};
  return success();
}

/// in: group, index.
static Outcome runGet(Warp &warp, const Instr &instr) {
  forLanes(warp.active, [&](unsigned lane) {
    warp[instr.out[0]].lane[lane] =
        warp[instr.in[0]].lane[lane] + 8 * warp[instr.in[1]].lane[lane];
  });
  return Outcome::Next;
}

static LogicalResult decodeNvgpu(Decoder &decoder, Operation *op) {
  if (failed(defineResults(decoder, op)))
    return failure();
  if (auto init = dyn_cast<nvgpu::MBarrierInitOp>(op))
    emitOn(decoder, op, runInit, init.getBarriers(), init.getMbarId(),
           init.getCount(), init.getPredicate());
  if (auto arrive = dyn_cast<nvgpu::MBarrierArriveOp>(op))
    emitOn(decoder, op, runArrive, arrive.getBarriers(), arrive.getMbarId(),
           nullptr, nullptr);
  if (auto arrive = dyn_cast<nvgpu::MBarrierArriveExpectTxOp>(op))
    emitOn(decoder, op, runArriveExpect, arrive.getBarriers(),
           arrive.getMbarId(), arrive.getTxcount(), arrive.getPredicate());
  if (auto wait = dyn_cast<nvgpu::MBarrierTryWaitParityOp>(op))
    emitOn(decoder, op, runWaitParity, wait.getBarriers(), wait.getMbarId(),
           wait.getPhaseParity(), nullptr);
  if (auto test = dyn_cast<nvgpu::MBarrierTestWaitOp>(op))
    emitOn(decoder, op, runTest, test.getBarriers(), test.getMbarId(),
           test.getToken(), nullptr)
        .imm.push_back(true);
  return success();
}

static LogicalResult decodeNvvm(Decoder &decoder, Operation *op) {
  if (failed(defineResults(decoder, op)))
    return failure();
  if (auto init = dyn_cast<NVVM::MBarrierInitOp>(op))
    emitOn(decoder, op, runInit, init.getAddr(), nullptr, init.getCount(),
           init.getPredicate());
  if (auto arrive = dyn_cast<NVVM::MBarrierArriveOp>(op))
    emitOn(decoder, op, runArrive, arrive.getAddr(), nullptr, arrive.getCount(),
           nullptr);
  if (auto arrive = dyn_cast<NVVM::MBarrierArriveExpectTxOp>(op))
    emitOn(decoder, op, runArriveExpect, arrive.getAddr(), nullptr,
           arrive.getTxcount(), arrive.getPredicate());
  if (auto wait = dyn_cast<NVVM::MBarrierTryWaitParityOp>(op))
    emitOn(decoder, op, runWaitParity, wait.getAddr(), nullptr, wait.getPhase(),
           nullptr);
  auto test = [&](auto test) {
    bool isToken = test.getStateOrPhase().getType().isInteger(64);
    emitOn(decoder, op, runTest, test.getAddr(), nullptr,
           test.getStateOrPhase(), nullptr)
        .imm.push_back(isToken);
  };
  if (auto wait = dyn_cast<NVVM::MBarrierTryWaitOp>(op))
    test(wait);
  if (auto wait = dyn_cast<NVVM::MBarrierTestWaitOp>(op))
    test(wait);
  return success();
}

/// Fences after mbarrier.init: the barrier that must follow orders all.
static Outcome runFence(Warp &, const Instr &) { return Outcome::Next; }

void nibble::emulator::addBulkCopies(DecodeTable &table) {
  table.add<nvgpu::MBarrierCreateOp>(decodeCreate);
  table.add<nvgpu::MBarrierGetOp, runGet>();
  table.add<nvgpu::MBarrierInitOp, nvgpu::MBarrierArriveOp,
            nvgpu::MBarrierArriveExpectTxOp, nvgpu::MBarrierTryWaitParityOp,
            nvgpu::MBarrierTestWaitOp>(decodeNvgpu);
  table.add<NVVM::MBarrierInitOp, NVVM::MBarrierArriveOp,
            NVVM::MBarrierArriveExpectTxOp, NVVM::MBarrierTryWaitParityOp,
            NVVM::MBarrierTryWaitOp, NVVM::MBarrierTestWaitOp>(decodeNvvm);
  table.add<NVVM::CpAsyncBulkGlobalToSharedClusterOp>(decodeBulkCopy);
  table.add<NVVM::FenceMbarrierInitOp, runFence>();
}
