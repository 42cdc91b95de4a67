//===- PackedLinear.cpp - Linear layers with packed weights ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One task is a block of eight output rows for up to four rows of x: the eight
// sums are the lanes of a vector. The weights are read once per task, in order;
// tasks that share them follow each other, so that they come from cache.
//
// Per group, with stored codes c, zero point z and scale s:
//
//   y += s * (sum c x - z * sum x)
//
// Groups are summed in pieces of at most `pieceInputs`, each with its own
// difference: over a long group, the two sums would grow far beyond it and
// their rounding errors with them.
//
// For one row of x, codes are not shifted down: `c 2^k` converts to float32 as
// exactly as `c`, so each bit position k gets its own sum, and powers of two
// are taken off once per piece. For four rows, registers are too few for that,
// and the shift serves all four.
//
// 2:4 sparse weights are SparseLinear.cpp's.
//
//===----------------------------------------------------------------------===//

#include "RowTiles.h"
#include "SparseTile.h"

#include <cmath>

using namespace mlir;

namespace nibble::cpu {

namespace {

constexpr int64_t lanes = RowInterleavedLayout::rows;
constexpr int64_t pieceInputs = 64;

/// The code for `rows` rows of x and one block of eight outputs.
class Tile {
public:
  Tile(Kernel &kernel, qkernel::PackedLinearOp op, int64_t rows, Value firstRow,
       Value block)
      : kernel(kernel), code(kernel.code), op(op),
        layout(qkernel::rowInterleavedLayout(op.getLayout())), rows(rows),
        firstRow(firstRow), block(block),
        floats(code.vector(code.f32(), lanes)),
        words(code.vector(code.i32(), lanes)) {
    for (int64_t row = 0; row < rows; ++row)
      x.push_back(code.address(code.f32(), kernel.pointer(op.getX()),
                               code.mul(code.add(firstRow, code.index(row)),
                                        code.index(layout.in))));
  }

  void emit() {
    Values sums = layout.element.isFloat() ? floatSums() : integerSums();
    storeBlock(kernel, layout, op.getBias(), op.getResult(), firstRow, block,
               sums);
  }

private:
  Values floatSums();
  Values integerSums();
  Values group(llvm::ArrayRef<Value> sums, Value index, int64_t inputs);
  Values piece(Value firstInput, Value firstWord, int64_t inputs,
               Value zeroPoint);
  Values codeSums(Value firstInput, Value firstWord, int64_t inputs);
  Value inputSum(int64_t row, Value firstInput, int64_t inputs);
  std::pair<Value, int> decode(llvm::ArrayRef<Value> chunk, int64_t input);

  Value input(int64_t row, Value position) {
    return code.broadcast(code.load(code.f32(), x[row], position), lanes);
  }
  Value real(double value) { return code.real(floats, value); }
  Value bits(int64_t value) { return code.integer(words, value); }
  unsigned width() const { return layout.element.bits; }
  int64_t groupWords(int64_t g) const {
    return layout.chunks(g) * layout.chunkWords() * lanes;
  }

  Kernel &kernel;
  Code &code;
  qkernel::PackedLinearOp op;
  RowInterleavedLayout layout;
  int64_t rows;
  Value firstRow, block;
  Type floats, words;
  Values x; ///< pointers to the rows
};

//===----------------------------------------------------------------------===//
// Float weights
//===----------------------------------------------------------------------===//

Values Tile::floatSums() {
  // A multiply-add takes four cycles and two can start in each: eight sums keep
  // the units busy.
  int64_t sumsPerRow = rows == 1 ? 8 : 2;
  int64_t step = 8;
  Type stored = op.getLayout().getElement();
  Value weights = code.address(stored, kernel.pointer(op.getWeight()),
                               code.mul(block, code.index(layout.in * lanes)));
  auto advance = [&](Values sums, Value first, int64_t inputs) {
    for (int64_t i = 0; i < inputs; ++i) {
      Value position = code.add(first, code.index(i));
      Value weight = code.loadFloats(stored, lanes, weights,
                                     code.mul(position, code.index(lanes)));
      for (int64_t row = 0; row < rows; ++row) {
        Value &sum = sums[row * sumsPerRow + i % sumsPerRow];
        sum = code.fma(input(row, position), weight, sum);
      }
    }
    return sums;
  };
  int64_t whole = layout.in / step * step;
  Values sums(rows * sumsPerRow, real(0));
  sums = code.loop(code.index(0), code.index(whole), step, sums,
                   [&](Value first, llvm::ArrayRef<Value> carried) {
                     return advance(llvm::to_vector(carried), first, step);
                   });
  sums = advance(sums, code.index(whole), layout.in - whole);
  Values result;
  for (int64_t row = 0; row < rows; ++row) {
    auto own =
        llvm::MutableArrayRef<Value>(sums).slice(row * sumsPerRow, sumsPerRow);
    for (int64_t half = sumsPerRow / 2; half > 0; half /= 2)
      for (int64_t i = 0; i < half; ++i)
        own[i] = code.add(own[i], own[i + half]);
    result.push_back(own[0]);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Integer weights
//===----------------------------------------------------------------------===//

Values Tile::integerSums() {
  // Groups of the full size in a loop, then a shorter one.
  int64_t groups = layout.groups();
  bool lastIsShort = layout.groupInputs(groups - 1) != layout.group;
  int64_t whole = lastIsShort ? groups - 1 : groups;
  Values sums(rows, real(0));
  if (whole > 0)
    sums = code.loop(code.index(0), code.index(whole), 1, sums,
                     [&](Value g, llvm::ArrayRef<Value> carried) {
                       return group(carried, g, layout.group);
                     });
  if (lastIsShort)
    sums = group(sums, code.index(groups - 1), layout.groupInputs(groups - 1));
  return sums;
}

/// `sums` plus the contribution of group `index` with `inputs` inputs.
Values Tile::group(llvm::ArrayRef<Value> sums, Value index, int64_t inputs) {
  int64_t groups = layout.groups();
  int64_t blockWords = (groups - 1) * groupWords(0) + groupWords(groups - 1);
  Value firstWord = code.add(code.mul(block, code.index(blockWords)),
                             code.mul(index, code.index(groupWords(0))));
  Value firstInput = code.mul(index, code.index(layout.group));
  Value zero = zeroPointsOf(kernel, layout, op.getZeros(), block, index);
  int64_t pieces = inputs / pieceInputs;
  int64_t wordsPerPiece =
      pieceInputs / layout.chunkInputs() * layout.chunkWords() * lanes;
  Values parts;
  auto addParts = [&](llvm::ArrayRef<Value> carried, Value p, int64_t count) {
    Values next =
        piece(code.add(firstInput, code.mul(p, code.index(pieceInputs))),
              code.add(firstWord, code.mul(p, code.index(wordsPerPiece))),
              count, zero);
    for (size_t row = 0; row < carried.size(); ++row)
      next[row] = code.add(carried[row], next[row]);
    return next;
  };
  if (pieces == 1)
    parts = addParts({}, code.index(0), pieceInputs);
  else if (pieces > 1)
    parts =
        code.loop(code.index(0), code.index(pieces), 1, Values(rows, real(0)),
                  [&](Value p, llvm::ArrayRef<Value> carried) {
                    return addParts(carried, p, pieceInputs);
                  });
  if (int64_t rest = inputs % pieceInputs)
    parts = addParts(parts, code.index(pieces), rest);

  Value scale = scalesOf(kernel, layout, op.getLayout().getScales(),
                         op.getScales(), block, index);
  Values result;
  for (int64_t row = 0; row < rows; ++row)
    result.push_back(code.fma(scale, parts[row], sums[row]));
  return result;
}

/// Per row of x: sum of codes * x, minus zero point * sum of x.
Values Tile::piece(Value firstInput, Value firstWord, int64_t inputs,
                   Value zeroPoint) {
  Values sums = codeSums(firstInput, firstWord, inputs);
  if (!zeroPoint)
    return sums;
  for (int64_t row = 0; row < rows; ++row) {
    Value sum = code.broadcast(inputSum(row, firstInput, inputs), lanes);
    sums[row] = code.fma(code.negate(zeroPoint), sum, sums[row]);
  }
  return sums;
}

Values Tile::codeSums(Value firstInput, Value firstWord, int64_t inputs) {
  // One row: a sum per input of a chunk (at most 8), by its power of two.
  // Several rows: even and odd inputs.
  int64_t chunkInputs = layout.chunkInputs();
  int64_t sumsPerRow = rows == 1 ? std::min<int64_t>(chunkInputs, 8) : 2;
  Values sums(rows * sumsPerRow);
  llvm::SmallVector<int> powers(sumsPerRow, 0);
  for (int64_t first = 0; first < inputs; first += chunkInputs) {
    int64_t chunk = first / chunkInputs;
    Values chunkWords;
    for (int64_t word = 0; word < layout.chunkWords(); ++word)
      chunkWords.push_back(code.load(
          words, kernel.pointer(op.getWeight()),
          code.add(firstWord,
                   code.index((chunk * layout.chunkWords() + word) * lanes))));
    int64_t count = std::min(chunkInputs, inputs - first);
    for (int64_t i = 0; i < count; ++i) {
      auto [value, power] = decode(chunkWords, i);
      powers[i % sumsPerRow] = power;
      Value position = code.add(firstInput, code.index(first + i));
      for (int64_t row = 0; row < rows; ++row) {
        Value &sum = sums[row * sumsPerRow + i % sumsPerRow];
        Value factor = input(row, position);
        sum = sum ? code.fma(value, factor, sum) : code.mul(value, factor);
      }
    }
  }
  Values result;
  for (int64_t row = 0; row < rows; ++row) {
    Value total;
    for (int64_t i = 0; i < sumsPerRow; ++i) {
      Value sum = sums[row * sumsPerRow + i];
      if (!sum)
        continue;
      Value scale = real(std::ldexp(1., -powers[i]));
      total = !total ? code.mul(sum, scale) : code.fma(sum, scale, total);
    }
    result.push_back(total);
  }
  return result;
}

/// Input `input` of a chunk as float times 2^power. With several rows of x the
/// power is 0.
std::pair<Value, int> Tile::decode(llvm::ArrayRef<Value> chunk, int64_t input) {
  int64_t position = layout.bitPosition(input);
  int64_t offset = position % 32, bitsLeft = 32 - offset;
  int64_t mask = (int64_t(1) << width()) - 1;
  Value word = chunk[position / 32];
  int power = 0;
  if (bitsLeft < width()) {
    Value upper = code.shiftLeft(chunk[position / 32 + 1], bits(bitsLeft));
    word = code.bitOr(code.shiftRight(word, bits(offset)), upper);
    word = code.bitAnd(word, bits(mask));
  } else if (bitsLeft == width()) {
    word = offset ? code.shiftRight(word, bits(offset)) : word;
  } else if (rows == 1 && (width() == 4 || width() == 8)) {
    word = code.bitAnd(word, bits(mask << offset));
    power = static_cast<int>(offset);
  } else {
    if (offset)
      word = code.shiftRight(word, bits(offset));
    word = code.bitAnd(word, bits(mask));
  }
  return {code.toFloat(word, code.f32()), power};
}

Value Tile::inputSum(int64_t row, Value firstInput, int64_t inputs) {
  Value sum;
  for (int64_t i = 0; i + lanes <= inputs; i += lanes) {
    Value next = code.load(floats, x[row], code.add(firstInput, code.index(i)));
    sum = sum ? code.add(sum, next) : next;
  }
  Value total = sum ? code.horizontalSum(sum) : Value();
  if (int64_t rest = inputs % lanes) {
    Value last = code.horizontalSum(
        code.load(code.vector(code.f32(), rest), x[row],
                  code.add(firstInput, code.index(inputs - rest))));
    total = total ? code.add(total, last) : last;
  }
  return total;
}

//===----------------------------------------------------------------------===//
// Tasks
//===----------------------------------------------------------------------===//

DimExpr packedLinearTasks(Kernel &kernel, Operation *op) {
  auto linear = cast<qkernel::PackedLinearOp>(op);
  RowInterleavedLayout layout =
      qkernel::rowInterleavedLayout(linear.getLayout());
  return rowTiles(rowsOfX(kernel, linear.getX())) * DimExpr(layout.rowBlocks());
}

void packedLinearTask(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto linear = cast<qkernel::PackedLinearOp>(op);
  DimExpr rows = rowsOfX(kernel, linear.getX());
  auto emit = [&](int64_t count, Value firstRow, Value block) {
    if (linear.getLayout().getSparse24())
      SparseTile(kernel, linear, count, firstRow, block).emit();
    else
      Tile(kernel, linear, count, firstRow, block).emit();
  };
  if (rows.asConstant() == 1)
    return emit(1, code.index(0), task);
  Value tiles = kernel.evaluate(rowTiles(rows));
  Value block = code.divide(task, tiles, /*isUnsigned=*/true);
  Value tile = code.remainder(task, tiles, /*isUnsigned=*/true);
  forRowTile(kernel, rows, tile, [&](int64_t count, Value firstRow) {
    emit(count, firstRow, block);
  });
}

} // namespace

void addPackedLinearLowerings(LoweringTable &table) {
  Lowering &lowering = table["qkernel.packed_linear"];
  lowering.tasks = packedLinearTasks;
  lowering.task = packedLinearTask;
}

} // namespace nibble::cpu
