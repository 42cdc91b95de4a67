//===- IntegerSums.cpp - Sums of products of codes, piece by piece --------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The second half of a task of IntegerLinear.cpp. Weights unpack to vectors of
// bytes, four inputs of each output; a vector is used for all rows before the
// next one is unpacked, because registers are few.
//
//===----------------------------------------------------------------------===//

#include "IntegerTile.h"
#include "RowTiles.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace nibble::cpu {

/// Inputs whose products are written out one after the other.
static constexpr int64_t unrolledInputs = 32;

/// Adds `count` pieces to the sums of the blocks [from, to).
void IntegerTile::accumulate(Value from, Value to, Value firstPiece,
                             Value count, int64_t inputs) {
  code.loop(from, to, blocksPerVector, [&](Value first) {
    Values blocks = blocksFrom(code, first, lastBlock, blocksPerVector), sums;
    for (int64_t row = 0; row < rows; ++row)
      sums.push_back(code.load(floats, partial, sumsOf(first, row)));
    sums = code.loop(code.index(0), count, 1, sums,
                     [&](Value slot, llvm::ArrayRef<Value> carried) {
                       return addPiece(blocks, code.add(firstPiece, slot), slot,
                                       inputs, carried);
                     });
    for (int64_t row = 0; row < rows; ++row)
      code.store(sums[row], partial, sumsOf(first, row));
  });
}

Values IntegerTile::addPiece(Index blocks, Value piece, Value slot,
                             int64_t inputs, llvm::ArrayRef<Value> sums) {
  prefetchFactors(blocks, piece);
  Values products =
      dotPiece(blocks, piece, slot, inputs, initialSums(blocks, piece, slot));
  Value ofWeight = scalesDiffer() ? scales(blocks, piece) : Value();
  Value zeros = areZerosFloats()
                    ? code.toFloat(zeroPoints(blocks, piece), code.f32())
                    : Value();
  Values result;
  for (int64_t row = 0; row < rows; ++row) {
    Value product = products[row];
    if (hasXOffset()) {
      Value zero =
          code.resizeInteger(zeroOfX(code.index(row), piece), code.i32());
      product = code.sub(product,
                         code.mul(products[rows], code.broadcast(zero, lanes)));
    }
    product = code.toFloat(product, code.f32());
    if (zeros) {
      Value sum =
          code.load(code.f32(), codeSums, slotOf(code.index(row), slot));
      product = code.fma(zeros, code.broadcast(sum, lanes), product);
    }
    Value factor = ofWeight;
    if (xScalesDiffer()) {
      Value ofX = scaleOfX(code.index(row), piece);
      factor = factor ? code.mul(factor, ofX) : ofX;
    }
    result.push_back(factor ? code.fma(product, factor, sums[row])
                            : code.add(product, sums[row]));
  }
  return result;
}

/// `-z sum (q - p)` per row, or 0 where floats take that off; with an offset of
/// x also 0, for `sum c`.
Values IntegerTile::initialSums(Index blocks, Value piece, Value slot) {
  Values result(rows, code.zero(ints));
  if (needsSums() && !areZerosFloats()) {
    Value zeros = op.getZeros() ? zeroPoints(blocks, piece) : Value();
    for (int64_t row = 0; row < rows; ++row) {
      Value sum = code.broadcast(
          code.load(code.i32(), codeSums, slotOf(code.index(row), slot)),
          lanes);
      result[row] = zeros ? code.sub(result[row], code.mul(zeros, sum)) : sum;
    }
  }
  if (hasXOffset())
    result.push_back(code.zero(ints));
  return result;
}

/// Whether a vector of codes is two chunks, one behind the other in memory.
/// Codes of 8 bits need so few instructions that nothing is gained.
bool IntegerTile::takesChunkPairs() const {
  int64_t pair = 2 * pieces.chunkInputs;
  return rows == 1 && code.cpu->vectorBytes >= 64 && layout.element.bits == 4 &&
         pieces.isAligned && pieces.inputs % pair == 0 &&
         pieces.lastInputs % pair == 0;
}

/// Sums as `dot` takes them: those so far count among the even chunks.
Values IntegerTile::inPairs(llvm::ArrayRef<Value> sums) {
  return llvm::map_to_vector(sums, [&](Value sum) {
    return chunksPerVector == 1 ? sum : code.concatenate(sum, code.zero(ints));
  });
}

Values IntegerTile::joined(llvm::ArrayRef<Value> sums) {
  return llvm::map_to_vector(sums, [&](Value sum) {
    return chunksPerVector == 1 ? sum
                                : code.add(code.slice(sum, 0, lanes),
                                           code.slice(sum, lanes, lanes));
  });
}

/// `sums` plus the products of a piece.
Values IntegerTile::dotPiece(Index blocks, Value piece, Value slot,
                             int64_t inputs, llvm::ArrayRef<Value> sums) {
  int64_t chunkBytes = layout.chunkBytes();
  Value chunk = code.divide(inGroup(piece), code.index(pieces.chunkInputs),
                            /*isUnsigned=*/true);
  if (layout.groups() > 1)
    chunk =
        code.add(chunk, code.mul(group(piece), code.index(layout.chunks(0))));
  Value first = code.mul(chunk, code.index(chunkBytes));
  Values weights, prepared;
  for (Value block : blocks) {
    Value ofBlock = code.mul(block, code.index(layout.byteOffset(1, 0, 0)));
    weights.push_back(code.address(code.i8(), kernel.pointer(op.getWeight()),
                                   code.add(ofBlock, first)));
  }
  for (int64_t row = 0; row < rows; ++row)
    prepared.push_back(preparedCodes(code.index(row), piece, slot));
  auto dotChunks = [&](Value index, int64_t count, llvm::ArrayRef<Value> from) {
    auto advanced = [&](llvm::ArrayRef<Value> pointers, int64_t bytes) {
      return llvm::map_to_vector(pointers, [&](Value pointer) {
        return code.address(code.i8(), pointer,
                            code.mul(index, code.index(bytes)));
      });
    };
    return dot(advanced(weights, chunkBytes),
               advanced(prepared, pieces.chunkInputs * pieces.codeBytes), count,
               from);
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
  int64_t run =
      std::max<int64_t>(chunksPerVector, unrolledInputs / pieces.chunkInputs);
  int64_t whole = count / run * run;
  Values result = inPairs(sums);
  if (whole == run)
    result = dotChunks(code.index(0), run, result);
  else if (whole > run)
    result = code.loop(code.index(0), code.index(whole), run, result,
                       [&](Value i, llvm::ArrayRef<Value> carried) {
                         return dotChunks(i, run, carried);
                       });
  if (whole < count)
    result = dotChunks(code.index(whole), count - whole, result);
  return joined(result);
}

/// `sums` plus the products of `count` chunks, one pointer per block, with the
/// codes at `prepared`, one pointer per row.
Values IntegerTile::dot(llvm::ArrayRef<Value> chunks,
                        llvm::ArrayRef<Value> prepared, int64_t count,
                        llvm::ArrayRef<Value> sums) {
  int64_t bytes = count * layout.chunkBytes();
  for (Value ofBlock : chunks)
    for (int64_t line = 0; line < bytes; line += cacheLine)
      prefetch(ofBlock, line);
  // One row alone leaves registers, and nothing else to do in the meantime.
  DotSums growing(dotProduct, sums, pieces.isWide ? 0 : pieces.largestCode,
                  rows == 1 ? 2 : 1);
  Type element = pieces.isWide ? code.i16() : code.i8();
  for (int64_t i = 0; i < count; i += chunksPerVector) {
    Values chunk = llvm::map_to_vector(chunks, [&](Value ofBlock) {
      return code.address(code.i8(), ofBlock,
                          code.index(i * layout.chunkBytes()));
    });
    for (auto [vector, weights] : llvm::enumerate(unpack(chunk))) {
      for (int64_t row = 0; row < rows; ++row) {
        Value factors =
            factorsOfX(prepared[row], i, static_cast<int64_t>(vector));
        growing.add(row, weights, code.reinterpret(factors, element));
      }
      if (hasXOffset())
        growing.add(rows, weights, code.integer(weights.getType(), 1));
    }
  }
  return growing.finish();
}

/// Four codes of x for a vector that a chunk unpacks to, in all lanes; of two
/// chunks in half of them each.
Value IntegerTile::factorsOfX(Value prepared, int64_t chunk, int64_t vector) {
  int64_t vectors = pieces.chunkVectors, first = chunk * vectors;
  if (chunksPerVector == 1)
    return code.broadcast(
        code.load(code.i32(), prepared, code.index(first + vector)), lanes);
  Value both = code.load(code.vector(code.i32(), 2 * vectors), prepared,
                         code.index(first));
  llvm::SmallVector<int32_t> order(lanes, static_cast<int32_t>(vector));
  order.append(lanes, static_cast<int32_t>(vectors + vector));
  return code.permute(both, order);
}

/// Asks for what is `prefetchBytes` behind `base` and an offset. Reading 64
/// bytes at a time keeps so many loads waiting that requests for the first
/// cache, which occupy the same few buffers, hold them up: the second one then.
void IntegerTile::prefetch(Value base, int64_t offset) {
  if (chunksPerVector == 1)
    return code.prefetch(base, prefetchBytes + offset);
  Value place =
      code.address(code.i8(), base, code.index(prefetchBytes + offset));
  LLVM::Prefetch::create(code.builder, code.location, place, /*rw=*/0,
                         /*hint=*/2, /*cache=*/1);
}

/// Scales and zero points are streams of their own beside the codes. Several
/// rows have enough to do while those arrive.
void IntegerTile::prefetchFactors(Index blocks, Value piece) {
  if (!scalesDiffer() || rows > 1)
    return;
  Type stored = op.getRowLayout().getScales();
  for (Value block : blocks) {
    Value first = blockGroup(block, piece);
    prefetch(code.address(stored, kernel.pointer(op.getScales()), first), 0);
    if (op.getZeros())
      prefetch(code.address(code.i8(), kernel.pointer(op.getZeros()), first),
               0);
  }
}

/// The codes of a chunk, as many per vector and row as x has in 32 bits.
Values IntegerTile::unpack(llvm::ArrayRef<Value> chunk) {
  int64_t bits = layout.element.bits;
  Type blockInts = code.vector(code.i32(), chunksPerVector * blockLanes);
  Type allInts = code.vector(code.i32(), chunkLanes);
  auto word = [&](int64_t i) {
    return sideBySide(code, chunk, [&](Value ofBlock) {
      return code.load(blockInts, ofBlock, code.index(i * blockLanes));
    });
  };
  auto number = [&](int64_t value) { return code.integer(allInts, value); };
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
  if (bits == 8) {
    result.push_back(word(0));
  } else if (bits == 4 || bits == 2) {
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
  for (Value &vector : result) {
    vector = code.reinterpret(vector, code.i8());
    if (offset())
      vector = code.bitXor(vector, code.integer(vector.getType(), offset()));
  }
  return result;
}

Value IntegerTile::scales(Index blocks, Value piece) {
  return sideBySide(code, blocks, [&](Value block) {
    return code.loadFloats(op.getRowLayout().getScales(), blockLanes,
                           kernel.pointer(op.getScales()),
                           blockGroup(block, piece));
  });
}

/// What is stored, less the offset.
Value IntegerTile::zeroPoints(Index blocks, Value piece) {
  Value bytes = sideBySide(code, blocks, [&](Value block) {
    return code.load(code.vector(code.i8(), blockLanes),
                     kernel.pointer(op.getZeros()), blockGroup(block, piece));
  });
  Value zeros = code.resizeInteger(bytes, code.i32(), /*isUnsigned=*/true);
  return offset() ? code.sub(zeros, code.integer(ints, offset())) : zeros;
}

} // namespace nibble::cpu
