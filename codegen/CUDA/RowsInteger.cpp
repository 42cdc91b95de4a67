//===- RowsInteger.cpp - Linears of codes with codes ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// packed_integer_linear with the layout of processors (Target/PackedLayout.h).
// A warp makes eight outputs of a token: lane 8 s + r adds for row r every
// fourth word of codes, or every fourth code, from s on. Of a piece that shares
// scales
//
//   sum of (w - wz)(x - xz) = sum of w x - wz sum of x - xz sum of w + n wz xz
//
// is exact in int32; pieces are added in float32.
//
// Four products of bytes are one instruction (dp4a) where words of codes and of
// x begin together: 4 and 8 bits, in numbers of inputs that these divide.
//
//===----------------------------------------------------------------------===//

#include "Lowerings.h"
#include "Threads.h"

#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

using namespace mlir;

namespace nibble::cuda {

namespace {

/// Warps of a block, and lanes that share a row.
constexpr int64_t warps = 4, slices = 4;
constexpr int64_t rowsOfBlock = RowInterleavedLayout::rows;
/// Of one word of each row.
constexpr int64_t wordBytes = 4 * rowsOfBlock;
/// Products of two codes less their zero points that int32 can add up.
constexpr int64_t mostProducts = 32768;

/// Inputs whose scales are the same.
struct Piece {
  Value from, to;    ///< inputs
  Value group;       ///< of the weight
  Value zero, xZero; ///< i32; null: 0
};

class RowsInteger {
public:
  RowsInteger(GpuFunction &function, qkernel::PackedIntegerLinearOp op,
              const RowInterleavedLayout &layout)
      : function(function), kernel(function.kernel), code(kernel.code), op(op),
        layout(layout), threads(function, warps * Threads::warpSize),
        xGroup(std::min<int64_t>(op.getXGroup(), layout.in)),
        unit(std::min(layout.group, xGroup)),
        isUnsignedX(Kernel::isUnsigned(op.getX())), i32(code.i32()),
        token(function.block()),
        block(code.add(code.mul(function.block(1), code.index(warps)),
                       threads.warp)),
        row(code.remainder(threads.lane, code.index(rowsOfBlock), true)),
        slice(code.divide(threads.lane, code.index(rowsOfBlock), true)) {}

  void emit();

private:
  Value addUnit(Value total, Value unitNumber);
  /// Sums of products less zero points, over all lanes of the row.
  Value sumOf(const Piece &piece);
  /// The three sums of this lane: of products, of x, of weights.
  Values wordSums(const Piece &piece);
  Values codeSums(const Piece &piece);
  Value codeAt(Value inGroup, Value chunks);
  Value dot(Value codes, Value x, Value sum);
  Value sumOfX(Value x, Value sum);

  /// Inputs of a word of codes.
  int64_t inputsOfWord() const { return 32 / layout.element.bits; }
  bool hasWords() const {
    int64_t bits = layout.element.bits, count = inputsOfWord();
    return (bits == 4 || bits == 8) && layout.in % count == 0 &&
           (unit == layout.in || unit % count == 0);
  }
  Value atGroup(Value group) {
    Value groups = code.mul(block, code.index(layout.groups()));
    return code.add(code.mul(code.add(groups, group), code.index(rowsOfBlock)),
                    row);
  }
  /// Number of the first chunk of a group; the last group may have fewer.
  Value firstChunk(Value group) {
    auto ofBlock =
        static_cast<int64_t>(layout.byteOffset(1, 0, 0) / layout.chunkBytes());
    return code.add(code.mul(block, code.index(ofBlock)),
                    code.mul(group, code.index(layout.chunks(0))));
  }
  Value byte(Value base, Value at, bool isUnsigned) {
    return code.resizeInteger(code.load(code.i8(), base, at), i32, isUnsigned);
  }

  GpuFunction &function;
  Kernel &kernel;
  Code &code;
  qkernel::PackedIntegerLinearOp op;
  RowInterleavedLayout layout;
  Threads threads;
  int64_t xGroup, unit;
  bool isUnsignedX;
  Type i32;
  Value token, block, row, slice;
};

void RowsInteger::emit() {
  Value isThere =
      code.compare(Compare::lt, block, code.index(layout.rowBlocks()));
  code.branch(isThere, [&] {
    int64_t units = (layout.in + unit - 1) / unit;
    Value total =
        code.loop(code.index(0), code.index(units), 1, {code.zero(code.f32())},
                  [&](Value number, llvm::ArrayRef<Value> carried) -> Values {
                    return {addUnit(carried[0], number)};
                  })[0];
    Value out = code.add(code.mul(block, code.index(rowsOfBlock)), row);
    Value isMine =
        code.bitAnd(code.compare(Compare::eq, slice, code.index(0)),
                    code.compare(Compare::lt, out, code.index(layout.out)));
    code.branch(isMine, [&] {
      Value sum = total;
      if (op.getBias())
        sum = code.add(
            sum, code.load(code.f32(), kernel.pointer(op.getBias()), out));
      code.store(sum, kernel.output(op.getResult()),
                 code.add(code.mul(token, code.index(layout.out)), out));
    });
  });
}

/// `total` plus a unit: the inputs of a group of the weight or of x, whichever
/// is smaller.
Value RowsInteger::addUnit(Value total, Value unitNumber) {
  Value from = code.mul(unitNumber, code.index(unit));
  Value to =
      code.minimum(code.add(from, code.index(unit)), code.index(layout.in));
  Piece piece;
  piece.group = code.divide(from, code.index(layout.group), true);
  Value atX = code.index(0);
  const Shape &xScales = kernel.shape(op.getXScales());
  if (Kernel::product(xScales, 0, xScales.size()).asConstant() != 1) {
    int64_t xGroups = (layout.in + xGroup - 1) / xGroup;
    atX = code.add(code.mul(token, code.index(xGroups)),
                   code.divide(from, code.index(xGroup), true));
  }
  Value scale = code.mul(
      code.loadFloats(op.getRowLayout().getScales(), 1,
                      kernel.pointer(op.getScales()), atGroup(piece.group)),
      code.load(code.f32(), kernel.pointer(op.getXScales()), atX));
  if (op.getZeros())
    piece.zero =
        byte(kernel.pointer(op.getZeros()), atGroup(piece.group), true);
  else if (layout.element.kind == ElementType::Kind::Signed)
    piece.zero = code.integer(i32, int64_t(1) << (layout.element.bits - 1));
  if (op.getXZeros())
    piece.xZero = byte(kernel.pointer(op.getXZeros()), atX, isUnsignedX);

  auto add = [&](Value sum, const Piece &part) {
    return code.fma(code.toFloat(sumOf(part), code.f32()), scale, sum);
  };
  piece.from = from;
  piece.to = to;
  if (unit <= mostProducts)
    return add(total, piece);
  return code.loop(from, to, mostProducts, {total},
                   [&](Value at, llvm::ArrayRef<Value> carried) -> Values {
                     piece.from = at;
                     piece.to = code.minimum(
                         code.add(at, code.index(mostProducts)), to);
                     return {add(carried[0], piece)};
                   })[0];
}

Value RowsInteger::sumOf(const Piece &piece) {
  Values sums = hasWords() ? wordSums(piece) : codeSums(piece);
  Value sum = sums[0];
  if (piece.zero)
    sum = code.sub(sum, code.mul(piece.zero, sums[1]));
  if (piece.xZero)
    sum = code.sub(sum, code.mul(piece.xZero, sums[2]));
  // Slices are in lanes that differ in bits 3 and 4.
  for (int32_t distance = rowsOfBlock; distance < Threads::warpSize;
       distance *= 2)
    sum = code.add(sum, function.shuffleXor(sum, distance));
  if (!piece.zero || !piece.xZero)
    return sum;
  Value count = code.resizeInteger(code.sub(piece.to, piece.from), i32);
  return code.add(sum, code.mul(count, code.mul(piece.zero, piece.xZero)));
}

//===----------------------------------------------------------------------===//
// Words of codes
//===----------------------------------------------------------------------===//

Value RowsInteger::dot(Value codes, Value x, Value sum) {
  auto bytes = VectorType::get({4}, code.i8());
  auto asBytes = [&](Value word) -> Value {
    return LLVM::BitcastOp::create(code.builder, code.location, bytes, word);
  };
  auto type = [&](bool isUnsigned) {
    return isUnsigned ? NVVM::DotAccumulateType::UNSIGNED
                      : NVVM::DotAccumulateType::SIGNED;
  };
  return NVVM::DotAccumulate4WayOp::create(code.builder, code.location, i32,
                                           asBytes(codes), type(true),
                                           asBytes(x), type(isUnsignedX), sum);
}

Value RowsInteger::sumOfX(Value x, Value sum) {
  return dot(code.integer(i32, 0x01010101), x, sum);
}

Values RowsInteger::wordSums(const Piece &piece) {
  int64_t count = inputsOfWord();
  Value inGroup =
      code.sub(piece.from, code.mul(piece.group, code.index(layout.group)));
  Value chunk = firstChunk(piece.group);
  chunk = code.add(chunk, code.divide(inGroup, code.index(count), true));
  Value words = code.divide(code.sub(piece.to, piece.from), code.index(count),
                            /*isUnsigned=*/true);
  Value firstX = code.add(code.mul(token, code.index(layout.in)), piece.from);
  firstX = code.divide(firstX, code.index(4), true);
  Value zero = code.zero(i32);
  return code.loop(
      slice, words, slices, {zero, zero, zero},
      [&](Value word, llvm::ArrayRef<Value> carried) -> Values {
        Values sums(carried);
        Value at = code.mul(code.add(chunk, word), code.index(rowsOfBlock));
        Value codes =
            code.load(i32, kernel.pointer(op.getWeight()), code.add(at, row));
        for (int64_t part = 0; part < count / 4; ++part) {
          Value x = code.load(
              i32, kernel.pointer(op.getX()),
              code.add(firstX, code.add(code.mul(word, code.index(count / 4)),
                                        code.index(part))));
          // Codes i and i + 4 of 4 bits share a byte.
          Value bytes = codes;
          if (part)
            bytes = code.shiftRight(bytes, code.integer(i32, 4));
          if (count == 8)
            bytes = code.bitAnd(bytes, code.integer(i32, 0x0f0f0f0f));
          sums[0] = dot(bytes, x, sums[0]);
          if (piece.zero)
            sums[1] = sumOfX(x, sums[1]);
          if (piece.xZero)
            for (int64_t i = 0; i < 4; ++i)
              sums[2] = code.add(
                  sums[2],
                  code.bitAnd(code.shiftRight(bytes, code.integer(i32, 8 * i)),
                              code.integer(i32, 255)));
        }
        return sums;
      });
}

//===----------------------------------------------------------------------===//
// Single codes
//===----------------------------------------------------------------------===//

/// Code `inGroup` of a group whose chunks begin with number `chunks`: it may
/// lie in two bytes.
Value RowsInteger::codeAt(Value inGroup, Value chunks) {
  int64_t bits = layout.element.bits;
  Value inputs = code.index(layout.chunkInputs());
  Value chunk = code.add(chunks, code.divide(inGroup, inputs, true));
  Value place = code.remainder(inGroup, inputs, true);
  Value bit = code.mul(place, code.index(bits));
  if (bits == 4)
    bit = code.add(
        code.mul(code.remainder(place, code.index(4), true), code.index(8)),
        code.mul(code.divide(place, code.index(4), true), code.index(4)));
  Value first =
      code.mul(chunk, code.index(static_cast<int64_t>(layout.chunkBytes())));
  first = code.add(first, code.mul(row, code.index(4)));
  auto load = [&](Value number) {
    Value word = code.divide(number, code.index(4), true);
    Value inWord = code.remainder(number, code.index(4), true);
    return byte(kernel.pointer(op.getWeight()),
                code.add(first, code.add(code.mul(word, code.index(wordBytes)),
                                         inWord)),
                true);
  };
  Value number = code.divide(bit, code.index(8), true);
  Value both = load(number);
  if (8 % bits) {
    // A code that ends in this byte does not look at what follows the last one.
    Value next = code.minimum(code.add(number, code.index(1)),
                              code.index(4 * layout.chunkWords() - 1));
    both = code.bitOr(both, code.shiftLeft(load(next), code.integer(i32, 8)));
  }
  Value shift =
      code.resizeInteger(code.remainder(bit, code.index(8), true), i32, true);
  return code.bitAnd(code.shiftRight(both, shift),
                     code.integer(i32, (1 << bits) - 1));
}

Values RowsInteger::codeSums(const Piece &piece) {
  Value firstOfGroup = code.mul(piece.group, code.index(layout.group));
  Value chunks = firstChunk(piece.group);
  Value firstX = code.mul(token, code.index(layout.in));
  Value zero = code.zero(i32);
  return code.loop(
      code.add(piece.from, slice), piece.to, slices, {zero, zero, zero},
      [&](Value input, llvm::ArrayRef<Value> sums) -> Values {
        Value weight = codeAt(code.sub(input, firstOfGroup), chunks);
        Value x = byte(kernel.pointer(op.getX()), code.add(firstX, input),
                       isUnsignedX);
        return {code.add(sums[0], code.mul(weight, x)), code.add(sums[1], x),
                code.add(sums[2], weight)};
      });
}

LogicalResult lowerRows(GpuKernel &gpu, Operation *linear) {
  auto op = cast<qkernel::PackedIntegerLinearOp>(linear);
  RowInterleavedLayout layout =
      qkernel::rowInterleavedLayout(op.getRowLayout());
  LaunchCall call = gpu.add(
      "rows", {.threads = warps * Threads::warpSize},
      [&](GpuFunction &function) { RowsInteger(function, op, layout).emit(); });
  call.grid.x = gpu.rows(op.getX());
  call.grid.y = (layout.rowBlocks() + warps - 1) / warps;
  gpu.launch(std::move(call));
  return success();
}

bool acceptsRows(const GpuKernel &gpu, Operation *op) {
  return cast<qkernel::PackedIntegerLinearOp>(op).getRowLayout() &&
         llvm::all_of(op->getOperands(),
                      [&](Value operand) { return gpu.isInMemory(operand); });
}

} // namespace

void addIntegerLinearLowerings(GpuLoweringTable &table) {
  table["qkernel.packed_integer_linear"] = {lowerRows, acceptsRows};
}

} // namespace nibble::cuda
