//===- Pointers.cpp - Pointers and structs of llvm ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// As much of llvm as ops of nvvm ask for, which take pointers and give structs,
// and as kernels on pointers do.
//
//===----------------------------------------------------------------------===//

#include "MemRefs.h"
#include "Warp.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace nibble::emulator;

static LogicalResult decodeSame(Decoder &decoder, Operation *op) {
  decoder.alias(op->getResult(0), decoder.reg(op->getOperand(0)));
  return success();
}

static FailureOr<int64_t> bytesOf(Type type) {
  Type element = getElementTypeOrSelf(type);
  if (isa<LLVM::LLVMPointerType>(element))
    return 8;
  if (!element.isIntOrFloat() || element.getIntOrFloatBitWidth() % 8 != 0)
    return failure();
  return element.getIntOrFloatBitWidth() / 8;
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

/// in: pointer, dynamic indices. imm: bytes of an element, the constant index.
static Outcome runOffset(Warp &warp, const Instr &instr) {
  forLanes(warp.active, [&](unsigned lane) {
    auto index = instr.in.size() > 1
                     ? static_cast<int64_t>(warp[instr.in[1]].lane[lane]
                                            << (64 - instr.imm[2])) >>
                           (64 - instr.imm[2])
                     : instr.imm[1];
    warp[instr.out[0]].lane[lane] =
        warp[instr.in[0]].lane[lane] + static_cast<Word>(index * instr.imm[0]);
  });
  return Outcome::Next;
}

static LogicalResult decodeOffset(Decoder &decoder, Operation *op) {
  auto offset = cast<LLVM::GEPOp>(op);
  FailureOr<int64_t> bytes = bytesOf(offset.getElemType());
  bool isVector = isa<VectorType>(offset.getElemType());
  if (failed(bytes) || isVector || offset.getIndices().size() != 1)
    return unsupported(op, "llvm.getelementptr into other than numbers");
  if (failed(defineResults(decoder, op)))
    return failure();
  int64_t index = 0, width = 64;
  if (auto constant = dyn_cast<IntegerAttr>(offset.getIndices()[0]))
    index = constant.getInt();
  else
    width =
        cast<Value>(offset.getIndices()[0]).getType().getIntOrFloatBitWidth();
  decoder.emit(op, runOffset).imm = {*bytes, index, width};
  return success();
}

/// in: [value,] pointer. imm: bytes of an element, alignment.
template <bool isStore>
static Outcome runAccess(Warp &warp, const Instr &instr) {
  bool done = allLanes(warp.active, [&](unsigned lane) {
    return warp.move(instr, lane, warp[instr.in[isStore]].lane[lane],
                     isStore ? instr.in[0] : instr.out[0], instr.count,
                     instr.imm[0], instr.imm[1],
                     isStore ? AccessKind::Write : AccessKind::Read);
  });
  return done ? Outcome::Next : Outcome::Failed;
}

template <bool isStore>
static LogicalResult decodeAccess(Decoder &decoder, Operation *op) {
  Type type =
      isStore ? op->getOperand(0).getType() : op->getResult(0).getType();
  FailureOr<int64_t> bytes = bytesOf(type);
  if (failed(bytes))
    return unsupported(op, "values of this type in memory");
  if (failed(defineResults(decoder, op)))
    return failure();
  Instr &instr = decoder.emit(op, isStore ? runAccess<true> : runAccess<false>);
  auto alignment = op->getAttrOfType<IntegerAttr>("alignment");
  // Without a word about it LLVM takes the size of the whole for granted.
  int64_t natural =
      static_cast<int64_t>(llvm::PowerOf2Ceil(*bytes * instr.count));
  instr.imm = {*bytes, alignment ? alignment.getInt() : natural};
  return success();
}

/// Private memory for each lane. in: how many elements. imm: bytes of one,
/// alignment.
static Outcome runAlloca(Warp &warp, const Instr &instr) {
  bool done = allLanes(warp.active, [&](unsigned lane) {
    Word count = warp[instr.in[0]].lane[lane];
    constexpr Word most = 512 * 1024;
    if (count > most / instr.imm[0]) {
      warp.fail(instr, lane,
                "allocates " + llvm::Twine(count) + " elements of " +
                    llvm::Twine(instr.imm[0]) +
                    " bytes; a thread has at most " + llvm::Twine(most) +
                    " bytes of private memory");
      return false;
    }
    Buffer &buffer = warp.block.privates.allocate(
        "private memory", count * instr.imm[0], instr.imm[1]);
    buffer.owner = warp.thread(lane);
    warp[instr.out[0]].lane[lane] = buffer.base;
    return true;
  });
  return done ? Outcome::Next : Outcome::Failed;
}

static LogicalResult decodeAlloca(Decoder &decoder, Operation *op) {
  auto alloca = cast<LLVM::AllocaOp>(op);
  FailureOr<int64_t> bytes = bytesOf(alloca.getElemType());
  if (failed(bytes) || isa<VectorType>(alloca.getElemType()))
    return unsupported(op, "llvm.alloca of other than numbers");
  if (failed(defineResults(decoder, op)))
    return failure();
  int64_t alignment = static_cast<int64_t>(alloca.getAlignment().value_or(0));
  decoder.emit(op, runAlloca).imm = {*bytes, alignment ? alignment : *bytes};
  return success();
}

/// A constant of the module.
static Outcome runAddressOf(Warp &warp, const Instr &instr) {
  auto address = cast<LLVM::AddressOfOp>(instr.op);
  auto global = SymbolTable::lookupNearestSymbolFrom<LLVM::GlobalOp>(
      address, address.getGlobalNameAttr());
  auto array = cast<LLVM::LLVMArrayType>(global.getType());
  Buffer &buffer = globalBuffer(
      warp.block.machine, global,
      dyn_cast_if_present<DenseElementsAttr>(global.getValueOrNull()),
      array.getNumElements(), static_cast<unsigned>(instr.imm[0]));
  forLanes(warp.active,
           [&](unsigned lane) { warp[instr.out[0]].lane[lane] = buffer.base; });
  return Outcome::Next;
}

static LogicalResult decodeAddressOf(Decoder &decoder, Operation *op) {
  auto address = cast<LLVM::AddressOfOp>(op);
  auto global = SymbolTable::lookupNearestSymbolFrom<LLVM::GlobalOp>(
      address, address.getGlobalNameAttr());
  auto array = global ? dyn_cast<LLVM::LLVMArrayType>(global.getType())
                      : LLVM::LLVMArrayType();
  FailureOr<int64_t> bytes =
      array ? bytesOf(array.getElementType()) : FailureOr<int64_t>(failure());
  if (failed(bytes) || global.getInitializerBlock())
    return unsupported(op, "globals other than arrays of numbers");
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runAddressOf).imm = {*bytes};
  return success();
}

//===----------------------------------------------------------------------===//
// Structs
//===----------------------------------------------------------------------===//

/// The first register of a field, from that of the struct on.
static FailureOr<unsigned> fieldOf(Type type, ArrayRef<int64_t> position,
                                   Location loc) {
  unsigned offset = 0;
  for (int64_t index : position) {
    auto record = dyn_cast<LLVM::LLVMStructType>(type);
    if (!record)
      return failure();
    for (int64_t i = 0; i < index; ++i)
      offset += *Decoder::words(record.getBody()[i], loc);
    type = record.getBody()[index];
  }
  return offset;
}

static LogicalResult decodeExtract(Decoder &decoder, Operation *op) {
  auto extract = cast<LLVM::ExtractValueOp>(op);
  Value record = extract.getContainer();
  FailureOr<unsigned> field =
      fieldOf(record.getType(), extract.getPosition(), op->getLoc());
  if (failed(field))
    return unsupported(op, "llvm.extractvalue of other than structs");
  decoder.alias(extract.getResult(), decoder.reg(record) + *field);
  return success();
}

static LogicalResult decodeInsert(Decoder &decoder, Operation *op) {
  auto insert = cast<LLVM::InsertValueOp>(op);
  FailureOr<unsigned> field = fieldOf(insert.getContainer().getType(),
                                      insert.getPosition(), op->getLoc());
  if (failed(field))
    return unsupported(op, "llvm.insertvalue into other than structs");
  if (failed(defineResults(decoder, op)))
    return failure();
  // The whole first, then the field over it.
  decoder.emitMove(op, insert.getContainer(), insert.getRes());
  Instr &instr = decoder.emit(op, [](Warp &warp, const Instr &instr) {
    for (unsigned i = 0; i < instr.count; ++i)
      forLanes(warp.active, [&](unsigned lane) {
        warp[instr.out[0] + i].lane[lane] = warp[instr.in[0] + i].lane[lane];
      });
    return Outcome::Next;
  });
  instr.in = {decoder.reg(insert.getValue())};
  instr.out = {decoder.reg(insert.getRes()) + *field};
  instr.count = decoder.words(insert.getValue());
  return success();
}

void nibble::emulator::addPointers(DecodeTable &table) {
  table.add<LLVM::IntToPtrOp, LLVM::PtrToIntOp, LLVM::AddrSpaceCastOp>(
      decodeSame);
  table.add<LLVM::GEPOp>(decodeOffset);
  table.add<LLVM::AllocaOp>(decodeAlloca);
  table.add<LLVM::AddressOfOp>(decodeAddressOf);
  table.add<LLVM::LoadOp>(decodeAccess<false>);
  table.add<LLVM::StoreOp>(decodeAccess<true>);
  table.add<LLVM::ExtractValueOp>(decodeExtract);
  table.add<LLVM::InsertValueOp>(decodeInsert);
}
