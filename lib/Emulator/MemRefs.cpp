//===- MemRefs.cpp - Views of memory, loads and stores --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A memref is the address of its first element, its sizes and its strides in
// elements. Each index must be inside of its dimension: the buffer's end alone
// would let an index run into the next row.
//
//===----------------------------------------------------------------------===//

#include "MemRefs.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <cstring>

using namespace mlir;
using namespace nibble::emulator;

unsigned nibble::emulator::elementBytes(Type type) {
  if (type.isIndex())
    return 8;
  return std::max(1u, type.getIntOrFloatBitWidth() / 8);
}

LogicalResult nibble::emulator::checkElement(Operation *op, MemRefType type) {
  Type element = type.getElementType();
  if (element.isIndex() ||
      (element.isIntOrFloat() &&
       (element.getIntOrFloatBitWidth() % 8 == 0 || element.isInteger(1))))
    return success();
  return unsupported(op, "memrefs of this element type");
}

bool nibble::emulator::elementAddress(Warp &warp, const Instr &instr,
                                      unsigned lane, MemRefView view,
                                      unsigned extent, Word &address) {
  address = warp[view.reg].lane[lane];
  for (unsigned d = 0; d < view.rank; ++d) {
    auto index = static_cast<int64_t>(warp[view.indices[d]].lane[lane]);
    auto size = static_cast<int64_t>(warp[view.reg + 1 + d].lane[lane]);
    auto stride =
        static_cast<int64_t>(warp[view.reg + 1 + view.rank + d].lane[lane]);
    unsigned taken = d + 1 == view.rank ? extent : 1;
    if (index < 0 || index + taken > size) {
      std::string range = taken == 1
                              ? "index " + std::to_string(index)
                              : "indices " + std::to_string(index) + " to " +
                                    std::to_string(index + taken - 1);
      warp.fail(instr, lane,
                range + " of dimension " + llvm::Twine(d) +
                    " is out of bounds: it has size " + llvm::Twine(size));
      return false;
    }
    address += static_cast<Word>(index * stride * int64_t(view.bytes));
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Loads and stores
//===----------------------------------------------------------------------===//

/// in: [stored value,] memref, indices. imm: bytes of an element, alignment,
/// rank.
template <bool isStore>
static Outcome runAccess(Warp &warp, const Instr &instr) {
  unsigned bytes = instr.imm[0];
  unsigned memref = isStore ? 1 : 0;
  MemRefView view{instr.in[memref], static_cast<unsigned>(instr.imm[2]), bytes,
                  llvm::ArrayRef(instr.in).drop_front(memref + 1)};
  bool done = allLanes(warp.active, [&](unsigned lane) {
    Word address;
    // A scalar is one element, also where the memref has no dimension.
    if (!elementAddress(warp, instr, lane, view, instr.count, address))
      return false;
    return warp.move(instr, lane, address, isStore ? instr.in[0] : instr.out[0],
                     instr.count, bytes, instr.imm[1],
                     isStore ? AccessKind::Write : AccessKind::Read);
  });
  return done ? Outcome::Next : Outcome::Failed;
}

template <bool isStore>
static LogicalResult decodeAccess(Decoder &decoder, Operation *op) {
  auto memref = cast<MemRefType>(op->getOperand(isStore ? 1 : 0).getType());
  Value value = isStore ? op->getOperand(0) : op->getResult(0);
  if (auto vector = dyn_cast<VectorType>(value.getType());
      vector && (vector.getRank() != 1 || memref.getRank() == 0))
    return unsupported(op, "vectors in memory other than of one dimension");
  if (failed(checkElement(op, memref)) || failed(defineResults(decoder, op)))
    return failure();
  int64_t bytes = elementBytes(memref.getElementType());
  auto alignment = op->getAttrOfType<IntegerAttr>("alignment");
  decoder.emit(op, isStore ? runAccess<true> : runAccess<false>).imm = {
      bytes, alignment ? alignment.getInt() : bytes, memref.getRank()};
  return success();
}

/// Adds or the like in one step. in: value, memref, indices.
static Outcome runAtomic(Warp &warp, const Instr &instr) {
  auto atomic = cast<memref::AtomicRMWOp>(instr.op);
  auto floats = static_cast<FloatKind>(instr.imm[3]);
  unsigned bytes = instr.imm[0];
  MemRefView view{instr.in[1], static_cast<unsigned>(instr.imm[2]), bytes,
                  llvm::ArrayRef(instr.in).drop_front(2)};
  bool done = allLanes(warp.active, [&](unsigned lane) {
    Word address, old = 0;
    if (!elementAddress(warp, instr, lane, view, 1, address))
      return false;
    uint8_t *memory =
        warp.access(instr, lane, address, bytes, bytes, AccessKind::Atomic);
    if (!memory)
      return false;
    std::memcpy(&old, memory, bytes);
    Word value = warp[instr.in[0]].lane[lane], sum = old + value;
    if (atomic.getKind() == arith::AtomicRMWKind::addf)
      sum = fromDouble(toDouble(old, floats) + toDouble(value, floats), floats);
    std::memcpy(memory, &sum, bytes);
    warp[instr.out[0]].lane[lane] = old;
    return true;
  });
  return done ? Outcome::Next : Outcome::Failed;
}

static LogicalResult decodeAtomic(Decoder &decoder, Operation *op) {
  auto atomic = cast<memref::AtomicRMWOp>(op);
  int64_t kind = 0;
  if (atomic.getKind() == arith::AtomicRMWKind::addf) {
    FailureOr<FloatKind> floats =
        floatKind(atomic.getValue().getType(), op->getLoc());
    if (failed(floats))
      return failure();
    kind = static_cast<int64_t>(*floats);
  } else if (atomic.getKind() != arith::AtomicRMWKind::addi) {
    return unsupported(op, "atomic operations other than addi and addf");
  }
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runAtomic).imm = {elementBytes(atomic.getValue().getType()),
                                     0, atomic.getMemRefType().getRank(), kind};
  return success();
}

//===----------------------------------------------------------------------===//
// Views
//===----------------------------------------------------------------------===//

static LogicalResult decodeSame(Decoder &decoder, Operation *op) {
  decoder.alias(op->getResult(0), decoder.reg(op->getOperand(0)));
  return success();
}

/// Gives `reg` of the active lanes the same word.
static void fill(Warp &warp, unsigned reg, Word word) {
  forLanes(warp.active, [&](unsigned lane) { warp[reg].lane[lane] = word; });
}

/// memref.dim of a constant index. imm: the dimension.
static LogicalResult decodeDim(Decoder &decoder, Operation *op) {
  auto dim = cast<memref::DimOp>(op);
  auto type = dyn_cast<MemRefType>(dim.getSource().getType());
  std::optional<int64_t> index = dim.getConstantIndex();
  if (!type || !index || *index < 0 || *index >= type.getRank())
    return unsupported(op, "memref.dim of an index that is no constant");
  decoder.alias(dim.getResult(), decoder.reg(dim.getSource()) + 1 +
                                     static_cast<unsigned>(*index));
  return success();
}

/// A number that is a constant, or the operand at `in[index]`.
struct MixedNumbers {
  ArrayRef<int64_t> constants;
  unsigned next;

  int64_t take(Warp &warp, const Instr &instr, unsigned lane, size_t i) {
    if (!ShapedType::isDynamic(constants[i]))
      return constants[i];
    return static_cast<int64_t>(warp[instr.in[next++]].lane[lane]);
  }
};

/// Only sizes that the result's type keeps: rank-reduced dimensions go.
static Outcome runSubView(Warp &warp, const Instr &instr) {
  auto view = cast<memref::SubViewOp>(instr.op);
  unsigned rank = view.getSourceType().getRank();
  unsigned kept = view.getType().getRank();
  llvm::SmallBitVector dropped = view.getDroppedDims();
  unsigned source = instr.in[0], out = instr.out[0];
  bool done = allLanes(warp.active, [&](unsigned lane) {
    MixedNumbers offsets{view.getStaticOffsets(), 1};
    MixedNumbers sizes{view.getStaticSizes(),
                       1 + static_cast<unsigned>(view.getOffsets().size())};
    MixedNumbers strides{view.getStaticStrides(),
                         sizes.next +
                             static_cast<unsigned>(view.getSizes().size())};
    auto address = static_cast<int64_t>(warp[source].lane[lane]);
    unsigned at = 0;
    for (unsigned d = 0; d < rank; ++d) {
      int64_t offset = offsets.take(warp, instr, lane, d);
      int64_t size = sizes.take(warp, instr, lane, d);
      int64_t step = strides.take(warp, instr, lane, d);
      auto have = static_cast<int64_t>(warp[source + 1 + d].lane[lane]);
      auto stride =
          static_cast<int64_t>(warp[source + 1 + rank + d].lane[lane]);
      if (offset < 0 || size < 0 ||
          (size > 0 && offset + (size - 1) * step >= have)) {
        warp.fail(instr, lane,
                  "the view of " + llvm::Twine(size) + " from " +
                      llvm::Twine(offset) + " on in dimension " +
                      llvm::Twine(d) + " is out of bounds: it has size " +
                      llvm::Twine(have));
        return false;
      }
      address += offset * stride * instr.imm[0];
      if (dropped.test(d))
        continue;
      warp[out + 1 + at].lane[lane] = size;
      warp[out + 1 + kept + at].lane[lane] = stride * step;
      ++at;
    }
    warp[out].lane[lane] = address;
    return true;
  });
  return done ? Outcome::Next : Outcome::Failed;
}

static LogicalResult decodeSubView(Decoder &decoder, Operation *op) {
  auto type = cast<memref::SubViewOp>(op).getSourceType();
  if (failed(checkElement(op, type)) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runSubView).imm = {elementBytes(type.getElementType())};
  return success();
}

/// Sizes and strides of a dense memref whose dynamic sizes are operands from
/// `instr.in[first]` on.
static void setDense(Warp &warp, const Instr &instr, unsigned lane,
                     ArrayRef<int64_t> shape, unsigned first) {
  unsigned out = instr.out[0], rank = shape.size(), next = first;
  SmallVector<int64_t> sizes(shape);
  for (int64_t &size : sizes)
    if (ShapedType::isDynamic(size))
      size = static_cast<int64_t>(warp[instr.in[next++]].lane[lane]);
  int64_t stride = 1;
  for (unsigned d = rank; d-- > 0;) {
    warp[out + 1 + d].lane[lane] = sizes[d];
    warp[out + 1 + rank + d].lane[lane] = stride;
    stride *= sizes[d];
  }
}

/// Bytes as a memref of something else. in: bytes, shift, sizes.
static Outcome runView(Warp &warp, const Instr &instr) {
  auto type = cast<memref::ViewOp>(instr.op).getType();
  bool done = allLanes(warp.active, [&](unsigned lane) {
    setDense(warp, instr, lane, type.getShape(), 2);
    Word shift = warp[instr.in[1]].lane[lane];
    Word bytes = instr.imm[0];
    for (unsigned d = 0; d < type.getRank(); ++d)
      bytes *= warp[instr.out[0] + 1 + d].lane[lane];
    Word have = warp[instr.in[0] + 1].lane[lane];
    if (shift + bytes > have) {
      warp.fail(instr, lane,
                "the view of " + llvm::Twine(bytes) + " bytes from byte " +
                    llvm::Twine(shift) + " on is out of bounds: there are " +
                    llvm::Twine(have));
      return false;
    }
    warp[instr.out[0]].lane[lane] = warp[instr.in[0]].lane[lane] + shift;
    return true;
  });
  return done ? Outcome::Next : Outcome::Failed;
}

static LogicalResult decodeView(Decoder &decoder, Operation *op) {
  auto type = cast<memref::ViewOp>(op).getType();
  if (failed(checkElement(op, type)) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runView).imm = {elementBytes(type.getElementType())};
  return success();
}

/// Dense memrefs only: one dimension for several, or several for one.
static Outcome runReshape(Warp &warp, const Instr &instr) {
  auto type = cast<MemRefType>(instr.op->getResult(0).getType());
  forLanes(warp.active, [&](unsigned lane) {
    setDense(warp, instr, lane, type.getShape(), 0);
    warp[instr.out[0]].lane[lane] = warp[instr.in[0]].lane[lane];
  });
  return Outcome::Next;
}

static LogicalResult decodeReshape(Decoder &decoder, Operation *op) {
  auto from = cast<MemRefType>(op->getOperand(0).getType());
  auto to = cast<MemRefType>(op->getResult(0).getType());
  if (!from.getLayout().isIdentity() || !from.hasStaticShape() ||
      !to.hasStaticShape())
    return unsupported(op, "this op on memrefs that are not dense and static");
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runReshape);
  return success();
}

static LogicalResult decodeAddress(Decoder &decoder, Operation *op) {
  decoder.alias(op->getResult(0), decoder.reg(op->getOperand(0)));
  return success();
}

Buffer &nibble::emulator::globalBuffer(Machine &machine, Operation *symbol,
                                       DenseElementsAttr values, uint64_t count,
                                       unsigned bytes) {
  Buffer *&buffer = machine.globals[symbol];
  if (buffer)
    return *buffer;
  buffer =
      &machine.memory.allocate(symbol->getName().getStringRef().str() + " " +
                                   SymbolTable::getSymbolName(symbol).str(),
                               count * bytes, deviceAlignment);
  if (!values)
    return *buffer;
  buffer->undefined = false;
  size_t at = 0;
  for (Attribute element : values.getValues<Attribute>()) {
    APInt bits = isa<IntegerAttr>(element)
                     ? cast<IntegerAttr>(element).getValue()
                     : cast<FloatAttr>(element).getValue().bitcastToAPInt();
    Word word = bits.getZExtValue();
    std::memcpy(buffer->bytes.data() + bytes * at++, &word, bytes);
  }
  return *buffer;
}

static Outcome runGetGlobal(Warp &warp, const Instr &instr) {
  auto get = cast<memref::GetGlobalOp>(instr.op);
  auto global = SymbolTable::lookupNearestSymbolFrom<memref::GlobalOp>(
      get, get.getNameAttr());
  auto elements = llvm::dyn_cast_if_present<DenseElementsAttr>(
      global.getInitialValue().value_or(Attribute()));
  Buffer &buffer = globalBuffer(warp.block.machine, global, elements,
                                get.getType().getNumElements(), instr.imm[0]);
  forLanes(warp.active, [&](unsigned lane) {
    setDense(warp, instr, lane, get.getType().getShape(), 0);
  });
  fill(warp, instr.out[0], buffer.base);
  return Outcome::Next;
}

static LogicalResult decodeGetGlobal(Decoder &decoder, Operation *op) {
  auto type = cast<memref::GetGlobalOp>(op).getType();
  if (failed(checkElement(op, type)) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runGetGlobal).imm = {elementBytes(type.getElementType())};
  return success();
}

/// A buffer that host code makes. in: dynamic sizes.
static Outcome runAlloc(Warp &warp, const Instr &instr) {
  auto type = cast<MemRefType>(instr.op->getResult(0).getType());
  unsigned lane = __builtin_ctz(warp.active);
  setDense(warp, instr, lane, type.getShape(), 0);
  Word bytes = instr.imm[0];
  for (unsigned d = 0; d < type.getRank(); ++d)
    bytes *= warp[instr.out[0] + 1 + d].lane[lane];
  constexpr Word most = Word(1) << 34;
  if (bytes > most)
    return warp.fail(instr, lane,
                     "allocates " + llvm::Twine(bytes) +
                         " bytes; the emulator gives at most " +
                         llvm::Twine(most));
  Buffer &buffer = warp.block.machine.memory.allocate(
      instr.op->getName().getStringRef().str(), bytes, deviceAlignment);
  fill(warp, instr.out[0], buffer.base);
  return Outcome::Next;
}

static LogicalResult decodeAlloc(Decoder &decoder, Operation *op) {
  auto type = cast<MemRefType>(op->getResult(0).getType());
  if (op->getParentOfType<gpu::GPUFuncOp>())
    return unsupported(op, "memory that a thread allocates for itself");
  if (op->getNumResults() != 1 || !type.getLayout().isIdentity())
    return unsupported(op, "this form of allocation");
  if (failed(checkElement(op, type)) || failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runAlloc).imm = {elementBytes(type.getElementType())};
  return success();
}

static LogicalResult decodeNothing(Decoder &, Operation *) { return success(); }

void nibble::emulator::addMemRefs(DecodeTable &table) {
  table.add<memref::LoadOp, vector::LoadOp>(decodeAccess<false>);
  table.add<memref::StoreOp, vector::StoreOp>(decodeAccess<true>);
  table.add<memref::AtomicRMWOp>(decodeAtomic);
  table.add<memref::CastOp, memref::MemorySpaceCastOp,
            memref::AssumeAlignmentOp>(decodeSame);
  table.add<memref::DimOp>(decodeDim);
  table.add<memref::SubViewOp>(decodeSubView);
  table.add<memref::ViewOp>(decodeView);
  table.add<memref::CollapseShapeOp, memref::ExpandShapeOp>(decodeReshape);
  table.add<memref::ExtractAlignedPointerAsIndexOp>(decodeAddress);
  table.add<memref::GetGlobalOp>(decodeGetGlobal);
  table.add<memref::AllocOp, memref::AllocaOp, gpu::AllocOp>(decodeAlloc);
  table.add<memref::DeallocOp, gpu::DeallocOp>(decodeNothing);
}
