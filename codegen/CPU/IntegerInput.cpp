//===- IntegerInput.cpp - Codes of x in the order of the weights ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The first half of a task of IntegerLinear.cpp: codes of x are summed and,
// unless they can be used as they are, copied to the stack, made signed, and
// put in the order in which weights unpack.
//
// All tasks of a layer do this, so it must be cheap beside a few blocks of
// weights. The sums of eight pieces become one vector together, in a few
// shuffles; one by one, each would be a chain of five dependent instructions.
//
//===----------------------------------------------------------------------===//

#include "IntegerTile.h"

using namespace mlir;

namespace nibble::cpu {

/// Pieces whose sums become a vector together, and the longest such ones.
static constexpr int64_t batch = 8;
static constexpr int64_t batchedInputs = 128;

void IntegerTile::prepare(Value firstPiece, Value count, int64_t inputs) {
  if (usesXAsItIs() && !needsSums())
    return;
  if (rows == 1)
    return prepareRow(code.index(0), firstPiece, count, inputs);
  code.loop(code.index(0), code.index(rows), 1,
            [&](Value row) { prepareRow(row, firstPiece, count, inputs); });
}

void IntegerTile::prepareRow(Value row, Value firstPiece, Value count,
                             int64_t inputs) {
  bool isBatched = needsSums() && pieces.isAligned && !xZerosDiffer() &&
                   inputs <= batchedInputs;
  Value size = code.index(batch);
  Value whole = isBatched ? code.mul(code.divide(count, size, true), size)
                          : code.index(0);
  auto prepareSlots = [&](Value slot, int64_t slots) {
    Values sums;
    for (int64_t i = 0; i < slots; ++i)
      sums.push_back(copy(row,
                          code.add(firstPiece, code.add(slot, code.index(i))),
                          code.add(slot, code.index(i)), inputs));
    if (!needsSums())
      return;
    Value sum =
        slots == 1 ? code.horizontalSum(sums[0]) : code.horizontalSums(sums);
    code.store(storedSum(sum), codeSums, slotOf(row, slot));
  };
  if (isBatched)
    code.loop(code.index(0), whole, batch,
              [&](Value slot) { prepareSlots(slot, batch); });
  code.loop(whole, count, 1, [&](Value slot) { prepareSlots(slot, 1); });
}

/// `sum (q - p)` as the sums of products need it: times `-z` if z is the same
/// everywhere, or negative.
Value IntegerTile::storedSum(Value sum) {
  if (!op.getZeros())
    return code.mul(sum, code.integer(sum.getType(), -commonZero()));
  return areZerosFloats() ? code.negate(code.toFloat(sum, code.f32())) : sum;
}

/// Copies the codes of a piece. Returns `sum (q - p)`, as a scalar or spread
/// over the lanes of a vector.
Value IntegerTile::copy(Value row, Value piece, Value slot, int64_t inputs) {
  Value from = codesOfX(row, piece), to = preparedCodes(row, piece, slot);
  Value zero = zeroOfX(row, piece);
  return pieces.isAligned
             ? copyAligned(from, to, inputs, zero)
             : copyUnaligned(from, to, inGroup(piece), inputs, zero);
}

/// p as a byte, in the signed space.
Value IntegerTile::zeroOfX(Value row, Value piece) {
  Value zero = code.zero(code.i8());
  if (Value zeros = op.getXZeros())
    zero = code.load(code.i8(), kernel.pointer(zeros),
                     isSingle(zeros) ? code.index(0) : xBlock(row, piece));
  return isUnsignedX() ? code.bitXor(zero, code.integer(code.i8(), -128))
                       : zero;
}

/// Where input `i` of whole chunks stands among the prepared codes. Twice is
/// the identity: it also says which input stands at place `i`.
int64_t IntegerTile::placeOf(int64_t i) const {
  if (pieces.isWide) // even bytes of a word, then odd ones
    return i / 4 * 4 + i % 2 * 2 + i / 2 % 2;
  if (layout.element.bits == 2) // every fourth code of a word
    return i / 16 * 16 + i % 4 * 4 + i / 4 % 4;
  return i;
}

/// 32 codes as they are prepared.
Value IntegerTile::ordered(Value bytes) {
  llvm::SmallVector<int32_t> order;
  for (int64_t i = 0; i < vectorBytes; ++i)
    order.push_back(static_cast<int32_t>(placeOf(i)));
  bytes = code.permute(bytes, order);
  return pieces.isWide ? code.resizeInteger(bytes, code.i16()) : bytes;
}

/// Returns `sum (q - p)` in parts.
Value IntegerTile::copyAligned(Value from, Value to, int64_t inputs,
                               Value zero) {
  Type bytes = code.vector(code.i8(), vectorBytes);
  Value ones = code.integer(bytes, 1), fill = code.broadcast(zero, vectorBytes);
  auto convert = [&](Value position, int64_t count) {
    Value raw = code.load(code.vector(code.i8(), count), from, position);
    if (isUnsignedX())
      raw = code.bitXor(raw, code.integer(raw.getType(), -128));
    return code.extend(raw, fill);
  };
  auto add = [&](Value sums, Value converted) {
    return needsSums() ? dotProduct.bytes(sums, {ones}, {converted}, 1) : sums;
  };
  auto copyVector = [&](Value i, Value sums) {
    Value converted = convert(i, vectorBytes);
    if (!usesXAsItIs())
      code.store(ordered(converted),
                 code.address(pieces.isWide ? code.i16() : code.i8(), to, i),
                 code.index(0));
    return add(sums, converted);
  };
  int64_t whole = inputs / vectorBytes * vectorBytes, rest = inputs - whole;
  Value sums = code.zero(code.vector(code.i32(), vectorBytes / 4));
  if (inputs <= batchedInputs)
    for (int64_t i = 0; i < whole; i += vectorBytes)
      sums = copyVector(code.index(i), sums);
  else
    sums = code.loop(code.index(0), code.index(whole), vectorBytes, {sums},
                     [&](Value i, llvm::ArrayRef<Value> carried) -> Values {
                       return {copyVector(i, carried[0])};
                     })[0];
  if (rest) {
    Value converted = convert(code.index(whole), rest);
    sums = add(sums, converted);
    int64_t padded = llvm::alignTo(rest, pieces.chunkInputs);
    if (!usesXAsItIs())
      code.store(code.slice(ordered(converted), 0, padded), to,
                 code.index(whole));
  }
  if (!hasXOffset())
    return sums;
  // Each lane has an equal share of the p among these codes.
  Value zeros =
      code.mul(code.resizeInteger(zero, code.i32()),
               code.integer(code.i32(), llvm::alignTo(inputs, vectorBytes) /
                                            (vectorBytes / 4)));
  return code.sub(sums, code.broadcast(zeros, vectorBytes / 4));
}

/// The same for a piece that starts inside a chunk, at input `start` of its
/// group: the chunk's other codes become p. One code at a time.
Value IntegerTile::copyUnaligned(Value from, Value to, Value start,
                                 int64_t inputs, Value zero) {
  Value chunkInputs = code.index(pieces.chunkInputs);
  Value skipped = code.remainder(start, chunkInputs, /*isUnsigned=*/true);
  Value wide = code.resizeInteger(zero, code.i32());
  auto copyChunk = [&](Value chunk, Value sum) {
    Value first = code.mul(chunk, chunkInputs);
    for (int64_t i = 0; i < pieces.chunkInputs; ++i) {
      Value position = code.sub(code.add(first, code.index(i)), skipped);
      Value inside = code.compare(Compare::lt, position, code.index(inputs),
                                  /*isUnsigned=*/true);
      Value raw = code.load(code.i8(), from,
                            code.select(inside, position, code.index(0)));
      if (isUnsignedX())
        raw = code.bitXor(raw, code.integer(code.i8(), -128));
      Value value = code.select(inside, raw, zero);
      sum =
          code.add(sum, code.sub(code.resizeInteger(value, code.i32()), wide));
      if (pieces.isWide)
        value = code.resizeInteger(value, code.i16());
      code.store(value, to, code.add(first, code.index(placeOf(i))));
    }
    return sum;
  };
  Value touched = code.divide(
      code.add(skipped, code.index(inputs + pieces.chunkInputs - 1)),
      chunkInputs, /*isUnsigned=*/true);
  return code.loop(code.index(0), touched, 1, {code.zero(code.i32())},
                   [&](Value chunk, llvm::ArrayRef<Value> carried) -> Values {
                     return {copyChunk(chunk, carried[0])};
                   })[0];
}

} // namespace nibble::cpu
