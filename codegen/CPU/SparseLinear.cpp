//===- SparseLinear.cpp - Linear layers with 2:4 sparse weights -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Tasks and tiles are those of PackedLinear.cpp. For every four inputs, each of
// eight outputs has two values and picks two of the four elements of x:
//
//   y += value[0] * x[position[0]] + value[1] * x[position[1]]
//
// With the four elements in both halves of a vector, picking is one in-lane
// permutation (vpermilps), whose indices are the lowest two bits of each lane:
// a word of 16 positions, shifted, is such indices as it is. So four inputs
// take two permutations and two multiply-adds instead of four multiply-adds,
// and half of the values are read.
//
// Zero points are subtracted from the codes, exactly, before they are
// multiplied: outputs pick different inputs, so no sum of inputs serves all. As
// in PackedLinear.cpp, for one row of x codes are not shifted down: each bit
// position has its own sum and its own multiple of the zero point.
//
//===----------------------------------------------------------------------===//

#include "SparseTile.h"

#include "RowTiles.h"

#include <cmath>

namespace nibble::cpu {

static constexpr int64_t lanes = RowInterleavedLayout::rows;
/// Positions in a word.
static constexpr int64_t positionsPerWord = 16;

SparseTile::SparseTile(Kernel &kernel, qkernel::PackedLinearOp op,
                       Index rowsOfX, Value block)
    : kernel(kernel), code(kernel.code), op(op),
      layout(qkernel::rowInterleavedLayout(op.getRowLayout())), rowsOfX(rowsOfX),
      rows(static_cast<int64_t>(rowsOfX.size())),
      // Eight chains of multiply-adds keep the units busy; with codes to unpack
      // in between, four do, and registers are few.
      sumsPerRow(rows == 1                  ? 8
                 : layout.element.isFloat() ? 2
                                            : 1),
      block(block), floats(code.vector(code.f32(), lanes)),
      words(code.vector(code.i32(), lanes)) {
  for (Value row : rowsOfX)
    x.push_back(code.address(code.f32(), kernel.pointer(op.getX()),
                             code.mul(row, code.index(layout.in))));
}

void SparseTile::emit() {
  // Groups of the full size in a loop, then a shorter one. Floats are one
  // group.
  int64_t groups = layout.groups();
  bool lastIsShort = layout.groupInputs(groups - 1) != layout.group;
  int64_t whole = lastIsShort ? groups - 1 : groups;
  Values totals(rows, code.real(floats, 0));
  if (whole == 1)
    totals = addGroup(totals, code.index(0), layout.group);
  else if (whole > 1)
    totals = code.loop(code.index(0), code.index(whole), 1, totals,
                       [&](Value g, llvm::ArrayRef<Value> carried) {
                         return addGroup(carried, g, layout.group);
                       });
  if (lastIsShort)
    totals = addGroup(totals, code.index(groups - 1),
                      layout.groupInputs(groups - 1));
  storeBlock(kernel, layout, op.getBias(), op.getResult(), rowsOfX, block,
             totals);
}

/// `totals` plus the contribution of a group with `inputs` inputs.
Values SparseTile::addGroup(llvm::ArrayRef<Value> totals, Value group,
                            int64_t inputs) {
  zeroPoints.clear();
  if (layout.element.isInteger())
    if (Value zero = zeroPointsOf(kernel, layout, op.getZeros(), block, group))
      for (int64_t i = 0; i < sumsPerRow; ++i)
        zeroPoints.push_back(
            code.mul(zero, code.real(floats, std::ldexp(1., powerOf(i)))));

  int64_t chunkBytes = layout.chunkBytes();
  Value first = code.mul(block, code.index(layout.byteOffset(1, 0, 0)));
  first = code.add(first,
                   code.mul(group, code.index(layout.chunks(0) * chunkBytes)));
  Value chunks = code.address(code.i8(), kernel.pointer(op.getWeight()), first);
  Value firstInput = code.mul(group, code.index(layout.group));
  auto addAt = [&](llvm::ArrayRef<Value> sums, Value index, int64_t count) {
    return addChunk(
        sums,
        code.address(code.i8(), chunks,
                     code.mul(index, code.index(chunkBytes))),
        code.add(firstInput, code.mul(index, code.index(layout.chunkInputs()))),
        count);
  };
  int64_t whole = inputs / layout.chunkInputs(),
          rest = inputs % layout.chunkInputs();
  Values sums(rows * sumsPerRow, code.real(floats, 0));
  if (whole == 1)
    sums = addAt(sums, code.index(0), layout.chunkValues());
  else if (whole > 1)
    sums = code.loop(code.index(0), code.index(whole), 1, sums,
                     [&](Value index, llvm::ArrayRef<Value> carried) {
                       return addAt(carried, index, layout.chunkValues());
                     });
  if (rest)
    sums = addAt(sums, code.index(whole), rest / 2);

  Value scale = layout.element.isInteger()
                    ? scalesOf(kernel, layout, op.getRowLayout().getScales(),
                               op.getScales(), block, group)
                    : Value();
  Values result;
  for (int64_t row = 0; row < rows; ++row) {
    Values own(llvm::ArrayRef<Value>(sums).slice(row * sumsPerRow, sumsPerRow));
    for (int64_t i = 0; i < sumsPerRow; ++i)
      if (int power = powerOf(i))
        own[i] = code.mul(own[i], code.real(floats, std::ldexp(1., -power)));
    for (int64_t half = sumsPerRow / 2; half > 0; half /= 2)
      for (int64_t i = 0; i < half; ++i)
        own[i] = code.add(own[i], own[i + half]);
    result.push_back(scale ? code.fma(scale, own[0], totals[row])
                           : code.add(totals[row], own[0]));
  }
  return result;
}

/// Of 8 floats in two halves: lane i of the result is the lane of i's half that
/// the lowest two bits of lane i of `lanes` (8 of i32) count.
static Value pick(Code &code, Value vector, Value lanes) {
  if (code.cpu->isX86())
    return code.intrinsic(vector.getType(), "llvm.x86.avx.vpermilvar.ps.256",
                          {vector, lanes});
  // One of four by two bits: of two, then of the two that are left.
  auto isSet = [&](int64_t bit) {
    Value masked = code.bitAnd(lanes, code.integer(lanes.getType(), bit));
    return code.compare(Compare::ne, masked, code.zero(lanes.getType()));
  };
  auto everywhere = [&](int32_t i) {
    return code.permute(vector, {i, i, i, i, i + 4, i + 4, i + 4, i + 4});
  };
  Value isOdd = isSet(1);
  return code.select(isSet(2), code.select(isOdd, everywhere(3), everywhere(2)),
                     code.select(isOdd, everywhere(1), everywhere(0)));
}

/// `sums` plus the products of the first `count` values of a chunk, whose
/// inputs begin at `firstInput`.
Values SparseTile::addChunk(llvm::ArrayRef<Value> sums, Value chunk,
                            Value firstInput, int64_t count) {
  for (int64_t line = 0; line < static_cast<int64_t>(layout.chunkBytes());
       line += cacheLine)
    code.prefetch(chunk, prefetchBytes + line);
  Values codes = codesOf(chunk), result(sums), inputs;
  Value positions;
  for (int64_t slot = 0; slot < count; ++slot) {
    int64_t inWord = slot % positionsPerWord;
    if (inWord == 0)
      positions =
          code.load(words, chunk, code.index(slot / positionsPerWord * lanes));
    if (slot % 2 == 0)
      inputs = inputsOf(code.add(firstInput, code.index(2 * slot)));
    Value picked =
        inWord ? code.shiftRight(positions, code.integer(words, 2 * inWord))
               : positions;
    Value value = valueOf(codes, chunk, slot);
    for (int64_t row = 0; row < rows; ++row) {
      Value &sum = result[row * sumsPerRow + slot % sumsPerRow];
      sum = code.fma(pick(code, inputs[row], picked), value, sum);
    }
  }
  return result;
}

/// Per row, the four inputs from `position` on, twice.
Values SparseTile::inputsOf(Value position) {
  Values result;
  for (Value row : x)
    result.push_back(
        code.permute(code.load(code.vector(code.f32(), 4), row, position),
                     {0, 1, 2, 3, 0, 1, 2, 3}));
  return result;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

/// The words of codes of a chunk; none for floats.
Values SparseTile::codesOf(Value chunk) {
  Values result;
  if (layout.element.isInteger())
    for (int64_t word = 0; word < layout.chunkWords(); ++word)
      result.push_back(code.load(
          words, chunk, code.index((layout.positionWords() + word) * lanes)));
  return result;
}

/// Whether a code is shifted to the lowest bits of its word.
bool SparseTile::isShifted(int64_t slot) const {
  unsigned width = layout.element.bits;
  bool isTop = layout.bitPosition(slot) % 32 + width == 32; // would be a sign
  return rows > 1 || isTop || (width != 4 && width != 8);
}

/// The codes of this slot, and of all others with its sum, count 2^power.
int SparseTile::powerOf(int64_t slot) const {
  if (layout.element.isFloat() || isShifted(slot))
    return 0;
  return static_cast<int>(layout.bitPosition(slot) % 32);
}

/// What multiplies the input of a slot: a float, or a code minus its zero
/// point, times 2^power.
Value SparseTile::valueOf(llvm::ArrayRef<Value> codes, Value chunk,
                          int64_t slot) {
  if (layout.element.isFloat()) {
    Value values = code.address(code.i32(), chunk,
                                code.index(layout.positionWords() * lanes));
    return code.loadFloats(op.getRowLayout().getElement(), lanes, values,
                           code.index(slot * lanes));
  }
  int64_t width = layout.element.bits;
  int64_t position = layout.bitPosition(slot), offset = position % 32;
  int64_t mask = (int64_t(1) << width) - 1;
  auto bits = [&](int64_t value) { return code.integer(words, value); };
  Value word = codes[position / 32];
  if (!isShifted(slot)) {
    word = code.bitAnd(word, bits(mask << offset));
  } else {
    if (offset)
      word = code.shiftRight(word, bits(offset));
    if (offset + width > 32)
      word = code.bitOr(
          word, code.shiftLeft(codes[position / 32 + 1], bits(32 - offset)));
    if (offset + width != 32)
      word = code.bitAnd(word, bits(mask));
  }
  Value value = code.toFloat(word, code.f32());
  return zeroPoints.empty() ? value
                            : code.sub(value, zeroPoints[slot % sumsPerRow]);
}

} // namespace nibble::cpu
