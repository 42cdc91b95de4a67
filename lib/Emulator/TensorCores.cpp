//===- TensorCores.cpp - mma.sync, mma.sp.sync, ldmatrix ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Products of a whole warp, with the fragment layouts of the PTX ISA. Lane
// 4 g + t has rows g and g + 8 of A and C, column g of B.
//
// What the device leaves open: the order in which it adds, and how it rounds on
// the way. Here products and sums of floats are made in float64 from k = 0 on
// and rounded once, with the accumulator last.
//
//===----------------------------------------------------------------------===//

#include "TensorCores.h"

#include "MemRefs.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/IR/TypeUtilities.h"

#include <cstring>

using namespace mlir;
using namespace nibble::emulator;

//===----------------------------------------------------------------------===//
// Layouts
//===----------------------------------------------------------------------===//

Place nibble::emulator::placeInA(unsigned lane, unsigned element,
                                 unsigned perRegister) {
  unsigned g = lane / 4, t = lane % 4;
  unsigned reg = element / perRegister, part = element % perRegister;
  return {g + 8 * (reg % 2), perRegister * (t + 4 * (reg / 2)) + part};
}

Place nibble::emulator::placeInB(unsigned lane, unsigned element,
                                 unsigned perRegister) {
  unsigned g = lane / 4, t = lane % 4;
  unsigned reg = element / perRegister, part = element % perRegister;
  return {perRegister * (t + 4 * reg) + part, g};
}

Place nibble::emulator::placeInC(unsigned lane, unsigned element) {
  return {lane / 4 + 8 * (element / 2), 2 * (lane % 4) + element % 2};
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

double MatrixType::value(Word bits) const {
  if (isFloat)
    return toDouble(bits, kind);
  return isUnsigned ? static_cast<double>(static_cast<uint8_t>(bits))
                    : static_cast<double>(static_cast<int8_t>(bits));
}

Word MatrixType::accumulate(double products, Word sum, FloatKind sumKind,
                            bool saturates) const {
  if (isFloat)
    return fromDouble(products + toDouble(sum, sumKind), sumKind);
  auto total = static_cast<int64_t>(products) +
               static_cast<int32_t>(static_cast<uint32_t>(sum));
  if (saturates)
    total = std::clamp<int64_t>(total, INT32_MIN, INT32_MAX);
  return static_cast<uint32_t>(total);
}

bool nibble::emulator::wholeWarp(Warp &warp, const Instr &instr) {
  if (!warp.converged(instr))
    return false;
  if (warp.live == ~LaneMask(0))
    return true;
  warp.fail(instr, 0,
            "expects a warp of 32 threads, got " +
                llvm::Twine(llvm::popcount(warp.live)));
  return false;
}

namespace {
/// What imm of a product says.
struct Shape {
  MatrixType type;
  FloatKind sum;
  unsigned k; ///< stored values of A in a row; twice as many of B if sparse
  bool saturates, sparse, ordered;
};
} // namespace

static Shape shapeOf(const Instr &instr) {
  return {{instr.imm[0] != 0, static_cast<FloatKind>(instr.imm[1]),
           instr.imm[6] != 0},
          static_cast<FloatKind>(instr.imm[2]),
          static_cast<unsigned>(instr.imm[3]),
          instr.imm[4] != 0,
          instr.imm[5] != 0,
          instr.imm[7] != 0};
}

/// The position of a stored value of A, 0 to 3 of its four. A lane has the
/// positions of rows g and g + 8 in the halves of a word, for 16 columns of the
/// uncompressed matrix (mma.m16n8k32) or 8 lanes all (k64 of integers).
static unsigned sparsePosition(Warp &warp, const Instr &instr, Shape shape,
                               unsigned row, unsigned stored) {
  auto selector = static_cast<unsigned>(warp[instr.in[4]].lane[0]);
  unsigned chunk = stored / 8;
  unsigned t = shape.k == 8    ? selector
               : shape.k == 16 ? 2 * selector + chunk
                               : chunk;
  unsigned lane = 4 * (row % 8) + t;
  unsigned code = stored % 8;
  return warp[instr.in[3]].lane[lane] >> (16 * (row / 8) + 2 * code) & 3;
}

/// in: A, B, C, [metadata, selector].
static Outcome runProduct(Warp &warp, const Instr &instr) {
  if (!wholeWarp(warp, instr))
    return Outcome::Failed;
  Shape shape = shapeOf(instr);
  if (shape.sparse) {
    // How many groups of lanes could have the positions.
    unsigned choices = shape.k == 8 ? 4 : shape.k == 16 ? 2 : 1;
    Word selector = warp[instr.in[4]].lane[0];
    if (selector >= choices)
      return warp.fail(instr, 0,
                       "expects a sparsity selector below " +
                           llvm::Twine(choices) + ", got " +
                           llvm::Twine(selector));
  }
  unsigned depth = shape.sparse ? 2 * shape.k : shape.k;
  unsigned perRegister = shape.type.isFloat ? 2 : 4;
  SmallVector<double> a(16 * shape.k), b(depth * 8);
  for (unsigned lane = 0; lane < warpSize; ++lane) {
    for (unsigned i = 0; i < 16 * shape.k / warpSize; ++i) {
      Place at = placeInA(lane, i, perRegister);
      a[at.row * shape.k + at.column] =
          shape.type.value(warp[instr.in[0] + i].lane[lane]);
    }
    for (unsigned i = 0; i < depth * 8 / warpSize; ++i) {
      Place at = placeInB(lane, i, perRegister);
      b[at.row * 8 + at.column] =
          shape.type.value(warp[instr.in[1] + i].lane[lane]);
    }
  }
  // Where in B each value of A belongs.
  SmallVector<unsigned> row(16 * shape.k);
  for (unsigned r = 0; r < 16; ++r)
    for (unsigned k = 0; k < shape.k; ++k)
      row[r * shape.k + k] =
          shape.sparse ? k / 2 * 4 + sparsePosition(warp, instr, shape, r, k)
                       : k;
  if (shape.sparse)
    for (unsigned i = 0; i < row.size(); i += 2)
      if (row[i] == row[i + 1] || (shape.ordered && row[i] > row[i + 1]))
        return warp.fail(instr, 0,
                         "the metadata of row " + llvm::Twine(i / shape.k) +
                             " put the values of columns " +
                             llvm::Twine(row[i] / 4 * 4) + " to " +
                             llvm::Twine(row[i] / 4 * 4 + 3) +
                             " at positions " + llvm::Twine(row[i] % 4) +
                             " and " + llvm::Twine(row[i + 1] % 4) +
                             "; expects two in ascending order");
  for (unsigned i = 0; i < 4; ++i)
    for (unsigned lane = 0; lane < warpSize; ++lane) {
      Place at = placeInC(lane, i);
      double products = 0;
      for (unsigned k = 0; k < shape.k; ++k)
        products += a[at.row * shape.k + k] *
                    b[row[at.row * shape.k + k] * 8 + at.column];
      Word sum = warp[instr.in[2] + i].lane[lane];
      warp[instr.out[0] + i].lane[lane] =
          shape.type.accumulate(products, sum, shape.sum, shape.saturates);
    }
  return Outcome::Next;
}

/// Fills imm of `instr` for shapes that the emulator knows.
static LogicalResult setShape(Instr &instr, Operation *op,
                              ArrayRef<int64_t> mnk, Type element, Type sum,
                              bool saturates, bool sparse, bool isUnsigned,
                              bool ordered) {
  bool isFloat = isa<FloatType>(element);
  bool known = mnk[0] == 16 && mnk[1] == 8;
  int64_t k = sparse ? mnk[2] / 2 : mnk[2];
  if (isFloat)
    known &= (element.isF16() || element.isBF16()) && (k == 8 || k == 16);
  else
    known &= element.isInteger(8) && sum.isInteger(32) && (k == 16 || k == 32);
  if (!known)
    return unsupported(op, "matrix products of this shape and type");
  FloatKind kind = FloatKind::Half, sumKind = FloatKind::Single;
  if (isFloat) {
    FailureOr<FloatKind> a = floatKind(element, op->getLoc());
    FailureOr<FloatKind> c = floatKind(sum, op->getLoc());
    if (failed(a) || failed(c))
      return failure();
    kind = *a;
    sumKind = *c;
  }
  instr.imm = {isFloat,
               static_cast<int64_t>(kind),
               static_cast<int64_t>(sumKind),
               k,
               saturates,
               sparse,
               isUnsigned,
               ordered};
  return success();
}

static LogicalResult decodeMma(Decoder &decoder, Operation *op) {
  auto mma = cast<nvgpu::MmaSyncOp>(op);
  if (failed(defineResults(decoder, op)))
    return failure();
  auto shape = mma.getMmaShapeAsArray();
  return setShape(decoder.emit(op, runProduct), op, shape,
                  getElementTypeOrSelf(mma.getMatrixA().getType()),
                  getElementTypeOrSelf(mma.getMatrixC().getType()),
                  // nvgpu lowers integers to .satfinite.
                  true, false, false, false);
}

static LogicalResult decodeMmaSparse(Decoder &decoder, Operation *op) {
  auto mma = cast<nvgpu::MmaSparseSyncOp>(op);
  if (failed(defineResults(decoder, op)))
    return failure();
  // The metadata are two halves; one word for `runProduct`.
  unsigned word = decoder.allocate(1), selector = decoder.allocate(1);
  decoder.constant(selector, mma.getSparsitySelector());
  Instr &pack = decoder.emit(op, [](Warp &warp, const Instr &instr) {
    forLanes(warp.active, [&](unsigned lane) {
      warp[instr.out[0]].lane[lane] =
          warp[instr.in[0]].lane[lane] | warp[instr.in[0] + 1].lane[lane] << 16;
    });
    return Outcome::Next;
  });
  pack.in = {decoder.reg(mma.getSparseMetadata())};
  pack.out = {word};
  auto shape = mma.getMmaShapeAsArray();
  Instr &instr = decoder.emit(op, runProduct);
  instr.in[3] = word;
  instr.in.push_back(selector);
  return setShape(instr, op, shape,
                  getElementTypeOrSelf(mma.getMatrixA().getType()),
                  getElementTypeOrSelf(mma.getMatrixC().getType()), true, true,
                  false, false);
}

/// The elements of operands that are registers of the device side by side, each
/// of `bits` bits. imm: the bits, elements in each operand.
static unsigned unpack(Decoder &decoder, Operation *op, ValueRange values,
                       unsigned bits) {
  SmallVector<unsigned> sources;
  unsigned each = 1;
  for (Value value : values) {
    for (unsigned i = 0, e = decoder.words(value); i < e; ++i)
      sources.push_back(decoder.reg(value) + i);
    if (value.getType().isInteger(32))
      each = 32 / bits;
  }
  unsigned first = decoder.allocate(sources.size() * each);
  Instr &instr = decoder.emit(op, [](Warp &warp, const Instr &instr) {
    unsigned bits = instr.imm[0], each = instr.imm[1];
    for (unsigned i = 0; i < instr.in.size() * each; ++i)
      forLanes(warp.active, [&](unsigned lane) {
        warp[instr.out[0] + i].lane[lane] =
            warp[instr.in[i / each]].lane[lane] >> bits * (i % each) &
            (~Word(0) >> (64 - bits));
      });
    return Outcome::Next;
  });
  instr.in.assign(sources.begin(), sources.end());
  instr.out = {first};
  instr.imm = {bits, each};
  return first;
}

/// The type of the elements of nvvm's fragments: i32 stand for others.
static Type multiplicand(Operation *op, Value first,
                         std::optional<NVVM::MMATypes> type) {
  Type element = getElementTypeOrSelf(first.getType());
  if (!type || !element.isInteger(32))
    return element;
  switch (*type) {
  case NVVM::MMATypes::bf16:
    return BFloat16Type::get(op->getContext());
  case NVVM::MMATypes::s8:
  case NVVM::MMATypes::u8:
    return IntegerType::get(op->getContext(), 8);
  default:
    return element;
  }
}

template <typename Op>
static LogicalResult decodeNvvm(Decoder &decoder, Operation *op) {
  auto mma = cast<Op>(op);
  auto record = dyn_cast<LLVM::LLVMStructType>(mma.getRes().getType());
  if (!record || mma.getMultiplicandAPtxType() != mma.getMultiplicandBPtxType())
    return unsupported(op, "products of two different types");
  if (failed(defineResults(decoder, op)))
    return failure();
  std::optional<NVVM::MMATypes> ptx = mma.getMultiplicandAPtxType();
  Type element = multiplicand(op, mma.getOperandA()[0], ptx);
  unsigned bits = element.isIntOrFloat() ? element.getIntOrFloatBitWidth() : 32;
  Type sum = getElementTypeOrSelf(record.getBody()[0]);
  unsigned a = unpack(decoder, op, mma.getOperandA(), bits);
  unsigned b = unpack(decoder, op, mma.getOperandB(), bits);
  // Sums are whole words.
  unsigned c = unpack(decoder, op, mma.getOperandC(), 32);
  Instr &instr = decoder.emit(op, runProduct);
  instr.in = {a, b, c};
  bool sparse = false, ordered = false;
  if constexpr (std::is_same_v<Op, NVVM::MmaSpOp>) {
    sparse = true;
    ordered = mma.getOrderedMetadata();
    instr.in.push_back(decoder.reg(mma.getSparseMetadata()));
    instr.in.push_back(decoder.reg(mma.getSparsitySelector()));
  } else if (mma.getLayoutA() != NVVM::MMALayout::row ||
             mma.getLayoutB() != NVVM::MMALayout::col) {
    return unsupported(op, "layouts other than row and col");
  }
  bool saturates = mma.getIntOverflowBehavior() ==
                   std::optional(NVVM::MMAIntOverflow::satfinite);
  NVVM::MMAShapeAttr shape = mma.getShape();
  return setShape(instr, op, {shape.getM(), shape.getN(), shape.getK()},
                  element, sum, saturates, sparse,
                  ptx == std::optional(NVVM::MMATypes::u8), ordered);
}

//===----------------------------------------------------------------------===//
// ldmatrix
//===----------------------------------------------------------------------===//

/// Lane 8 i + r gives the address of row r of matrix i: 16 bytes. Lane 4 g + t
/// gets elements 2 t and 2 t + 1 of row g, or of column g if transposed.
static Outcome loadMatrices(Warp &warp, const Instr &instr,
                            ArrayRef<Word> addresses, unsigned tiles,
                            bool transposed, bool packed) {
  uint16_t matrix[8][8];
  for (unsigned tile = 0; tile < tiles; ++tile) {
    for (unsigned r = 0; r < 8; ++r) {
      unsigned lane = 8 * tile + r;
      uint8_t *row =
          warp.access(instr, lane, addresses[lane], 16, 16, AccessKind::Read);
      if (!row)
        return Outcome::Failed;
      std::memcpy(matrix[r], row, 16);
    }
    for (unsigned lane = 0; lane < warpSize; ++lane) {
      unsigned g = lane / 4, t = lane % 4;
      Word low = transposed ? matrix[2 * t][g] : matrix[g][2 * t];
      Word high = transposed ? matrix[2 * t + 1][g] : matrix[g][2 * t + 1];
      if (packed) {
        warp[instr.out[0] + tile].lane[lane] = low | high << 16;
        continue;
      }
      unsigned perTile = instr.count / tiles;
      if (perTile == 2) {
        warp[instr.out[0] + 2 * tile].lane[lane] = low;
        warp[instr.out[0] + 2 * tile + 1].lane[lane] = high;
        continue;
      }
      // Four bytes each.
      for (unsigned i = 0; i < 4; ++i)
        warp[instr.out[0] + 4 * tile + i].lane[lane] =
            (low | high << 16) >> 8 * i & 255;
    }
  }
  return Outcome::Next;
}

/// in: memref, indices. imm: tiles, transposed, bytes of an element, rank.
static Outcome runLoadMatrix(Warp &warp, const Instr &instr) {
  if (!wholeWarp(warp, instr))
    return Outcome::Failed;
  auto tiles = static_cast<unsigned>(instr.imm[0]);
  auto bytes = static_cast<unsigned>(instr.imm[2]);
  MemRefView view{instr.in[0], static_cast<unsigned>(instr.imm[3]), bytes,
                  llvm::ArrayRef(instr.in).drop_front()};
  Word addresses[warpSize];
  for (unsigned lane = 0; lane < 8 * tiles; ++lane)
    if (!elementAddress(warp, instr, lane, view, 16 / bytes, addresses[lane]))
      return Outcome::Failed;
  return loadMatrices(warp, instr, addresses, tiles, instr.imm[1], false);
}

static LogicalResult decodeLoadMatrix(Decoder &decoder, Operation *op) {
  auto load = cast<nvgpu::LdMatrixOp>(op);
  auto type = cast<MemRefType>(load.getSrcMemref().getType());
  unsigned bytes = elementBytes(type.getElementType());
  if (!type.getElementType().isIntOrFloat() || bytes > 2 ||
      (load.getTranspose() && bytes != 2))
    return unsupported(op, "ldmatrix of these elements");
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runLoadMatrix).imm = {
      load.getNumTiles(), load.getTranspose(), bytes, type.getRank()};
  return success();
}

/// in: address. imm: tiles, transposed.
static Outcome runLoadMatrixAt(Warp &warp, const Instr &instr) {
  if (!wholeWarp(warp, instr))
    return Outcome::Failed;
  return loadMatrices(warp, instr, warp[instr.in[0]].lane, instr.imm[0],
                      instr.imm[1], true);
}

static LogicalResult decodeLoadMatrixAt(Decoder &decoder, Operation *op) {
  auto load = cast<NVVM::LdMatrixOp>(op);
  if (load.getEltType() != NVVM::LdStMatrixEltType::B16)
    return unsupported(op, "ldmatrix of elements other than b16");
  if (failed(defineResults(decoder, op)))
    return failure();
  decoder.emit(op, runLoadMatrixAt).imm = {
      load.getNum(), load.getLayout() == NVVM::MMALayout::col};
  return success();
}

void nibble::emulator::addTensorCores(DecodeTable &table) {
  table.add<nvgpu::MmaSyncOp>(decodeMma);
  table.add<nvgpu::MmaSparseSyncOp>(decodeMmaSparse);
  table.add<NVVM::MmaOp>(decodeNvvm<NVVM::MmaOp>);
  table.add<NVVM::MmaSpOp>(decodeNvvm<NVVM::MmaSpOp>);
  table.add<nvgpu::LdMatrixOp>(decodeLoadMatrix);
  table.add<NVVM::LdMatrixOp>(decodeLoadMatrixAt);
}
