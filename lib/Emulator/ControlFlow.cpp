//===- ControlFlow.cpp - Branches and loops under masks -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Lanes that take another way wait, masked, where the ways meet again. A frame
// of the warp has the mask to restore there.
//
//===----------------------------------------------------------------------===//

#include "Warp.h"

#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace nibble::emulator;

/// Copies in[i] to out[i], all at once.
static Outcome runMove(Warp &warp, const Instr &instr) {
  llvm::SmallVector<Register, 4> held;
  bool overlaps = instr.imm[0];
  if (overlaps)
    for (unsigned in : instr.in)
      held.push_back(warp[in]);
  for (size_t i = 0; i < instr.in.size(); ++i) {
    const Register &from = overlaps ? held[i] : warp[instr.in[i]];
    Register &to = warp[instr.out[i]];
    forLanes(warp.active,
             [&](unsigned lane) { to.lane[lane] = from.lane[lane]; });
  }
  // What a wgmma still writes it writes under the new name as well.
  for (std::vector<unsigned> &group : warp.pendingResults)
    for (size_t i = 0; i < instr.in.size(); ++i)
      if (llvm::is_contained(group, instr.in[i]))
        group.push_back(instr.out[i]);
  return Outcome::Next;
}

void Decoder::emitMove(Operation *op, ValueRange from, ValueRange to) {
  Instr move;
  move.run = runMove;
  move.op = op;
  move.forwards = true;
  for (auto [source, target] : llvm::zip_equal(from, to))
    for (unsigned i = 0, e = words(source); i < e; ++i) {
      move.in.push_back(reg(source) + i);
      move.out.push_back(reg(target) + i);
    }
  bool overlaps = llvm::any_of(
      move.in, [&](unsigned in) { return llvm::is_contained(move.out, in); });
  move.imm = {overlaps};
  if (!move.in.empty())
    program.code.push_back(std::move(move));
}

static LaneMask lanesWhere(Warp &warp, unsigned reg) {
  LaneMask mask = 0;
  const Register &condition = warp[reg];
  forLanes(warp.active, [&](unsigned lane) {
    if (condition.lane[lane] & 1)
      mask |= LaneMask(1) << lane;
  });
  return mask;
}

/// imm: where the other side begins.
static Outcome runIf(Warp &warp, const Instr &instr) {
  LaneMask taken = lanesWhere(warp, instr.in[0]);
  warp.frames.push_back({warp.active, warp.active & ~taken});
  warp.active = taken;
  if (!taken)
    warp.pc = instr.imm[0];
  return Outcome::Next;
}

/// imm: where both sides meet.
static Outcome runElse(Warp &warp, const Instr &instr) {
  warp.active = warp.frames.back().other;
  if (!warp.active)
    warp.pc = instr.imm[0];
  return Outcome::Next;
}

static Outcome runJoin(Warp &warp, const Instr &) {
  warp.active = warp.frames.pop_back_val().saved;
  return Outcome::Next;
}

static Outcome runEnter(Warp &warp, const Instr &) {
  warp.frames.push_back({warp.active, 0});
  return Outcome::Next;
}

static Outcome runJump(Warp &warp, const Instr &instr) {
  warp.pc = instr.imm[0];
  return Outcome::Next;
}

/// Lanes whose condition is false leave the loop. imm: its end.
static Outcome runContinue(Warp &warp, const Instr &instr) {
  warp.active = lanesWhere(warp, instr.in[0]);
  if (!warp.active)
    warp.pc = instr.imm[0];
  return Outcome::Next;
}

/// The same for `in[0] < in[1]`; imm: the end, the width.
static Outcome runForTest(Warp &warp, const Instr &instr) {
  const Register &index = warp[instr.in[0]], &bound = warp[instr.in[1]];
  unsigned shift = 64 - instr.imm[1];
  LaneMask mask = 0;
  forLanes(warp.active, [&](unsigned lane) {
    if (static_cast<int64_t>(index.lane[lane] << shift) <
        static_cast<int64_t>(bound.lane[lane] << shift))
      mask |= LaneMask(1) << lane;
  });
  warp.active = mask;
  if (!mask)
    warp.pc = instr.imm[0];
  return Outcome::Next;
}

static Outcome runForStep(Warp &warp, const Instr &instr) {
  const Register &step = warp[instr.in[0]];
  Register &index = warp[instr.out[0]];
  Word mask = ~Word(0) >> (64 - instr.imm[1]);
  forLanes(warp.active, [&](unsigned lane) {
    index.lane[lane] = (index.lane[lane] + step.lane[lane]) & mask;
  });
  warp.pc = instr.imm[0];
  return Outcome::Next;
}

static Outcome runEnd(Warp &warp, const Instr &instr) {
  if (!warp.products.open.empty() || !warp.products.committed.empty())
    return warp.fail(instr, 0,
                     "ends while a wgmma is still running; wait for "
                     "its group with nvvm.wgmma.wait.group first");
  warp.ended = true;
  ++warp.block.progress;
  return Outcome::End;
}

static Outcome runAssert(Warp &warp, const Instr &instr) {
  LaneMask wrong = warp.active & ~lanesWhere(warp, instr.in[0]);
  if (!wrong)
    return Outcome::Next;
  return warp.fail(instr, __builtin_ctz(wrong),
                   "assertion failed: " +
                       cast<cf::AssertOp>(instr.op).getMsg());
}

/// An instruction that the op needs besides its own.
static size_t emitRaw(Decoder &decoder, Operation *op, RunInstr run) {
  Instr &instr = decoder.emit(op, run);
  instr.in.clear();
  instr.out.clear();
  return decoder.position() - 1;
}

static int64_t here(Decoder &decoder) {
  return static_cast<int64_t>(decoder.position());
}

static LogicalResult decodeIf(Decoder &decoder, Operation *op) {
  auto branch = cast<scf::IfOp>(op);
  if (failed(defineResults(decoder, op)))
    return failure();
  size_t test = emitRaw(decoder, op, runIf);
  decoder.at(test).in = {decoder.reg(branch.getCondition())};
  if (failed(decoder.decodeBlock(*branch.thenBlock())))
    return failure();
  size_t other = emitRaw(decoder, op, runElse);
  decoder.at(test).imm = {static_cast<int64_t>(other)};
  if (branch.elseBlock() && failed(decoder.decodeBlock(*branch.elseBlock())))
    return failure();
  decoder.at(other).imm = {here(decoder)};
  emitRaw(decoder, op, runJoin);
  return success();
}

static LogicalResult decodeFor(Decoder &decoder, Operation *op) {
  auto loop = cast<scf::ForOp>(op);
  if (loop.getUnsignedCmp())
    return unsupported(op, "loops that compare unsigned");
  for (Value argument : loop.getBody()->getArguments())
    if (failed(decoder.define(argument)))
      return failure();
  // A lane that leaves keeps its last values, which are the results.
  for (auto [result, argument] :
       llvm::zip_equal(loop.getResults(), loop.getRegionIterArgs()))
    decoder.alias(result, decoder.reg(argument));
  decoder.emitMove(op, loop.getInitArgs(), loop.getRegionIterArgs());
  decoder.emitMove(op, loop.getLowerBound(), loop.getInductionVar());
  emitRaw(decoder, op, runEnter);
  Type type = loop.getInductionVar().getType();
  int64_t width = type.isIndex() ? 64 : type.getIntOrFloatBitWidth();
  size_t test = emitRaw(decoder, op, runForTest);
  decoder.at(test).in = {decoder.reg(loop.getInductionVar()),
                         decoder.reg(loop.getUpperBound())};
  if (failed(decoder.decodeBlock(*loop.getBody())))
    return failure();
  size_t step = emitRaw(decoder, op, runForStep);
  decoder.at(step).in = {decoder.reg(loop.getStep())};
  decoder.at(step).out = {decoder.reg(loop.getInductionVar())};
  decoder.at(step).imm = {static_cast<int64_t>(test), width};
  decoder.at(test).imm = {here(decoder), width};
  emitRaw(decoder, op, runJoin);
  return success();
}

static LogicalResult decodeWhile(Decoder &decoder, Operation *op) {
  auto loop = cast<scf::WhileOp>(op);
  if (failed(defineResults(decoder, op)))
    return failure();
  for (Block *body : {loop.getBeforeBody(), loop.getAfterBody()})
    for (Value argument : body->getArguments())
      if (failed(decoder.define(argument)))
        return failure();
  decoder.emitMove(op, loop.getInits(), loop.getBeforeArguments());
  emitRaw(decoder, op, runEnter);
  int64_t begin = here(decoder);
  if (failed(decoder.decodeBlock(*loop.getBeforeBody())))
    return failure();
  scf::ConditionOp condition = loop.getConditionOp();
  // For the lanes that leave; the others write their results again.
  decoder.emitMove(op, condition.getArgs(), loop.getResults());
  decoder.emitMove(op, condition.getArgs(), loop.getAfterArguments());
  size_t test = emitRaw(decoder, op, runContinue);
  decoder.at(test).in = {decoder.reg(condition.getCondition())};
  if (failed(decoder.decodeBlock(*loop.getAfterBody())))
    return failure();
  size_t jump = emitRaw(decoder, op, runJump);
  decoder.at(jump).imm = {begin};
  decoder.at(test).imm = {here(decoder)};
  emitRaw(decoder, op, runJoin);
  return success();
}

static LogicalResult decodeYield(Decoder &decoder, Operation *op) {
  Operation *parent = op->getParentOp();
  if (auto loop = dyn_cast<scf::ForOp>(parent))
    decoder.emitMove(op, op->getOperands(), loop.getRegionIterArgs());
  else if (auto loop = dyn_cast<scf::WhileOp>(parent))
    decoder.emitMove(op, op->getOperands(), loop.getBeforeArguments());
  else
    decoder.emitMove(op, op->getOperands(), parent->getResults());
  return success();
}

/// Its loop does the work.
static LogicalResult decodeNothing(Decoder &, Operation *) { return success(); }

void nibble::emulator::addControlFlow(DecodeTable &table) {
  table.add<scf::IfOp>(decodeIf);
  table.add<scf::ForOp>(decodeFor);
  table.add<scf::WhileOp>(decodeWhile);
  table.add<scf::YieldOp>(decodeYield);
  table.add<scf::ConditionOp>(decodeNothing);
  table.add<cf::AssertOp, runAssert>();
  table.add<gpu::ReturnOp, runEnd>();
  table.add<func::ReturnOp, runEnd>();
}
