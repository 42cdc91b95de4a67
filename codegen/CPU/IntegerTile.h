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

#include "DotProduct.h"
#include "Lowerings.h"

#include "nibble/dialects/QKernel/QKernel.h"

namespace nibble::cpu {

/// How the inputs of a layer are divided, and how codes unpack.
struct Pieces {
  Pieces(const RowInterleavedLayout &layout, int64_t xGroup,
         const DotProduct &dot);

  int64_t inputs;     ///< of every piece but possibly the last
  int64_t count;      ///< of all pieces
  int64_t lastInputs; ///< of the last piece
  int64_t perGroup;   ///< pieces of a group of the weight
  int64_t perXGroup;  ///< pieces of a group of x

  int64_t chunkInputs;
  bool isAligned; ///< pieces start at a chunk
  bool isWhole;   ///< and all of them end with one
  int64_t chunks; ///< that a piece touches, at most

  int64_t largestCode;  ///< of the weight, as it is stored
  bool isWide;          ///< products of 16-bit integers
  int64_t chunkVectors; ///< vectors that a chunk unpacks to
  int64_t codeBytes;    ///< of a prepared code of x: 1, or 2 if wide

  /// Bytes of a piece's prepared codes.
  int64_t bytes() const { return chunks * chunkInputs * codeBytes; }
};

/// The code for some rows of x.
class IntegerTile {
public:
  /// Outputs of a block.
  static constexpr int64_t blockLanes = RowInterleavedLayout::rows;
  static constexpr int64_t vectorBytes = 32;

  /// The most rows that the registers of `target` hold sums for.
  static int64_t mostRows(const CpuTarget &target) {
    return target.vectorRegisters >= 32 ? 8 : 4;
  }

  /// `rowsOfX`: which they are; one may be there more than once.
  IntegerTile(Kernel &kernel, qkernel::PackedIntegerLinearOp op,
              llvm::ArrayRef<Value> rowsOfX);

  /// Outputs of the blocks [from, to).
  void emit(Value from, Value to);

private:
  // x: sums of its codes, and where it has to be reordered also these, are
  // written to the stack.
  void prepare(Value firstPiece, Value count, int64_t inputs);
  void prepareRow(Value row, Value firstPiece, Value count, int64_t inputs);
  Value copy(Value row, Value piece, Value slot, int64_t inputs);
  Value copyAligned(Value from, Value to, int64_t inputs, Value zero);
  Value copyUnaligned(Value from, Value to, Value start, int64_t inputs,
                      Value zero);
  Value storedSum(Value sum);
  int64_t placeOf(int64_t i) const;
  Value ordered(Value bytes);
  Value zeroOfX(Value row, Value piece);

  // Sums. `blocks` are side by side in the lanes of a vector, and where chunks
  // are too, so are the sums of even and of odd ones.
  void accumulate(Value from, Value to, Value firstPiece, Value count,
                  int64_t inputs);
  Values addPiece(Index blocks, Value piece, Value slot, int64_t inputs,
                  llvm::ArrayRef<Value> sums);
  Values initialSums(Index blocks, Value piece, Value slot);
  Values dotPiece(Index blocks, Value piece, Value slot, int64_t inputs,
                  llvm::ArrayRef<Value> sums);
  bool takesChunkPairs() const;
  Values inPairs(llvm::ArrayRef<Value> sums);
  Values joined(llvm::ArrayRef<Value> sums);
  Values dot(llvm::ArrayRef<Value> chunks, llvm::ArrayRef<Value> codes,
             int64_t count, llvm::ArrayRef<Value> sums);
  Values unpack(llvm::ArrayRef<Value> chunk);
  Value factorsOfX(Value prepared, int64_t chunk, int64_t vector);
  void prefetch(Value base, int64_t offset);
  void prefetchFactors(Index blocks, Value piece);
  void finish(Value block);

  // Blocks.
  /// Where the sums of a row of the blocks from `first` wait.
  Value sumsOf(Value first, int64_t row) {
    return code.add(
        code.mul(code.sub(first, firstBlock), code.index(rows * blockLanes)),
        code.index(row * lanes));
  }
  Value blockGroup(Value block, Value piece) {
    Value first = code.mul(block, code.index(layout.groups()));
    if (layout.groups() > 1)
      first = code.add(first, group(piece));
    return code.mul(first, code.index(blockLanes));
  }

  // Pieces.
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
  Value slotOf(Value row, Value slot) {
    return code.add(code.mul(row, code.index(slabPieces)), slot);
  }
  /// The row of x that is row `row` of the tile.
  Value rowOfX(Value row) {
    if (std::optional<int64_t> constant = Code::constantIndex(row))
      return rowsOfX[*constant];
    return code.minimum(code.add(rowsOfX.front(), row), rowsOfX.back());
  }
  /// The codes of a piece as x stores them.
  Value codesOfX(Value row, Value piece) {
    Value first = code.add(code.mul(rowOfX(row), code.index(layout.in)),
                           code.mul(piece, code.index(pieces.inputs)));
    return code.address(code.i8(), kernel.pointer(op.getX()), first);
  }
  /// The codes of a piece in the order in which the weight's unpack.
  Value preparedCodes(Value row, Value piece, Value slot) {
    if (usesXAsItIs())
      return codesOfX(row, piece);
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
  Value xBlock(Value row, Value piece) {
    int64_t groups = (layout.in + op.getXGroup() - 1) / op.getXGroup();
    Value first = code.mul(rowOfX(row), code.index(groups));
    return groups == 1 ? first : code.add(first, xGroup(piece));
  }
  Value scaleOfX(Value row, Value piece) {
    Value at = hasOneXScale() ? code.index(0) : xBlock(row, piece);
    Value scale = code.load(code.f32(), kernel.pointer(op.getXScales()), at);
    return code.broadcast(scale, lanes);
  }
  Value scales(Index blocks, Value piece);
  Value zeroPoints(Index blocks, Value piece);

  // Offsets of codes.
  bool isUnsignedX() { return Kernel::isUnsigned(op.getX()); }
  bool hasXOffset() { return isUnsignedX() || op.getXZeros(); }
  bool xZerosDiffer() {
    return op.getXZeros() && !isSingle(op.getXZeros()) &&
           op.getXGroup() < static_cast<uint64_t>(layout.in);
  }
  /// What dot products want to be subtracted from all codes of the weight.
  int64_t offset() { return dotProduct.offset(pieces.largestCode); }
  /// The zero point of a weight that stores none, less the offset.
  int64_t commonZero() {
    bool isSigned = layout.element.kind == ElementType::Kind::Signed;
    return (isSigned ? int64_t(1) << (layout.element.bits - 1) : 0) - offset();
  }
  bool needsSums() { return op.getZeros() || commonZero() != 0; }
  /// Whether all sums of a piece are exact in float32, so that one operation
  /// there takes the zero points off.
  bool areZerosFloats() {
    return op.getZeros() && pieces.inputs * 255 * 255 < int64_t(1) << 24;
  }
  bool usesXAsItIs() {
    return pieces.isWhole && !pieces.isWide && !isUnsignedX() &&
           placeOf(1) == 1;
  }

  Kernel &kernel;
  Code &code;
  DotProduct dotProduct;
  qkernel::PackedIntegerLinearOp op;
  RowInterleavedLayout layout;
  Pieces pieces;
  Values rowsOfX;
  int64_t rows;
  int64_t blocksPerVector, lanes;      ///< of sums
  int64_t chunksPerVector, chunkLanes; ///< of products
  int64_t slabPieces;
  Value firstBlock, lastBlock;
  Type floats, ints;
  Value codes;    ///< scratch: [row][slot][chunk][input], i8, or i16 if wide
  Value codeSums; ///< scratch: [row][slot], i32 or f32
  Value partial;  ///< scratch: [block][row][lane], f32
};

} // namespace nibble::cpu

#endif // NIBBLE_CODEGEN_CPU_INTEGERTILE_H
