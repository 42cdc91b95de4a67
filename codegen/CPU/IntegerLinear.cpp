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
// instruction sets want; where both must be signed, c and z lose 128 as well.
//
// A task is some blocks of eight outputs for up to `taskRows` rows of x, which
// are done in tiles of as many rows as the target has registers for, and
// smaller ones for what is left. With vectors of 16 lanes, a tile of several
// rows does two blocks side by side, and one row two chunks of a block: fewer
// instructions for as many bytes, so that more loads wait for memory at a time.
// What a task needs of x is prepared once
// for all its blocks (IntegerInput.cpp): `sum (q - p)` of each piece and,
// unless x can be read as it is, its codes in the order in which weights
// unpack, each piece padded with p to whole chunks. Long rows are done in slabs
// that stay in the first cache; sums of the blocks wait on the stack meanwhile.
//
// Codes multiply as bytes (DotProduct.h). Where pairs of products of 8-bit
// codes would not fit, those multiply as 16-bit integers: even bytes by a mask,
// odd ones by a shift, and q is widened when it is written to the stack.
//
// Each row's groups are added in order, whatever the tile, the slab and the
// target: the result for a row does not depend on the rows beside it.
//
//===----------------------------------------------------------------------===//

#include "IntegerTile.h"
#include "RowTiles.h"

using namespace mlir;

namespace nibble::cpu {

/// 2^31 / (255 * 255) inputs, rounded down to a power of two: what int32 holds.
static constexpr int64_t longestPiece = 32768;
/// Of x, per task. No more than one tile of the largest target.
static constexpr int64_t taskRows = 8;

/// The largest divisor of `size` that is not larger than longestPiece.
static int64_t cut(int64_t size) {
  int64_t divisor = std::min(size, longestPiece);
  while (size % divisor)
    --divisor;
  return divisor;
}

Pieces::Pieces(const RowInterleavedLayout &layout, int64_t xGroup,
               const DotProduct &dot) {
  // Two sizes other than `in` divide one another (packed_integer_linear_c6).
  inputs = std::min(layout.group, xGroup);
  inputs = inputs == layout.in ? std::min(inputs, longestPiece) : cut(inputs);
  count = (layout.in + inputs - 1) / inputs;
  lastInputs = layout.in - (count - 1) * inputs;
  perGroup = layout.group == layout.in ? count : layout.group / inputs;
  perXGroup = xGroup == layout.in ? count : xGroup / inputs;
  chunkInputs = layout.chunkInputs();
  isAligned = inputs % chunkInputs == 0 || perGroup == 1;
  isWhole = inputs % chunkInputs == 0 && lastInputs % chunkInputs == 0;
  chunks = (inputs + chunkInputs - 1) / chunkInputs + (isAligned ? 0 : 1);
  largestCode = (int64_t(1) << layout.element.bits) - 1;
  isWide = !dot.takesBytes(largestCode);
  chunkVectors = isWide ? 2 : chunkInputs / 4;
  codeBytes = isWide ? 2 : 1;
}

IntegerTile::IntegerTile(Kernel &kernel, qkernel::PackedIntegerLinearOp op,
                         llvm::ArrayRef<Value> rowsOfX)
    : kernel(kernel), code(kernel.code), dotProduct(kernel.code), op(op),
      layout(qkernel::rowInterleavedLayout(op.getRowLayout())),
      pieces(layout, op.getXGroup(), dotProduct), rowsOfX(rowsOfX),
      rows(static_cast<int64_t>(rowsOfX.size())),
      // One row waits for memory, which likes to be read in order.
      blocksPerVector(rows > 1 && code.cpu->vectorBytes >= 64 ? 2 : 1),
      lanes(blocksPerVector * blockLanes),
      chunksPerVector(takesChunkPairs() ? 2 : 1),
      chunkLanes(chunksPerVector * lanes),
      floats(code.vector(code.f32(), lanes)),
      ints(code.vector(code.i32(), lanes)) {
  // A single row of any usual length is one slab, so that weights are read in
  // order; the slab of a tile leaves half of the first cache for them.
  int64_t slabBytes = (rows == 1 ? 65536 : 16384) / rows;
  slabPieces = std::clamp<int64_t>(slabBytes / pieces.bytes(), 1, pieces.count);
  if (!usesXAsItIs())
    codes = code.scratch(code.i8(), rows * slabPieces * pieces.bytes());
  if (needsSums())
    codeSums = code.scratch(areZerosFloats() ? code.f32() : code.i32(),
                            rows * slabPieces);
  partial = code.scratch(code.f32(), blocksPerTask(layout) * rows * blockLanes);
}

//===----------------------------------------------------------------------===//
// Blocks and slabs
//===----------------------------------------------------------------------===//

void IntegerTile::emit(Value from, Value to) {
  firstBlock = from;
  lastBlock = code.sub(to, code.index(1));
  auto forBlocks = [&](llvm::function_ref<void(Value)> body) {
    code.loop(from, to, blocksPerVector, body);
  };
  forBlocks([&](Value block) {
    for (int64_t row = 0; row < rows; ++row)
      code.store(code.real(floats, 0), partial, sumsOf(block, row));
  });
  // Whole pieces in slabs, then a shorter one.
  bool lastIsShort = pieces.lastInputs != pieces.inputs;
  Value whole = code.index(pieces.count - lastIsShort);
  auto slab = [&](Value first, Value count, int64_t inputs) {
    prepare(first, count, inputs);
    accumulate(from, to, first, count, inputs);
  };
  if (slabPieces == pieces.count)
    slab(code.index(0), whole, pieces.inputs);
  else
    code.loop(code.index(0), whole, slabPieces, [&](Value first) {
      Value count =
          code.minimum(code.index(slabPieces), code.sub(whole, first));
      slab(first, count, pieces.inputs);
    });
  if (lastIsShort)
    slab(whole, code.index(1), pieces.lastInputs);
  forBlocks([&](Value block) { finish(block); });
}

void IntegerTile::finish(Value block) {
  Values blocks = blocksFrom(code, block, lastBlock, blocksPerVector), sums;
  Value ofWeight = scalesDiffer() ? Value() : scales(blocks, code.index(0));
  for (int64_t row = 0; row < rows; ++row) {
    Value sum = code.load(floats, partial, sumsOf(block, row));
    if (ofWeight)
      sum = code.mul(sum, ofWeight);
    if (!xScalesDiffer())
      sum = code.mul(sum, scaleOfX(code.index(row), code.index(0)));
    sums.push_back(sum);
  }
  storeBlocks(kernel, layout, op.getBias(), op.getResult(), rowsOfX, blocks,
              sums);
}

//===----------------------------------------------------------------------===//
// Tasks
//===----------------------------------------------------------------------===//

static LinearTasks tasksOf(Kernel &kernel, qkernel::PackedIntegerLinearOp op) {
  return LinearTasks(kernel, qkernel::rowInterleavedLayout(op.getRowLayout()),
                     op.getX(), taskRows);
}

static DimExpr integerLinearTasks(Kernel &kernel, Operation *op) {
  return tasksOf(kernel, cast<qkernel::PackedIntegerLinearOp>(op)).count();
}

static TaskTile integerLinearTile(Kernel &kernel, Operation *op, Value task) {
  return tasksOf(kernel, cast<qkernel::PackedIntegerLinearOp>(op)).tile(task);
}

static void integerLinearTask(Kernel &kernel, Operation *op, Value task) {
  auto linear = cast<qkernel::PackedIntegerLinearOp>(op);
  tasksOf(kernel, linear)
      .emit(task, IntegerTile::mostRows(*kernel.code.cpu),
            [&](Index rows, Value from, Value to) {
              IntegerTile(kernel, linear, rows).emit(from, to);
            });
}

void addIntegerLinearLowerings(LoweringTable &table) {
  Lowering &lowering = table["qkernel.packed_integer_linear"];
  lowering.tasks = integerLinearTasks;
  lowering.task = integerLinearTask;
  lowering.tile = integerLinearTile;
}

} // namespace nibble::cpu
