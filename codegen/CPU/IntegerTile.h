//===- IntegerTile.h - Sums of products of codes ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The code of one task of a packed_integer_linear; IntegerLinear.cpp says how
// it works.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CPU_INTEGERTILE_H
#define NIBBLE_CODEGEN_CPU_INTEGERTILE_H

#include "Kernel.h"

#include "nibble/dialects/QKernel/QKernel.h"

namespace nibble::cpu {

/// How the inputs of a layer are divided, and how codes unpack.
struct Pieces {
  Pieces(const RowInterleavedLayout &layout, int64_t xGroup);

  int64_t inputs;     ///< of every piece but possibly the last
  int64_t count;      ///< of all pieces
  int64_t lastInputs; ///< of the last piece
  int64_t perGroup;   ///< pieces of a group of the weight
  int64_t perXGroup;  ///< pieces of a group of x

  int64_t chunkInputs;
  bool isAligned; ///< pieces start at a chunk
  int64_t chunks; ///< that a piece touches, at most

  bool isWide;          ///< 8 bits: products of 16-bit integers
  int64_t chunkVectors; ///< vectors that a chunk unpacks to
  int64_t codeBytes;    ///< of a prepared code of x: 1, or 2 if wide
  int64_t vectorInputs; ///< per row: 4, or 2 if wide

  /// Bytes of a piece's prepared codes.
  int64_t bytes() const { return chunks * chunkInputs * codeBytes; }
};

/// The code for `rows` rows of x.
class IntegerTile {
public:
  /// Outputs that are summed side by side.
  static constexpr int64_t lanes = RowInterleavedLayout::rows;
  static constexpr int64_t vectorBytes = 32;

  IntegerTile(Kernel &kernel, qkernel::PackedIntegerLinearOp op, int64_t rows,
              Value firstRow);

  /// Outputs of the blocks [from, to).
  void emit(Value from, Value to);

private:
  // x, written to the stack.
  void prepare(Value firstPiece, Value count, int64_t inputs);
  void preparePiece(int64_t row, Value piece, Value slot, int64_t inputs);
  Value copyAligned(Value from, Value to, int64_t inputs, Value zero);
  Value copyUnaligned(Value from, Value to, Value start, int64_t inputs,
                      Value zero);
  int64_t placeOf(int64_t i) const;
  Value ordered(Value bytes);
  Value zeroOfX(int64_t row, Value piece);

  // Sums.
  void accumulate(Value from, Value to, Value firstPiece, Value count,
                  int64_t inputs);
  Values addPiece(Value block, Value piece, Value slot, int64_t inputs,
                  llvm::ArrayRef<Value> sums);
  Values dot(Value chunks, Value codes, int64_t count,
             llvm::ArrayRef<Value> sums);
  Values dotPiece(Value block, Value piece, Value slot, int64_t inputs,
                  llvm::ArrayRef<Value> sums);
  Values unpack(Value chunk);
  Values initialSums(Value block, Value piece, Value slot);
  void finish(Value block);

  // Addresses.
  Value group(Value piece) {
    return code.divide(piece, code.index(pieces.perGroup), true);
  }
  Value xGroup(Value piece) {
    return code.divide(piece, code.index(pieces.perXGroup), true);
  }
  /// First input of a piece within its group.
  Value inGroup(Value piece) {
    Value within = layout.groups() == 1
                       ? piece
                       : code.remainder(piece, code.index(pieces.perGroup),
                                        /*isUnsigned=*/true);
    return code.mul(within, code.index(pieces.inputs));
  }
  Value blockGroup(Value block, Value piece) {
    Value first = code.mul(block, code.index(layout.groups()));
    if (layout.groups() > 1)
      first = code.add(first, group(piece));
    return code.mul(first, code.index(lanes));
  }
  Value sumsOf(Value block) {
    return code.mul(code.sub(block, firstBlock), code.index(rows * lanes));
  }
  Value slotOf(int64_t row, Value slot) {
    return code.add(code.index(row * slabPieces), slot);
  }
  Value preparedCodes(int64_t row, Value slot) {
    return code.address(
        code.i8(), codes,
        code.mul(slotOf(row, slot), code.index(pieces.bytes())));
  }

  // Factors.
  bool hasOneXScale() { return isSingle(op.getXScales()); }
  bool isSingle(Value value) {
    auto type = mlir::cast<mlir::RankedTensorType>(value.getType());
    return type.hasStaticShape() && type.getNumElements() == 1;
  }
  bool scalesDiffer() { return layout.groups() > 1; }
  bool xScalesDiffer() {
    return !hasOneXScale() && op.getXGroup() < static_cast<uint64_t>(layout.in);
  }
  /// Index of what x has per row and group.
  Value xBlock(int64_t row, Value piece) {
    int64_t groups = (layout.in + op.getXGroup() - 1) / op.getXGroup();
    Value first =
        code.mul(code.add(firstRow, code.index(row)), code.index(groups));
    return groups == 1 ? first : code.add(first, xGroup(piece));
  }
  Value scaleOfX(int64_t row, Value piece) {
    Value at = hasOneXScale() ? code.index(0) : xBlock(row, piece);
    Value scale = code.load(code.f32(), kernel.pointer(op.getXScales()), at);
    return code.broadcast(scale, lanes);
  }
  Value scales(Value block, Value piece) {
    Type stored = op.getLayout().getScales();
    return code.loadFloats(stored, lanes, kernel.pointer(op.getScales()),
                           blockGroup(block, piece));
  }

  // Offsets of codes.
  bool isUnsignedX() { return Kernel::isUnsigned(op.getX()); }
  bool hasXOffset() { return isUnsignedX() || op.getXZeros(); }
  /// The zero point of a weight that stores none.
  int64_t storedZero() {
    bool isSigned = layout.element.kind == ElementType::Kind::Signed;
    return isSigned ? int64_t(1) << (layout.element.bits - 1) : 0;
  }
  bool needsSums() { return op.getZeros() || storedZero() != 0; }

  Kernel &kernel;
  Code &code;
  qkernel::PackedIntegerLinearOp op;
  RowInterleavedLayout layout;
  Pieces pieces;
  int64_t rows;
  int64_t slabPieces;
  Value firstRow, firstBlock;
  Type floats, ints, bytes;
  Value codes;    ///< scratch: [row][slot][chunk][input], i8, or i16 if wide
  Value codeSums; ///< scratch: [row][slot], i32
  Value partial;  ///< scratch: [block][row][lane], f32
};

} // namespace nibble::cpu

#endif // NIBBLE_CODEGEN_CPU_INTEGERTILE_H
