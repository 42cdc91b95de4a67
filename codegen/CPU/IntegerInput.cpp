//===- IntegerInput.cpp - Codes of x in the order of the weights ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The first half of a task of IntegerLinear.cpp: codes of x are copied to the
// stack, made signed, put in the order in which weights unpack, and summed.
//
//===----------------------------------------------------------------------===//

#include "IntegerTile.h"

using namespace mlir;

namespace nibble::cpu {

void IntegerTile::prepare(Value firstPiece, Value count, int64_t inputs) {
  code.loop(code.index(0), count, 1, [&](Value slot) {
    for (int64_t row = 0; row < rows; ++row)
      preparePiece(row, code.add(firstPiece, slot), slot, inputs);
  });
}

/// Copies the codes of a piece, and stores what the sums of its products start
/// from: `sum (q - p)`, times `-z` if z is the same everywhere.
void IntegerTile::preparePiece(int64_t row, Value piece, Value slot,
                               int64_t inputs) {
  Value from = code.add(
      code.mul(code.add(firstRow, code.index(row)), code.index(layout.in)),
      code.mul(piece, code.index(pieces.inputs)));
  from = code.address(code.i8(), kernel.pointer(op.getX()), from);
  Value to = preparedCodes(row, slot), zero = zeroOfX(row, piece);
  Value sum = pieces.isAligned
                  ? copyAligned(from, to, inputs, zero)
                  : copyUnaligned(from, to, inGroup(piece), inputs, zero);
  if (!needsSums())
    return;
  if (!op.getZeros())
    sum = code.mul(sum, code.integer(code.i32(), -storedZero()));
  code.store(sum, codeSums, slotOf(row, slot));
}

/// p as a byte, in the signed space.
Value IntegerTile::zeroOfX(int64_t row, Value piece) {
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

/// Returns `sum (q - p)`.
Value IntegerTile::copyAligned(Value from, Value to, int64_t inputs,
                               Value zero) {
  Value ones = code.integer(bytes, 1), fill = code.broadcast(zero, vectorBytes);
  auto convert = [&](Value position, int64_t count) {
    Value raw = code.load(code.vector(code.i8(), count), from, position);
    if (isUnsignedX())
      raw = code.bitXor(raw, code.integer(raw.getType(), -128));
    return code.extend(raw, fill);
  };
  auto add = [&](Value sums, Value converted) {
    return needsSums() ? code.dotBytes(sums, {ones}, {converted}, 1) : sums;
  };
  int64_t whole = inputs / vectorBytes * vectorBytes, rest = inputs - whole;
  Value sums = code.zero(ints);
  Type stored = pieces.isWide ? code.i16() : code.i8();
  if (whole)
    sums = code.loop(code.index(0), code.index(whole), vectorBytes, {sums},
                     [&](Value i, llvm::ArrayRef<Value> carried) -> Values {
                       Value converted = convert(i, vectorBytes);
                       Value target = code.address(stored, to, i);
                       code.store(ordered(converted), target, code.index(0));
                       return {add(carried[0], converted)};
                     })[0];
  if (rest) {
    Value converted = convert(code.index(whole), rest);
    sums = add(sums, converted);
    int64_t padded = llvm::alignTo(rest, pieces.chunkInputs);
    code.store(code.slice(ordered(converted), 0, padded), to,
               code.index(whole));
  }
  Value sum = code.horizontalSum(sums);
  if (!hasXOffset())
    return sum;
  Value zeros =
      code.mul(code.resizeInteger(zero, code.i32()),
               code.integer(code.i32(), llvm::alignTo(inputs, vectorBytes)));
  return code.sub(sum, zeros);
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
