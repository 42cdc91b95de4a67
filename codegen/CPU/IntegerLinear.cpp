//===- IntegerLinear.cpp - Linear layers of quantized activations ---------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A piece is a run of inputs with one scale of x and one per output. With
// stored codes c and zero point z of the weight, codes q and zero point p of x:
//
//   y += scales * float(sum (c - z) (q - p))
//   sum (c - z) (q - p) = sum c q - z sum (q - p) - p sum c
//
// The sums are integers, exact as long as the left side fits in 32 bits: the
// terms on the right may wrap around. All of c is unsigned and q is made signed
// (an unsigned q, and its p, minus 128), which is what the dot products of
// instruction sets want.
//
// One task is a few blocks of eight outputs for one tile of rows of x. It first
// writes the tile's codes to the stack in the order in which weights unpack,
// each piece padded with p to whole chunks, and with them `sum (q - p)`: once
// for all blocks of the task. Long rows are done in slabs that stay in the
// first cache; sums of the blocks wait on the stack meanwhile.
//
// Codes of up to 7 bits multiply as bytes (Code::dotBytes). Pairs of products
// of 8-bit codes do not fit in 16 bits, so those multiply as 16-bit integers:
// even bytes by a mask, odd ones by a shift, and q is widened when it is
// written to the stack.
//
// Each row's groups are added in order, whatever the tile and the slab: the
// result for a row does not depend on the rows beside it.
//
//===----------------------------------------------------------------------===//

#include "IntegerTile.h"
#include "RowTiles.h"

using namespace mlir;

namespace nibble::cpu {

namespace {

constexpr int64_t cacheLine = 64;
/// How far ahead weights are asked for. Processors do it themselves, but stop
/// at each page.
constexpr int64_t prefetchBytes = 2048;
/// 2^31 / (255 * 255) inputs, rounded down to a power of two: what int32 holds.
constexpr int64_t longestPiece = 32768;

/// Blocks of outputs per task: more of them share the preparation of x, fewer
/// leave work for more threads.
int64_t blocksPerTask(const RowInterleavedLayout &layout) {
  return std::clamp<int64_t>(layout.rowBlocks() / 64, 1, 16);
}

/// The largest divisor of `size` that is not larger than longestPiece.
int64_t cut(int64_t size) {
  int64_t divisor = std::min(size, longestPiece);
  while (size % divisor)
    --divisor;
  return divisor;
}

} // namespace

Pieces::Pieces(const RowInterleavedLayout &layout, int64_t xGroup) {
  // Two sizes other than `in` divide one another (packed_integer_linear_c6).
  inputs = std::min(layout.group, xGroup);
  inputs = inputs == layout.in ? std::min(inputs, longestPiece) : cut(inputs);
  count = (layout.in + inputs - 1) / inputs;
  lastInputs = layout.in - (count - 1) * inputs;
  perGroup = layout.group == layout.in ? count : layout.group / inputs;
  perXGroup = xGroup == layout.in ? count : xGroup / inputs;
  chunkInputs = layout.chunkInputs();
  isAligned = inputs % chunkInputs == 0 || perGroup == 1;
  chunks = (inputs + chunkInputs - 1) / chunkInputs + (isAligned ? 0 : 1);
  isWide = layout.element.bits == 8;
  chunkVectors = isWide ? 2 : chunkInputs / 4;
  codeBytes = isWide ? 2 : 1;
  vectorInputs = isWide ? 2 : 4;
}

IntegerTile::IntegerTile(Kernel &kernel, qkernel::PackedIntegerLinearOp op,
                         int64_t rows, Value firstRow)
    : kernel(kernel), code(kernel.code), op(op),
      layout(qkernel::rowInterleavedLayout(op.getLayout())),
      pieces(layout, op.getXGroup()), rows(rows), firstRow(firstRow),
      floats(code.vector(code.f32(), lanes)),
      ints(code.vector(code.i32(), lanes)),
      bytes(code.vector(code.i8(), vectorBytes)) {
  // A single row of any usual length is one slab, so that weights are read in
  // order; the slab of a tile leaves half of the first cache for them.
  int64_t slabBytes = (rows == 1 ? 65536 : 16384) / rows;
  slabPieces = std::clamp<int64_t>(slabBytes / pieces.bytes(), 1, pieces.count);
  codes = code.scratch(code.i8(), rows * slabPieces * pieces.bytes());
  codeSums = code.scratch(code.i32(), rows * slabPieces);
  partial = code.scratch(code.f32(), blocksPerTask(layout) * rows * lanes);
}

void IntegerTile::emit(Value from, Value to) {
  firstBlock = from;
  code.loop(from, to, 1, [&](Value block) {
    for (int64_t row = 0; row < rows; ++row)
      code.store(code.real(floats, 0), partial,
                 code.add(sumsOf(block), code.index(row * lanes)));
  });
  // Whole pieces in slabs, then a shorter one.
  bool lastIsShort = pieces.lastInputs != pieces.inputs;
  int64_t whole = pieces.count - lastIsShort;
  auto slab = [&](Value first, Value count, int64_t inputs) {
    prepare(first, count, inputs);
    accumulate(from, to, first, count, inputs);
  };
  int64_t inSlabs = whole / slabPieces * slabPieces;
  code.loop(code.index(0), code.index(inSlabs), slabPieces, [&](Value first) {
    slab(first, code.index(slabPieces), pieces.inputs);
  });
  if (inSlabs < whole)
    slab(code.index(inSlabs), code.index(whole - inSlabs), pieces.inputs);
  if (lastIsShort)
    slab(code.index(whole), code.index(1), pieces.lastInputs);
  code.loop(from, to, 1, [&](Value block) { finish(block); });
}

//===----------------------------------------------------------------------===//
// Sums
//===----------------------------------------------------------------------===//

/// Adds `count` pieces to the sums of the blocks [from, to).
void IntegerTile::accumulate(Value from, Value to, Value firstPiece,
                             Value count, int64_t inputs) {
  code.loop(from, to, 1, [&](Value block) {
    auto place = [&](int64_t row) {
      return code.add(sumsOf(block), code.index(row * lanes));
    };
    Values sums;
    for (int64_t row = 0; row < rows; ++row)
      sums.push_back(code.load(floats, partial, place(row)));
    sums = code.loop(code.index(0), count, 1, sums,
                     [&](Value slot, llvm::ArrayRef<Value> carried) {
                       return addPiece(block, code.add(firstPiece, slot), slot,
                                       inputs, carried);
                     });
    for (int64_t row = 0; row < rows; ++row)
      code.store(sums[row], partial, place(row));
  });
}

Values IntegerTile::addPiece(Value block, Value piece, Value slot,
                             int64_t inputs, llvm::ArrayRef<Value> sums) {
  Values products =
      dotPiece(block, piece, slot, inputs, initialSums(block, piece, slot));
  Value ofWeight = scalesDiffer() ? scales(block, piece) : Value();
  Values result;
  for (int64_t row = 0; row < rows; ++row) {
    Value product = products[row];
    if (hasXOffset()) {
      Value zero = code.resizeInteger(zeroOfX(row, piece), code.i32());
      product = code.sub(product,
                         code.mul(products[rows], code.broadcast(zero, lanes)));
    }
    Value factor = ofWeight;
    if (xScalesDiffer()) {
      Value ofX = scaleOfX(row, piece);
      factor = factor ? code.mul(factor, ofX) : ofX;
    }
    product = code.toFloat(product, code.f32());
    result.push_back(factor ? code.fma(product, factor, sums[row])
                            : code.add(product, sums[row]));
  }
  return result;
}

/// `-z sum (q - p)` per row; with an offset of x also 0, for `sum c`.
Values IntegerTile::initialSums(Value block, Value piece, Value slot) {
  Values result(rows, code.zero(ints));
  Value zeros;
  if (op.getZeros())
    zeros = code.resizeInteger(code.load(code.vector(code.i8(), lanes),
                                         kernel.pointer(op.getZeros()),
                                         blockGroup(block, piece)),
                               code.i32(), /*isUnsigned=*/true);
  if (needsSums())
    for (int64_t row = 0; row < rows; ++row) {
      Value sum = code.broadcast(
          code.load(code.i32(), codeSums, slotOf(row, slot)), lanes);
      result[row] = zeros ? code.sub(result[row], code.mul(zeros, sum)) : sum;
    }
  if (hasXOffset())
    result.push_back(code.zero(ints));
  return result;
}

/// `sums` plus the products of a piece.
Values IntegerTile::dotPiece(Value block, Value piece, Value slot,
                             int64_t inputs, llvm::ArrayRef<Value> sums) {
  int64_t chunkBytes = layout.chunkBytes();
  Value first = code.mul(block, code.index(layout.byteOffset(1, 0, 0)));
  if (layout.groups() > 1)
    first = code.add(first, code.mul(group(piece), code.index(layout.chunks(0) *
                                                              chunkBytes)));
  Value chunk = code.divide(inGroup(piece), code.index(pieces.chunkInputs),
                            /*isUnsigned=*/true);
  first = code.add(first, code.mul(chunk, code.index(chunkBytes)));
  Value weights =
      code.address(code.i8(), kernel.pointer(op.getWeight()), first);
  int64_t preparedBytes = pieces.chunkInputs * pieces.codeBytes;
  auto dotChunks = [&](Value index, int64_t count, llvm::ArrayRef<Value> from) {
    return dot(code.address(code.i8(), weights,
                            code.mul(index, code.index(chunkBytes))),
               code.add(code.mul(slot, code.index(pieces.bytes())),
                        code.mul(index, code.index(preparedBytes))),
               count, from);
  };
  if (!pieces.isAligned) {
    Value skipped = code.remainder(
        inGroup(piece), code.index(pieces.chunkInputs), /*isUnsigned=*/true);
    Value touched = code.divide(
        code.add(skipped, code.index(inputs + pieces.chunkInputs - 1)),
        code.index(pieces.chunkInputs), /*isUnsigned=*/true);
    return code.loop(code.index(0), touched, 1, sums,
                     [&](Value i, llvm::ArrayRef<Value> carried) {
                       return dotChunks(i, 1, carried);
                     });
  }
  int64_t count = llvm::divideCeil(inputs, pieces.chunkInputs);
  int64_t run = std::max<int64_t>(1, 8 / pieces.chunkVectors);
  int64_t whole = count / run * run;
  Values result(sums);
  if (whole == run)
    result = dotChunks(code.index(0), run, result);
  else if (whole > run)
    result = code.loop(code.index(0), code.index(whole), run, result,
                       [&](Value i, llvm::ArrayRef<Value> carried) {
                         return dotChunks(i, run, carried);
                       });
  if (whole < count)
    result = dotChunks(code.index(whole), count - whole, result);
  return result;
}

/// `sums` plus the products of `count` chunks at `chunks` with the codes that
/// lie `prepared` bytes behind the first ones of each row.
Values IntegerTile::dot(Value chunks, Value prepared, int64_t count,
                        llvm::ArrayRef<Value> sums) {
  int64_t bytes = count * layout.chunkBytes();
  for (int64_t line = 0; line < bytes; line += cacheLine)
    code.prefetch(chunks, prefetchBytes + line);
  Values weights;
  for (int64_t i = 0; i < count; ++i)
    weights.append(unpack(
        code.address(code.i8(), chunks, code.index(i * layout.chunkBytes()))));
  auto multiply = [&](Value sum, llvm::ArrayRef<Value> factors) {
    int64_t largest = (int64_t(1) << layout.element.bits) - 1;
    return pieces.isWide ? code.dotWords(sum, weights, factors)
                         : code.dotBytes(sum, weights, factors, largest);
  };
  Type element = pieces.isWide ? code.i16() : code.i8();
  Values result;
  for (int64_t row = 0; row < rows; ++row) {
    Value from = code.address(
        code.i8(), codes,
        code.add(code.index(row * slabPieces * pieces.bytes()), prepared));
    Values factors;
    for (size_t i = 0; i < weights.size(); ++i)
      factors.push_back(code.reinterpret(
          code.broadcast(code.load(code.i32(), from, code.index(i)), lanes),
          element));
    result.push_back(multiply(sums[row], factors));
  }
  if (hasXOffset()) {
    Type type = weights.front().getType();
    Values ones(weights.size(), code.integer(type, 1));
    result.push_back(multiply(sums[rows], ones));
  }
  return result;
}

/// The codes of a chunk, as many per vector and row as x has in 32 bits.
Values IntegerTile::unpack(Value chunk) {
  int64_t bits = layout.element.bits;
  auto word = [&](int64_t i) {
    return code.load(ints, chunk, code.index(i * lanes));
  };
  auto number = [&](int64_t value) { return code.integer(ints, value); };
  auto masked = [&](Value value, int64_t shift, int64_t mask) {
    if (shift)
      value = code.shiftRight(value, number(shift));
    return code.bitAnd(value, number(mask));
  };
  Values result;
  if (pieces.isWide) {
    Value words = code.reinterpret(word(0), code.i16());
    Type type = words.getType();
    return {code.bitAnd(words, code.integer(type, 0xff)),
            code.shiftRight(words, code.integer(type, 8))};
  }
  if (bits == 4 || bits == 2) {
    for (int64_t i = 0; i < layout.chunkWords(); ++i) {
      Value value = word(i);
      for (int64_t shift = 0; shift < 8; shift += bits)
        result.push_back(
            masked(value, shift, bits == 4 ? 0x0f0f0f0f : 0x03030303));
    }
  } else {
    // Four codes at a time, each moved to a byte of its own.
    for (int64_t first = 0; first < pieces.chunkInputs; first += 4) {
      Value vector;
      for (int64_t i = 0; i < 4; ++i) {
        int64_t position = layout.bitPosition(first + i), target = 8 * i;
        int64_t offset = position % 32, mask = ((int64_t(1) << bits) - 1);
        Value value = word(position / 32);
        if (offset > target)
          value = code.shiftRight(value, number(offset - target));
        else if (offset < target)
          value = code.shiftLeft(value, number(target - offset));
        if (offset + bits > 32)
          value =
              code.bitOr(value, code.shiftLeft(word(position / 32 + 1),
                                               number(32 - offset + target)));
        value = code.bitAnd(value, number(mask << target));
        vector = vector ? code.bitOr(vector, value) : value;
      }
      result.push_back(vector);
    }
  }
  for (Value &vector : result)
    vector = code.reinterpret(vector, code.i8());
  return result;
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

void IntegerTile::finish(Value block) {
  Value ofWeight = scalesDiffer() ? Value() : scales(block, code.index(0));
  Values sums;
  for (int64_t row = 0; row < rows; ++row) {
    Value sum = code.load(floats, partial,
                          code.add(sumsOf(block), code.index(row * lanes)));
    if (ofWeight)
      sum = code.mul(sum, ofWeight);
    if (!xScalesDiffer())
      sum = code.mul(sum, scaleOfX(row, code.index(0)));
    sums.push_back(sum);
  }
  storeBlock(kernel, layout, op.getBias(), op.getResult(), firstRow, block,
             sums);
}

//===----------------------------------------------------------------------===//
// Tasks
//===----------------------------------------------------------------------===//

namespace {

DimExpr integerLinearTasks(Kernel &kernel, Operation *op) {
  auto linear = cast<qkernel::PackedIntegerLinearOp>(op);
  auto layout = qkernel::rowInterleavedLayout(linear.getLayout());
  int64_t runs = llvm::divideCeil(layout.rowBlocks(), blocksPerTask(layout));
  return rowTiles(rowsOfX(kernel, linear.getX())) * DimExpr(runs);
}

void integerLinearTask(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto linear = cast<qkernel::PackedIntegerLinearOp>(op);
  auto layout = qkernel::rowInterleavedLayout(linear.getLayout());
  DimExpr rows = rowsOfX(kernel, linear.getX());
  // Tasks that share weights follow each other.
  Value tiles = kernel.evaluate(rowTiles(rows));
  Value run = code.divide(task, tiles, /*isUnsigned=*/true);
  Value tile = code.remainder(task, tiles, /*isUnsigned=*/true);
  Value perTask = code.index(blocksPerTask(layout));
  Value from = code.mul(run, perTask);
  Value to =
      code.minimum(code.add(from, perTask), code.index(layout.rowBlocks()));
  auto emit = [&](int64_t count, Value firstRow) {
    IntegerTile(kernel, linear, count, firstRow).emit(from, to);
  };
  if (rows.asConstant() == 1)
    return emit(1, code.index(0));
  forRowTile(kernel, rows, tile, emit);
}

} // namespace

void addIntegerLinearLowerings(LoweringTable &table) {
  Lowering &lowering = table["qkernel.packed_integer_linear"];
  lowering.tasks = integerLinearTasks;
  lowering.task = integerLinearTask;
}

} // namespace nibble::cpu
