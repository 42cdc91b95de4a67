//===- AsyncCopies.cpp - cp.async -----------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each thread copies 4, 8 or 16 bytes from global to shared memory; copies
// belong to groups, which it waits for in their order. The bytes are there at
// once, but whoever touches them before the wait makes an error.
//
//===----------------------------------------------------------------------===//

#include "MemRefs.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"

#include <cstring>

using namespace mlir;
using namespace nibble::emulator;

/// One copy of `size` bytes, of which `read` come from memory; zeros follow.
static bool copy(Warp &warp, const Instr &instr, unsigned lane, Word to,
                 Word from, unsigned size, unsigned read) {
  if (Buffer *source = warp.block.find(from); source && source->shared) {
    warp.fail(instr, lane, "expects a source in global memory");
    return false;
  }
  uint8_t *source = nullptr;
  if (read != 0) {
    // The address must suit the whole copy, also where less is read.
    source = warp.access(instr, lane, from, read, size, AccessKind::Read);
    if (!source)
      return false;
  }
  uint8_t *target =
      warp.access(instr, lane, to, size, size, AccessKind::AsyncWrite);
  if (!target)
    return false;
  std::memset(target, 0, size);
  if (read != 0)
    std::memcpy(target, source, read);
  warp.copies[lane].open.push_back({&instr, to, size, lane});
  return true;
}

static bool checkSize(Warp &warp, const Instr &instr, unsigned lane,
                      uint64_t size, uint64_t read) {
  if (read <= size)
    return true;
  warp.fail(instr, lane,
            "reads " + llvm::Twine(read) + " bytes for a copy of " +
                llvm::Twine(size));
  return false;
}

/// in: target, its indices, source, its indices, [elements to read]. imm:
/// ranks, bytes of an element, elements, whether there is the last operand.
static Outcome runCopy(Warp &warp, const Instr &instr) {
  auto rankTo = static_cast<unsigned>(instr.imm[0]);
  auto rankFrom = static_cast<unsigned>(instr.imm[1]);
  auto bytes = static_cast<unsigned>(instr.imm[2]);
  auto elements = static_cast<unsigned>(instr.imm[3]);
  llvm::ArrayRef<unsigned> in(instr.in);
  MemRefView to{in[0], rankTo, bytes, in.slice(1, rankTo)};
  MemRefView from{in[1 + rankTo], rankFrom, bytes,
                  in.slice(2 + rankTo, rankFrom)};
  bool done = allLanes(warp.active, [&](unsigned lane) {
    Word read = instr.imm[4] ? warp[in.back()].lane[lane] : elements;
    if (!checkSize(warp, instr, lane, elements, read))
      return false;
    Word target, source = 0;
    if (!elementAddress(warp, instr, lane, to, elements, target))
      return false;
    if (read != 0 && !elementAddress(warp, instr, lane, from,
                                     static_cast<unsigned>(read), source))
      return false;
    return copy(warp, instr, lane, target, source, elements * bytes,
                static_cast<unsigned>(read) * bytes);
  });
  return done ? Outcome::Next : Outcome::Failed;
}

static LogicalResult decodeCopy(Decoder &decoder, Operation *op) {
  auto copy = cast<nvgpu::DeviceAsyncCopyOp>(op);
  auto to = cast<MemRefType>(copy.getDst().getType());
  auto from = cast<MemRefType>(copy.getSrc().getType());
  int64_t bytes = elementBytes(to.getElementType());
  int64_t elements = copy.getDstElements().getSExtValue();
  int64_t size = bytes * elements;
  if (size != 4 && size != 8 && size != 16)
    return op->emitError("expects a copy of 4, 8 or 16 bytes, got ") << size;
  if (failed(checkElement(op, to)) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runCopy).imm = {to.getRank(), from.getRank(), bytes,
                                   elements, copy.getSrcElements() != nullptr};
  return success();
}

/// in: target, source, [bytes to read]. imm: size.
static Outcome runCopyAt(Warp &warp, const Instr &instr) {
  auto size = static_cast<unsigned>(instr.imm[0]);
  bool done = allLanes(warp.active, [&](unsigned lane) {
    Word read = instr.in.size() > 2 ? warp[instr.in[2]].lane[lane] : size;
    return checkSize(warp, instr, lane, size, read) &&
           copy(warp, instr, lane, warp[instr.in[0]].lane[lane],
                warp[instr.in[1]].lane[lane], size,
                static_cast<unsigned>(read));
  });
  return done ? Outcome::Next : Outcome::Failed;
}

static LogicalResult decodeCopyAt(Decoder &decoder, Operation *op) {
  decoder.emit(op, runCopyAt).imm = {cast<NVVM::CpAsyncOp>(op).getSize()};
  return success();
}

static Outcome runCommit(Warp &warp, const Instr &) {
  forLanes(warp.active, [&](unsigned lane) { warp.copies[lane].commit(); });
  return Outcome::Next;
}

static LogicalResult decodeCommit(Decoder &decoder, Operation *op) {
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runCommit);
  return success();
}

/// imm: groups that may still run.
static Outcome runWait(Warp &warp, const Instr &instr) {
  auto left = static_cast<size_t>(instr.imm[0]);
  forLanes(warp.active, [&](unsigned lane) {
    unsigned thread = warp.thread(lane);
    std::deque<std::vector<AsyncRange>> &groups = warp.copies[lane].committed;
    for (; groups.size() > left; groups.pop_front())
      for (const AsyncRange &range : groups.front())
        warp.complete(range, thread, warp.block.clocks.now(thread));
  });
  return Outcome::Next;
}

static LogicalResult decodeWait(Decoder &decoder, Operation *op) {
  int64_t left = 0;
  if (auto wait = dyn_cast<nvgpu::DeviceAsyncWaitOp>(op))
    left = wait.getNumGroups().value_or(0);
  else
    left = cast<NVVM::CpAsyncWaitGroupOp>(op).getN();
  decoder.emit(op, runWait).imm = {left};
  return success();
}

void nibble::emulator::addAsyncCopies(DecodeTable &table) {
  table.add<nvgpu::DeviceAsyncCopyOp>(decodeCopy);
  table.add<NVVM::CpAsyncOp>(decodeCopyAt);
  table.add<nvgpu::DeviceAsyncCreateGroupOp, NVVM::CpAsyncCommitGroupOp>(
      decodeCommit);
  table.add<nvgpu::DeviceAsyncWaitOp, NVVM::CpAsyncWaitGroupOp>(decodeWait);
}
