//===- Decode.cpp - Values to registers, ops to instructions --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Program.h"

#include "mlir/Dialect/LLVMIR/LLVMTypes.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/IR/BuiltinTypes.h"

using namespace mlir;
using namespace nibble::emulator;

const DecodeTable &DecodeTable::get() {
  static const DecodeTable table = [] {
    DecodeTable result;
    addControlFlow(result);
    addIntegers(result);
    addFloats(result);
    addVectors(result);
    addMemRefs(result);
    addPointers(result);
    addThreads(result);
    addTensorCores(result);
    addWarpgroups(result);
    addAsyncCopies(result);
    addBulkCopies(result);
    addHost(result);
    return result;
  }();
  return table;
}

LogicalResult nibble::emulator::unsupported(Operation *op,
                                            const llvm::Twine &what) {
  return op->emitError("the emulator does not know ")
         << what << "; docs/EmulatingGpuKernels.md lists what it runs";
}

LogicalResult nibble::emulator::defineResults(Decoder &decoder, Operation *op) {
  for (Value result : op->getResults())
    if (failed(decoder.define(result)))
      return failure();
  return success();
}

FailureOr<unsigned> Decoder::words(Type type, Location loc) {
  if (auto number = dyn_cast<IntegerType>(type);
      number && number.getWidth() <= 64)
    return 1u;
  if (isa<IndexType, Float16Type, BFloat16Type, Float32Type, Float64Type,
          LLVM::LLVMPointerType, nvgpu::DeviceAsyncTokenType,
          nvgpu::MBarrierGroupType, nvgpu::MBarrierTokenType>(type))
    return 1u;
  if (auto vector = dyn_cast<VectorType>(type);
      vector && !vector.isScalable() &&
      succeeded(words(vector.getElementType(), loc)))
    return static_cast<unsigned>(vector.getNumElements());
  if (auto memref = dyn_cast<MemRefType>(type))
    return static_cast<unsigned>(1 + 2 * memref.getRank());
  if (auto record = dyn_cast<LLVM::LLVMStructType>(type);
      record && !record.isOpaque()) {
    unsigned sum = 0;
    for (Type part : record.getBody()) {
      FailureOr<unsigned> count = words(part, loc);
      if (failed(count))
        return failure();
      sum += *count;
    }
    return sum;
  }
  return emitError(loc, "the emulator has no values of type ") << type;
}

unsigned Decoder::allocate(unsigned count) {
  unsigned first = program.registers;
  program.registers += count;
  return first;
}

LogicalResult Decoder::define(Value value) {
  FailureOr<unsigned> count = words(value.getType(), value.getLoc());
  if (failed(count))
    return failure();
  values[value] = allocate(*count);
  return success();
}

Instr &Decoder::emit(Operation *op, RunInstr run) {
  Instr &instr = program.code.emplace_back();
  instr.run = run;
  instr.op = op;
  for (Value operand : op->getOperands())
    instr.in.push_back(reg(operand));
  for (Value result : op->getResults())
    instr.out.push_back(reg(result));
  if (op->getNumResults() != 0)
    instr.count = words(op->getResult(0));
  else if (op->getNumOperands() != 0)
    instr.count = words(op->getOperand(0));
  return instr;
}

LogicalResult Decoder::decode(FunctionOpInterface function) {
  Region &body = function.getFunctionBody();
  program.function = function;
  if (!body.hasOneBlock())
    return function.emitError("expects one block with structured control flow "
                              "(scf), got ")
           << body.getBlocks().size() << " blocks";
  for (BlockArgument argument : body.getArguments()) {
    if (failed(define(argument)))
      return failure();
    program.arguments.push_back(reg(argument));
  }
  return decodeBlock(body.front());
}

LogicalResult Decoder::decodeBlock(Block &block) {
  for (Operation &op : block) {
    DecodeOp decode = DecodeTable::get().find(op.getName().getStringRef());
    if (!decode)
      return unsupported(&op, op.getName().getStringRef());
    if (failed(decode(*this, &op)))
      return failure();
  }
  return success();
}
