//===- Machine.cpp - Host code and launches -------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Host code runs like a kernel of one thread that nothing races with.
//
//===----------------------------------------------------------------------===//

#include "Warp.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/BuiltinTypes.h"

#include <cstring>

using namespace mlir;
using namespace nibble::emulator;

const Program *Machine::program(FunctionOpInterface function) {
  std::unique_ptr<Program> &known = programs[function];
  if (!known) {
    auto program = std::make_unique<Program>();
    if (failed(Decoder(*program).decode(function)))
      return nullptr;
    known = std::move(program);
  }
  return known.get();
}

/// Gives the arguments of a function, from its first register on, to all lanes.
static void setArguments(ThreadBlock &block, ArrayRef<Word> arguments) {
  for (Warp &warp : block.warps)
    for (auto [i, word] : llvm::enumerate(arguments))
      std::fill_n(warp[static_cast<unsigned>(i)].lane, warpSize, word);
}

LogicalResult Machine::runHost(FunctionOpInterface function,
                               ArrayRef<Word> arguments) {
  const Program *host = program(function);
  if (!host)
    return failure();
  ThreadBlock block(*this, *host, {}, {}, {0, 0, 0}, 0);
  setArguments(block, arguments);
  return block.run();
}

LogicalResult Machine::launch(const Program &program, Dim3 grid, Dim3 size,
                              uint32_t dynamicShared, ArrayRef<Word> arguments,
                              Location loc) {
  if (size.count() == 0 || size.count() > 1024 || grid.count() == 0)
    return emitError(loc, "expects at least one block, and 1 to 1024 threads "
                          "in it, got ")
           << grid.count() << " and " << size.count();
  auto kernel = cast<gpu::GPUFuncOp>(program.function);
  auto known = [](std::optional<ArrayRef<int32_t>> sizes, Dim3 given) {
    return !sizes ||
           (*sizes == ArrayRef<int32_t>{int32_t(given.x), int32_t(given.y),
                                        int32_t(given.z)});
  };
  if (!known(kernel.getKnownBlockSize(), size) ||
      !known(kernel.getKnownGridSize(), grid))
    return emitError(loc, "launches a kernel with another size than its "
                          "known_block_size and known_grid_size");
  firstBlock = blocks + 1;
  for (uint32_t z = 0; z < grid.z; ++z)
    for (uint32_t y = 0; y < grid.y; ++y)
      for (uint32_t x = 0; x < grid.x; ++x) {
        ThreadBlock block(*this, program, grid, size, {x, y, z}, dynamicShared);
        setArguments(block, arguments);
        if (failed(block.placeShared()) || failed(block.run()))
          return failure();
      }
  return success();
}

//===----------------------------------------------------------------------===//
// Ops of the host
//===----------------------------------------------------------------------===//

/// in: grid, block, [bytes of shared memory], arguments. imm: whether there is
/// the former.
static Outcome runLaunch(Warp &warp, const Instr &instr) {
  auto launch = cast<gpu::LaunchFuncOp>(instr.op);
  Machine &machine = warp.block.machine;
  auto kernel = dyn_cast_or_null<gpu::GPUFuncOp>(
      SymbolTable::lookupNearestSymbolFrom(launch, launch.getKernelAttr()));
  if (!kernel)
    return warp.fail(instr, 0, "launches what is no gpu.func");
  const Program *program = machine.program(kernel);
  if (!program)
    return Outcome::Failed;
  auto word = [&](size_t i) { return warp[instr.in[i]].lane[0]; };
  auto size = [&](size_t i) {
    return Dim3{static_cast<uint32_t>(word(i)),
                static_cast<uint32_t>(word(i + 1)),
                static_cast<uint32_t>(word(i + 2))};
  };
  SmallVector<Word> arguments;
  size_t next = 6;
  uint32_t shared = instr.imm[0] ? static_cast<uint32_t>(word(next++)) : 0;
  for (Value operand : launch.getKernelOperands()) {
    unsigned words = *Decoder::words(operand.getType(), operand.getLoc());
    for (unsigned i = 0; i < words; ++i)
      arguments.push_back(warp[instr.in[next] + i].lane[0]);
    ++next;
  }
  uint32_t hostFirst = machine.firstBlock;
  LogicalResult ran = machine.launch(*program, size(0), size(3), shared,
                                     arguments, launch.getLoc());
  machine.firstBlock = hostFirst;
  return succeeded(ran) ? Outcome::Next : Outcome::Failed;
}

static LogicalResult decodeLaunch(Decoder &decoder, Operation *op) {
  auto launch = cast<gpu::LaunchFuncOp>(op);
  if (launch.hasClusterSize() || launch.getAsyncToken() ||
      !launch.getAsyncDependencies().empty() || launch.getAsyncObject())
    return unsupported(op, "launches of clusters, or with async tokens");
  decoder.emit(op, runLaunch).imm = {launch.getDynamicSharedMemorySize() !=
                                     nullptr};
  return success();
}

/// Dense memrefs of the same size. in: the operands. imm: which is the source,
/// which the target, bytes.
static Outcome runCopy(Warp &warp, const Instr &instr) {
  auto bytes = static_cast<unsigned>(instr.imm[2]);
  Word from = warp[instr.in[instr.imm[0]]].lane[0];
  Word to = warp[instr.in[instr.imm[1]]].lane[0];
  uint8_t *source = warp.access(instr, 0, from, bytes, 1, AccessKind::Read);
  uint8_t *target =
      source ? warp.access(instr, 0, to, bytes, 1, AccessKind::Write) : nullptr;
  if (!target)
    return Outcome::Failed;
  std::memmove(target, source, bytes);
  return Outcome::Next;
}

static LogicalResult decodeCopy(Decoder &decoder, Operation *op) {
  bool isGpu = isa<gpu::MemcpyOp>(op);
  auto type = cast<MemRefType>(op->getOperand(0).getType());
  if (!type.hasStaticShape() || !type.getLayout().isIdentity() ||
      op->getNumResults() != 0 || op->getNumOperands() != 2 ||
      !type.getElementType().isIntOrFloat())
    return unsupported(op, "copies of memrefs that are not dense and static");
  // memref.copy names the source first, gpu.memcpy the target.
  decoder.emit(op, runCopy).imm = {
      isGpu, !isGpu,
      type.getNumElements() *
          int64_t(type.getElementType().getIntOrFloatBitWidth()) / 8};
  return success();
}

static LogicalResult decodeNothing(Decoder &, Operation *op) {
  if (op->getNumResults() != 0)
    return unsupported(op, "async tokens");
  return success();
}

void nibble::emulator::addHost(DecodeTable &table) {
  table.add<gpu::LaunchFuncOp>(decodeLaunch);
  table.add<memref::CopyOp, gpu::MemcpyOp>(decodeCopy);
  table.add<gpu::WaitOp>(decodeNothing);
}
