//===- PackedLinear.cpp - Linear layers with packed weights ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A task is some blocks of eight output rows for up to `taskRows` rows of x:
// the sums of a block are lanes of a vector, and where registers are wide or
// rows few, those of several blocks are side by side. The weights are read once
// per tile of rows, in order; tasks that share them follow each other, so that
// they come from cache.
//
// Per group, with stored codes c, zero point z and scale s:
//
//   y += s * (sum c x - z * sum x)
//
// Groups are summed in pieces of at most `pieceInputs`, each with its own
// difference: over a long group, the two sums would grow far beyond it and
// their rounding errors with them. The sums of x are computed once per task.
//
// For one row of x, codes are not shifted down: `c 2^k` converts to float32 as
// exactly as `c`, and a task begins with a copy of x times 2^-k. Several rows
// share the shift. Either way the products are the same, and so are their sums:
// the result for a row of x does not depend on the rows beside it.
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

constexpr int64_t blockLanes = RowInterleavedLayout::rows;
constexpr int64_t pieceInputs = 64;
/// Of x, per task. No more than one tile of the largest target.
constexpr int64_t taskRows = 8;
/// Sums that an output has in a piece, so that they need not wait for each
/// other.
constexpr int64_t sumsPerOutput = 2;

/// The code for some rows of x.
class Tile {
public:
  Tile(Kernel &kernel, qkernel::PackedLinearOp op, Index rowsOfX)
      : kernel(kernel), code(kernel.code), op(op),
        layout(qkernel::rowInterleavedLayout(op.getRowLayout())),
        rowsOfX(rowsOfX), rows(static_cast<int64_t>(rowsOfX.size())),
        perGroup(llvm::divideCeil(layout.group, pieceInputs)),
        blocksPerVector(blocksSideBySide()),
        lanes(blocksPerVector * blockLanes),
        floats(code.vector(code.f32(), lanes)),
        words(code.vector(code.i32(), lanes)) {
    for (Value row : rowsOfX)
      x.push_back(code.address(code.f32(), kernel.pointer(op.getX()),
                               code.mul(row, code.index(layout.in))));
    if (hasZeroPoints())
      inputSums = code.scratch(code.f32(), rows * layout.groups() * perGroup);
    if (scalesX())
      scaledX = code.scratch(code.f32(), layout.in);
  }

  /// The most rows that the registers of `target` hold sums for.
  static int64_t mostRows(const CpuTarget &target) {
    return target.vectorRegisters >= 32 ? 8 : 4;
  }

  /// Outputs of the blocks [from, to).
  void emit(Value from, Value to) {
    prepare();
    Value last = code.sub(to, code.index(1));
    code.loop(from, to, blocksPerVector, [&](Value first) {
      Values blocks = blocksFrom(code, first, last, blocksPerVector);
      Values sums =
          layout.element.isFloat() ? floatSums(first) : integerSums(blocks);
      storeBlocks(kernel, layout, op.getBias(), op.getResult(), rowsOfX, blocks,
                  sums);
    });
  }

private:
  void prepare();
  void prepareGroup(Value index, int64_t inputs);
  Value xFactors(int64_t count);
  Values floatSums(Value block);
  Values integerSums(Index blocks);
  Values group(Index blocks, llvm::ArrayRef<Value> sums, Value index,
               int64_t inputs);
  Values piece(Index blocks, Value slot, Value firstInput, Value firstWord,
               int64_t inputs, Value zeroPoint);
  Values codeSums(Index blocks, Value firstInput, Value firstWord,
                  int64_t inputs);
  Value inputSum(int64_t row, Value firstInput, int64_t inputs);
  Value decode(llvm::ArrayRef<Value> chunk, int64_t input);

  Value input(int64_t row, Value position) {
    Value from = scalesX() ? scaledX : x[row];
    return code.broadcast(code.load(code.f32(), from, position), lanes);
  }
  Value ofBlocks(Index blocks, llvm::function_ref<Value(Value block)> load) {
    return sideBySide(code, blocks, load);
  }
  Value real(double value) { return code.real(floats, value); }
  Value bits(int64_t value) { return code.integer(words, value); }
  unsigned width() const { return layout.element.bits; }
  int64_t groupWords(int64_t g) const {
    return layout.chunks(g) * layout.chunkWords() * blockLanes;
  }
  bool hasZeroPoints() {
    return op.getZeros() || layout.element.kind == ElementType::Kind::Signed;
  }
  /// One row leaves registers for more blocks, which share what is loaded of x.
  int64_t blocksSideBySide() {
    if (layout.element.isFloat())
      return 1;
    return (rows == 1 ? 2 : 1) * (code.cpu->vectorBytes >= 64 ? 2 : 1);
  }
  /// Whether codes stay where they are in their words, and x is scaled instead.
  /// Vectors of eight inputs must all be scaled alike.
  bool scalesX() {
    return rows == 1 && (width() == 4 || width() == 8) &&
           layout.element.isInteger() &&
           (layout.groups() == 1 || layout.group % 8 == 0);
  }
  /// Bits by which the code of input `i` of a chunk is not shifted down.
  int64_t shiftLeft(int64_t i) {
    bool isTop = width() == 8 && i % 4 == 3; // would be negative
    return scalesX() && !isTop ? i % 4 * 8 : 0;
  }

  Kernel &kernel;
  Code &code;
  qkernel::PackedLinearOp op;
  RowInterleavedLayout layout;
  Values rowsOfX;
  int64_t rows;
  int64_t perGroup; ///< pieces
  int64_t blocksPerVector, lanes;
  Type floats, words;
  Values x;        ///< pointers to the rows
  Value inputSums; ///< scratch: [row][group][piece], f32
  Value scaledX;   ///< scratch: [input], f32
};

//===----------------------------------------------------------------------===//
// Float weights
//===----------------------------------------------------------------------===//

Values Tile::floatSums(Value block) {
  // A multiply-add takes four cycles and two can start in each: eight sums keep
  // the units busy.
  int64_t sumsPerRow = rows == 1 ? 8 : 2;
  int64_t step = 8;
  Type stored = op.getRowLayout().getElement();
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

/// Groups of the full size in a loop, then a shorter one.
static Values forGroups(Code &code, const RowInterleavedLayout &layout,
                        Values carried,
                        llvm::function_ref<Values(Value group, int64_t inputs,
                                                  llvm::ArrayRef<Value>)>
                            body) {
  int64_t groups = layout.groups();
  bool lastIsShort = layout.groupInputs(groups - 1) != layout.group;
  int64_t whole = lastIsShort ? groups - 1 : groups;
  if (whole > 0)
    carried = code.loop(code.index(0), code.index(whole), 1, carried,
                        [&](Value g, llvm::ArrayRef<Value> values) {
                          return body(g, layout.group, values);
                        });
  if (lastIsShort)
    carried =
        body(code.index(groups - 1), layout.groupInputs(groups - 1), carried);
  return carried;
}

void Tile::prepare() {
  if (layout.element.isFloat())
    return;
  if (hasZeroPoints())
    forGroups(code, layout, {},
              [&](Value group, int64_t inputs, llvm::ArrayRef<Value>) {
                prepareGroup(group, inputs);
                return Values();
              });
  if (!scalesX())
    return;
  auto scale = [&](Value first, int64_t count) {
    Value part = code.load(code.vector(code.f32(), count), x[0], first);
    code.store(code.mul(part, xFactors(count)), scaledX, first);
  };
  int64_t whole = layout.in / 8 * 8;
  code.loop(code.index(0), code.index(whole), 8,
            [&](Value first) { scale(first, 8); });
  if (whole < layout.in)
    scale(code.index(whole), layout.in - whole);
}

/// Powers of two for `count` inputs, from the first one of a chunk on.
Value Tile::xFactors(int64_t count) {
  Type type = code.vector(code.f32(), count);
  Value result = code.real(type, 1);
  for (int64_t i = 0; i < count; ++i) {
    Value factor =
        code.real(code.f32(), std::ldexp(1., -static_cast<int>(shiftLeft(i))));
    result = count == 1 ? factor : code.insert(result, factor, i);
  }
  return result;
}

/// The sums of x over the pieces of a group.
void Tile::prepareGroup(Value index, int64_t inputs) {
  Value firstInput = code.mul(index, code.index(layout.group));
  Value firstSlot = code.mul(index, code.index(perGroup));
  auto sumPiece = [&](Value p, int64_t count) {
    for (int64_t row = 0; row < rows; ++row)
      code.store(
          inputSum(row,
                   code.add(firstInput, code.mul(p, code.index(pieceInputs))),
                   count),
          inputSums,
          code.add(code.index(row * layout.groups() * perGroup),
                   code.add(firstSlot, p)));
  };
  int64_t whole = inputs / pieceInputs;
  code.loop(code.index(0), code.index(whole), 1,
            [&](Value p) { sumPiece(p, pieceInputs); });
  if (int64_t rest = inputs % pieceInputs)
    sumPiece(code.index(whole), rest);
}

Values Tile::integerSums(Index blocks) {
  return forGroups(
      code, layout, Values(rows, real(0)),
      [&](Value index, int64_t inputs, llvm::ArrayRef<Value> sums) {
        return group(blocks, sums, index, inputs);
      });
}

/// `sums` plus the contribution of group `index` with `inputs` inputs.
Values Tile::group(Index blocks, llvm::ArrayRef<Value> sums, Value index,
                   int64_t inputs) {
  Value firstWord = code.mul(index, code.index(groupWords(0)));
  Value firstInput = code.mul(index, code.index(layout.group));
  Value firstSlot = code.mul(index, code.index(perGroup));
  Value zero;
  if (hasZeroPoints())
    zero = ofBlocks(blocks, [&](Value block) {
      return zeroPointsOf(kernel, layout, op.getZeros(), block, index);
    });
  int64_t pieces = inputs / pieceInputs;
  int64_t wordsPerPiece =
      pieceInputs / layout.chunkInputs() * layout.chunkWords() * blockLanes;
  Values parts;
  auto addParts = [&](llvm::ArrayRef<Value> carried, Value p, int64_t count) {
    Values next =
        piece(blocks, code.add(firstSlot, p),
              code.add(firstInput, code.mul(p, code.index(pieceInputs))),
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

  Value scale = ofBlocks(blocks, [&](Value block) {
    return scalesOf(kernel, layout, op.getRowLayout().getScales(),
                    op.getScales(), block, index);
  });
  Values result;
  for (int64_t row = 0; row < rows; ++row)
    result.push_back(code.fma(scale, parts[row], sums[row]));
  return result;
}

/// Per row of x: sum of codes * x, minus zero point * sum of x.
Values Tile::piece(Index blocks, Value slot, Value firstInput, Value firstWord,
                   int64_t inputs, Value zeroPoint) {
  Values sums = codeSums(blocks, firstInput, firstWord, inputs);
  if (!zeroPoint)
    return sums;
  for (int64_t row = 0; row < rows; ++row) {
    Value at = code.add(code.index(row * layout.groups() * perGroup), slot);
    Value sum = code.broadcast(code.load(code.f32(), inputSums, at), lanes);
    sums[row] = code.fma(code.negate(zeroPoint), sum, sums[row]);
  }
  return sums;
}

Values Tile::codeSums(Index blocks, Value firstInput, Value firstWord,
                      int64_t inputs) {
  int64_t groups = layout.groups();
  int64_t blockWords = (groups - 1) * groupWords(0) + groupWords(groups - 1);
  Values weights;
  for (Value block : blocks) {
    Value first = code.add(code.mul(block, code.index(blockWords)), firstWord);
    weights.push_back(
        code.address(code.i32(), kernel.pointer(op.getWeight()), first));
  }
  int64_t chunkInputs = layout.chunkInputs();
  Type blockWord = code.vector(code.i32(), blockLanes);
  Values sums(rows * sumsPerOutput);
  for (int64_t first = 0; first < inputs; first += chunkInputs) {
    Values chunkWords;
    for (int64_t i = 0; i < layout.chunkWords(); ++i) {
      int64_t at = (first / chunkInputs * layout.chunkWords() + i) * blockLanes;
      if (at * 4 % cacheLine == 0)
        for (Value ofBlock : weights)
          code.prefetch(ofBlock, prefetchBytes + at * 4);
      chunkWords.push_back(ofBlocks(weights, [&](Value ofBlock) {
        return code.load(blockWord, ofBlock, code.index(at));
      }));
    }
    for (int64_t i = 0; i < std::min(chunkInputs, inputs - first); ++i) {
      Value value = decode(chunkWords, i);
      Value position = code.add(firstInput, code.index(first + i));
      for (int64_t row = 0; row < rows; ++row) {
        Value &sum = sums[row * sumsPerOutput + i % sumsPerOutput];
        Value factor = input(row, position);
        sum = sum ? code.fma(value, factor, sum) : code.mul(value, factor);
      }
    }
  }
  Values result;
  for (int64_t row = 0; row < rows; ++row) {
    Value even = sums[row * sumsPerOutput], odd = sums[row * sumsPerOutput + 1];
    result.push_back(odd ? code.add(even, odd) : even);
  }
  return result;
}

/// Input `input` of a chunk as float, times 2^shiftLeft.
Value Tile::decode(llvm::ArrayRef<Value> chunk, int64_t input) {
  int64_t position = layout.bitPosition(input);
  int64_t offset = position % 32, bitsLeft = 32 - offset;
  int64_t mask = (int64_t(1) << width()) - 1;
  Value word = chunk[position / 32];
  int64_t down = offset - shiftLeft(input);
  if (down)
    word = code.shiftRight(word, bits(down));
  if (bitsLeft < width())
    word = code.bitOr(word,
                      code.shiftLeft(chunk[position / 32 + 1], bits(bitsLeft)));
  if (bitsLeft != width() || down != offset)
    word = code.bitAnd(word, bits(mask << (offset - down)));
  return code.toFloat(word, code.f32());
}

Value Tile::inputSum(int64_t row, Value firstInput, int64_t inputs) {
  Value sum;
  for (int64_t i = 0; i + blockLanes <= inputs; i += blockLanes) {
    Value next = code.load(code.vector(code.f32(), blockLanes), x[row],
                           code.add(firstInput, code.index(i)));
    sum = sum ? code.add(sum, next) : next;
  }
  Value total = sum ? code.horizontalSum(sum) : Value();
  if (int64_t rest = inputs % blockLanes) {
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

LinearTasks tasksOf(Kernel &kernel, qkernel::PackedLinearOp op) {
  return LinearTasks(kernel, qkernel::rowInterleavedLayout(op.getRowLayout()),
                     op.getX(), taskRows);
}

DimExpr packedLinearTasks(Kernel &kernel, Operation *op) {
  return tasksOf(kernel, cast<qkernel::PackedLinearOp>(op)).count();
}

TaskTile packedLinearTile(Kernel &kernel, Operation *op, Value task) {
  return tasksOf(kernel, cast<qkernel::PackedLinearOp>(op)).tile(task);
}

void packedLinearTask(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto linear = cast<qkernel::PackedLinearOp>(op);
  bool isSparse = qkernel::rowInterleavedLayout(linear.getRowLayout()).sparse24;
  auto emit = [&](Index rows, Value from, Value to) {
    if (!isSparse)
      return Tile(kernel, linear, rows).emit(from, to);
    code.loop(from, to, 1, [&](Value block) {
      SparseTile(kernel, linear, rows, block).emit();
    });
  };
  // Sparse tiles have sums for at most four rows.
  int64_t most = isSparse ? 4 : Tile::mostRows(*code.cpu);
  tasksOf(kernel, linear).emit(task, most, emit);
}

} // namespace

void addPackedLinearLowerings(LoweringTable &table) {
  Lowering &lowering = table["qkernel.packed_linear"];
  lowering.tasks = packedLinearTasks;
  lowering.task = packedLinearTask;
  lowering.tile = packedLinearTile;
}

} // namespace nibble::cpu
