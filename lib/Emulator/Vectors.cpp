//===- Vectors.cpp - Elements of vectors, constants, bits -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Elements lie row by row in registers of their own, so that most ops are a
// table: which element comes from where.
//
//===----------------------------------------------------------------------===//

#include "Floats.h"
#include "Warp.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;
using namespace nibble::emulator;

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

static FailureOr<Word> wordOf(Attribute element) {
  if (auto number = dyn_cast<IntegerAttr>(element))
    return number.getValue().getZExtValue();
  if (auto number = dyn_cast<FloatAttr>(element))
    return number.getValue().bitcastToAPInt().getZExtValue();
  return failure();
}

static LogicalResult decodeConstant(Decoder &decoder, Operation *op) {
  Attribute value = op->getAttr("value");
  if (failed(defineResults(decoder, op)))
    return failure();
  unsigned first = decoder.reg(op->getResult(0));
  if (auto elements = dyn_cast<DenseElementsAttr>(value)) {
    unsigned at = first;
    for (Attribute element : elements.getValues<Attribute>()) {
      FailureOr<Word> word = wordOf(element);
      if (failed(word))
        return unsupported(op, "this constant");
      decoder.constant(at++, *word);
    }
    return success();
  }
  FailureOr<Word> word = wordOf(value);
  if (failed(word))
    return unsupported(op, "this constant");
  decoder.constant(first, *word);
  return success();
}

/// Zeros stand for what has no value: a kernel that reads it is wrong anyway,
/// and compilers start vectors from it that they fill element by element.
static LogicalResult decodeUndefined(Decoder &decoder, Operation *op) {
  return defineResults(decoder, op);
}

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

/// Register in[i] to out[i], of a result that is no operand.
static Outcome runPick(Warp &warp, const Instr &instr) {
  for (auto [in, out] : llvm::zip_equal(instr.in, instr.out)) {
    const Register &from = warp[in];
    Register &to = warp[out];
    forLanes(warp.active,
             [&](unsigned lane) { to.lane[lane] = from.lane[lane]; });
  }
  return Outcome::Next;
}

/// Defines the result of `op`, element i from register `sources[i]`.
static LogicalResult pick(Decoder &decoder, Operation *op,
                          ArrayRef<unsigned> sources) {
  if (failed(defineResults(decoder, op)))
    return failure();
  Instr &instr = decoder.emit(op, runPick);
  unsigned first = instr.out[0];
  instr.in.assign(sources.begin(), sources.end());
  instr.out.clear();
  for (unsigned i = 0; i < sources.size(); ++i)
    instr.out.push_back(first + i);
  return success();
}

static SmallVector<unsigned> registersOf(Decoder &decoder, Value value) {
  SmallVector<unsigned> all;
  for (unsigned i = 0, e = decoder.words(value); i < e; ++i)
    all.push_back(decoder.reg(value) + i);
  return all;
}

static ArrayRef<int64_t> shapeOf(Value value) {
  auto type = dyn_cast<VectorType>(value.getType());
  return type ? type.getShape() : ArrayRef<int64_t>();
}

/// The first element of the part of `shape` at leading indices `position`;
/// failure if one of them is known only when the kernel runs.
static FailureOr<int64_t> partAt(ArrayRef<int64_t> shape,
                                 ArrayRef<int64_t> position) {
  int64_t offset = 0;
  for (auto [i, size] : llvm::enumerate(shape)) {
    int64_t index = i < position.size() ? position[i] : 0;
    if (index < 0 || index >= size)
      return failure();
    offset = offset * size + index;
  }
  return offset;
}

static LogicalResult decodeExtract(Decoder &decoder, Operation *op) {
  auto extract = cast<vector::ExtractOp>(op);
  FailureOr<int64_t> part =
      partAt(shapeOf(extract.getSource()), extract.getStaticPosition());
  if (extract.hasDynamicPosition() || failed(part))
    return unsupported(op, "vector.extract at an index that is no constant");
  // Nothing moves: the result is another name for these registers.
  decoder.alias(extract.getResult(), decoder.reg(extract.getSource()) +
                                         static_cast<unsigned>(*part));
  return success();
}

static LogicalResult decodeInsert(Decoder &decoder, Operation *op) {
  auto insert = cast<vector::InsertOp>(op);
  FailureOr<int64_t> part =
      partAt(shapeOf(insert.getDest()), insert.getStaticPosition());
  if (insert.hasDynamicPosition() || failed(part))
    return unsupported(op, "vector.insert at an index that is no constant");
  SmallVector<unsigned> sources = registersOf(decoder, insert.getDest());
  for (auto [i, reg] :
       llvm::enumerate(registersOf(decoder, insert.getValueToStore())))
    sources[*part + i] = reg;
  return pick(decoder, op, sources);
}

static LogicalResult decodeBroadcast(Decoder &decoder, Operation *op) {
  auto broadcast = cast<vector::BroadcastOp>(op);
  ArrayRef<int64_t> from = shapeOf(broadcast.getSource());
  ArrayRef<int64_t> to = shapeOf(broadcast.getVector());
  SmallVector<unsigned> sources;
  for (int64_t i = 0, e = ShapedType::getNumElements(to); i < e; ++i) {
    // Strides from the last dimension; those of size 1 and leading ones repeat.
    int64_t rest = i, offset = 0, stride = 1;
    for (size_t d = 0; d < to.size(); ++d) {
      int64_t index = rest % to[to.size() - 1 - d];
      rest /= to[to.size() - 1 - d];
      if (d < from.size()) {
        int64_t size = from[from.size() - 1 - d];
        offset += size == 1 ? 0 : index * stride;
        stride *= size;
      }
    }
    sources.push_back(decoder.reg(broadcast.getSource()) +
                      static_cast<unsigned>(offset));
  }
  return pick(decoder, op, sources);
}

static LogicalResult decodeShuffle(Decoder &decoder, Operation *op) {
  auto shuffle = cast<vector::ShuffleOp>(op);
  SmallVector<unsigned> both = registersOf(decoder, shuffle.getV1());
  both.append(registersOf(decoder, shuffle.getV2()));
  int64_t part = 1;
  for (int64_t size : shapeOf(shuffle.getV1())
                          .drop_front(shapeOf(shuffle.getV1()).empty() ? 0 : 1))
    part *= size;
  SmallVector<unsigned> sources;
  for (int64_t row : shuffle.getMask())
    for (int64_t i = 0; i < part; ++i)
      sources.push_back(both[std::max<int64_t>(row, 0) * part + i]);
  return pick(decoder, op, sources);
}

static LogicalResult decodeLlvmShuffle(Decoder &decoder, Operation *op) {
  auto shuffle = cast<LLVM::ShuffleVectorOp>(op);
  SmallVector<unsigned> both = registersOf(decoder, shuffle.getV1());
  both.append(registersOf(decoder, shuffle.getV2()));
  SmallVector<unsigned> sources;
  for (int32_t lane : shuffle.getMask())
    sources.push_back(both[std::max<int32_t>(lane, 0)]);
  return pick(decoder, op, sources);
}

/// The element of llvm.insertelement or llvm.extractelement.
static FailureOr<unsigned> elementAt(Operation *op, Value vector,
                                     Value position) {
  APInt index;
  if (!matchPattern(position, m_ConstantInt(&index)) ||
      index.uge(shapeOf(vector)[0]))
    return unsupported(op, "an element at an index that is no constant");
  return static_cast<unsigned>(index.getZExtValue());
}

static LogicalResult decodeExtractElement(Decoder &decoder, Operation *op) {
  auto extract = cast<LLVM::ExtractElementOp>(op);
  FailureOr<unsigned> element =
      elementAt(op, extract.getVector(), extract.getPosition());
  if (failed(element))
    return failure();
  decoder.alias(extract.getResult(),
                decoder.reg(extract.getVector()) + *element);
  return success();
}

static LogicalResult decodeInsertElement(Decoder &decoder, Operation *op) {
  auto insert = cast<LLVM::InsertElementOp>(op);
  FailureOr<unsigned> element =
      elementAt(op, insert.getVector(), insert.getPosition());
  if (failed(element))
    return failure();
  SmallVector<unsigned> sources = registersOf(decoder, insert.getVector());
  sources[*element] = decoder.reg(insert.getValue());
  return pick(decoder, op, sources);
}

/// The elements of `part` in those of a vector of shape `whole`, from
/// `offsets` on; leading dimensions of `whole` that `part` lacks have size 1.
static SmallVector<int64_t> sliceOf(ArrayRef<int64_t> whole,
                                    ArrayRef<int64_t> part,
                                    ArrayRef<int64_t> offsets) {
  SmallVector<int64_t> sizes(whole.size() - part.size(), 1);
  sizes.append(part.begin(), part.end());
  SmallVector<int64_t> elements;
  for (int64_t i = 0, e = ShapedType::getNumElements(part); i < e; ++i) {
    int64_t rest = i, offset = 0, stride = 1;
    for (size_t d = whole.size(); d-- > 0;) {
      int64_t begin = d < offsets.size() ? offsets[d] : 0;
      offset += (begin + rest % sizes[d]) * stride;
      rest /= sizes[d];
      stride *= whole[d];
    }
    elements.push_back(offset);
  }
  return elements;
}

static LogicalResult decodeExtractSlice(Decoder &decoder, Operation *op) {
  auto slice = cast<vector::ExtractStridedSliceOp>(op);
  if (slice.hasNonUnitStrides())
    return unsupported(op, "strides other than 1");
  SmallVector<int64_t> offsets;
  slice.getOffsets(offsets);
  SmallVector<unsigned> sources;
  Value source = slice->getOperand(0);
  for (int64_t element :
       sliceOf(shapeOf(source), shapeOf(slice.getResult()), offsets))
    sources.push_back(decoder.reg(source) + static_cast<unsigned>(element));
  return pick(decoder, op, sources);
}

static LogicalResult decodeInsertSlice(Decoder &decoder, Operation *op) {
  auto slice = cast<vector::InsertStridedSliceOp>(op);
  if (slice.hasNonUnitStrides())
    return unsupported(op, "strides other than 1");
  SmallVector<int64_t> offsets;
  for (Attribute offset : slice.getOffsets())
    offsets.push_back(cast<IntegerAttr>(offset).getInt());
  Value source = slice.getValueToStore(), target = slice.getDest();
  SmallVector<unsigned> sources = registersOf(decoder, target);
  for (auto [i, element] :
       llvm::enumerate(sliceOf(shapeOf(target), shapeOf(source), offsets)))
    sources[element] = decoder.reg(source) + static_cast<unsigned>(i);
  return pick(decoder, op, sources);
}

static LogicalResult decodeFromElements(Decoder &decoder, Operation *op) {
  SmallVector<unsigned> sources;
  for (Value element : op->getOperands())
    sources.push_back(decoder.reg(element));
  return pick(decoder, op, sources);
}

static LogicalResult decodeToElements(Decoder &decoder, Operation *op) {
  unsigned first = decoder.reg(op->getOperand(0));
  for (auto [i, result] : llvm::enumerate(op->getResults()))
    decoder.alias(result, first + static_cast<unsigned>(i));
  return success();
}

/// The same registers by another type.
static LogicalResult decodeSame(Decoder &decoder, Operation *op) {
  decoder.alias(op->getResult(0), decoder.reg(op->getOperand(0)));
  return success();
}

//===----------------------------------------------------------------------===//
// Bits and sums
//===----------------------------------------------------------------------===//

/// The same bits as elements of another width. imm: both widths.
static Outcome runBitcast(Warp &warp, const Instr &instr) {
  unsigned from = instr.imm[0], to = instr.imm[1];
  for (unsigned i = 0; i < instr.count; ++i)
    forLanes(warp.active, [&](unsigned lane) {
      Word word = 0;
      for (unsigned bit = 0; bit < to; bit += std::min(from, to)) {
        unsigned at = i * to + bit;
        Word piece = warp[instr.in[0] + at / from].lane[lane] >> at % from;
        word |= (piece & (~Word(0) >> (64 - std::min(from, to)))) << bit;
      }
      warp[instr.out[0] + i].lane[lane] = word;
    });
  return Outcome::Next;
}

static LogicalResult decodeBitcast(Decoder &decoder, Operation *op) {
  auto width = [](Type type) {
    return getElementTypeOrSelf(type).getIntOrFloatBitWidth();
  };
  unsigned from = width(op->getOperand(0).getType());
  unsigned to = width(op->getResult(0).getType());
  if (from == to)
    return decodeSame(decoder, op);
  if (std::max(from, to) % std::min(from, to) != 0)
    return unsupported(op, "a bitcast of these widths");
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runBitcast).imm = {from, to};
  return success();
}

/// From the first element on, each sum rounded. imm: the kind.
static Outcome runSum(Warp &warp, const Instr &instr) {
  auto kind = static_cast<FloatKind>(instr.imm[0]);
  forLanes(warp.active, [&](unsigned lane) {
    Word sum = instr.in.size() > 1 ? warp[instr.in[1]].lane[lane]
                                   : fromDouble(-0.0, kind);
    for (unsigned i = 0; i < instr.imm[1]; ++i)
      sum = fromDouble(toDouble(sum, kind) +
                           toDouble(warp[instr.in[0] + i].lane[lane], kind),
                       kind);
    warp[instr.out[0]].lane[lane] = sum;
  });
  return Outcome::Next;
}

static Outcome runIntegerSum(Warp &warp, const Instr &instr) {
  forLanes(warp.active, [&](unsigned lane) {
    Word sum = instr.in.size() > 1 ? warp[instr.in[1]].lane[lane] : 0;
    for (unsigned i = 0; i < instr.imm[1]; ++i)
      sum += warp[instr.in[0] + i].lane[lane];
    warp[instr.out[0]].lane[lane] = sum & (~Word(0) >> (64 - instr.imm[0]));
  });
  return Outcome::Next;
}

static LogicalResult decodeReduction(Decoder &decoder, Operation *op) {
  auto reduction = cast<vector::ReductionOp>(op);
  if (reduction.getKind() != vector::CombiningKind::ADD)
    return unsupported(op, "vector.reduction other than add");
  if (failed(defineResults(decoder, op)))
    return failure();
  Type type = op->getResult(0).getType();
  int64_t count = decoder.words(reduction.getVector());
  if (type.isIntOrIndex()) {
    decoder.emit(op, runIntegerSum).imm = {
        type.isIndex() ? 64 : type.getIntOrFloatBitWidth(), count};
    return success();
  }
  FailureOr<FloatKind> kind = floatKind(type, op->getLoc());
  if (failed(kind))
    return failure();
  decoder.emit(op, runSum).imm = {static_cast<int64_t>(*kind), count};
  return success();
}

void nibble::emulator::addVectors(DecodeTable &table) {
  table.add<arith::ConstantOp, LLVM::ConstantOp>(decodeConstant);
  table.add<ub::PoisonOp, LLVM::UndefOp, LLVM::PoisonOp, LLVM::ZeroOp>(
      decodeUndefined);
  table.add<LLVM::ShuffleVectorOp>(decodeLlvmShuffle);
  table.add<LLVM::ExtractElementOp>(decodeExtractElement);
  table.add<LLVM::InsertElementOp>(decodeInsertElement);
  table.add<vector::ExtractOp>(decodeExtract);
  table.add<vector::InsertOp>(decodeInsert);
  table.add<vector::BroadcastOp>(decodeBroadcast);
  table.add<vector::ShuffleOp>(decodeShuffle);
  table.add<vector::ExtractStridedSliceOp>(decodeExtractSlice);
  table.add<vector::InsertStridedSliceOp>(decodeInsertSlice);
  table.add<vector::FromElementsOp>(decodeFromElements);
  table.add<vector::ToElementsOp>(decodeToElements);
  table.add<vector::ShapeCastOp>(decodeSame);
  table.add<vector::BitCastOp, arith::BitcastOp, LLVM::BitcastOp>(
      decodeBitcast);
  table.add<vector::ReductionOp>(decodeReduction);
}
