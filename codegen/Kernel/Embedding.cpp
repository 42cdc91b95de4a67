//===- Embedding.cpp - Rows of a float or a quantized table ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One task is one index. The runtime has checked the range of indices; they are
// clamped all the same, so that no input can read outside the table.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"

#include "nibble/dialects/QKernel/QKernel.h"

using namespace mlir;

namespace nibble::codegen {

namespace {

DimExpr indexTasks(Kernel &kernel, Operation *op) {
  const Shape &shape = kernel.shape(op->getResult(0));
  return Kernel::product(shape, 0, shape.size() - 1);
}

/// The row of the table that belongs to a task.
Value rowOf(Kernel &kernel, Value indices, Value entries, Value task) {
  Code &code = kernel.code;
  Value index =
      kernel.element(indices, kernel.indexOf(task, kernel.shape(indices)));
  index = code.resizeInteger(index, code.i64(), Kernel::isUnsigned(indices));
  Value zero = code.index(0);
  index = code.select(code.compare(Compare::lt, index, zero),
                      code.add(index, entries), index);
  return code.minimum(code.maximum(index, zero),
                      code.sub(entries, code.index(1)));
}

void embedding(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto embedding = cast<qmodel::EmbeddingOp>(op);
  Value table = embedding.getTable();
  Value row =
      rowOf(kernel, embedding.getIndices(), kernel.size(table, 0), task);
  Value width = kernel.size(table, 1);
  code.loop(code.index(0), width, 1, [&](Value i) {
    kernel.storeAt(embedding.getResult(), code.add(code.mul(task, width), i),
                   kernel.element(table, {row, i}));
  });
}

/// The stored code of input `i` of a row: `width` bits at bit i * width, which
/// may reach into the next byte of the row.
Value codeAt(Code &code, Value row, Value i, unsigned width, int64_t rowBytes) {
  if (width == 8)
    return code.resizeInteger(code.load(code.i8(), row, i), code.i32(), true);
  Value bit = code.mul(i, code.index(width));
  Value byte = code.shiftRight(bit, code.index(3));
  Value window =
      code.resizeInteger(code.load(code.i8(), row, byte), code.i32(), true);
  if (8 % width != 0) {
    Value next =
        code.minimum(code.add(byte, code.index(1)), code.index(rowBytes - 1));
    Value upper =
        code.resizeInteger(code.load(code.i8(), row, next), code.i32(), true);
    window =
        code.bitOr(window, code.shiftLeft(upper, code.integer(code.i32(), 8)));
  }
  Value offset =
      code.resizeInteger(code.bitAnd(bit, code.index(7)), code.i32());
  return code.bitAnd(code.shiftRight(window, offset),
                     code.integer(code.i32(), (1 << width) - 1));
}

void packedEmbedding(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto embedding = cast<qkernel::PackedEmbeddingOp>(op);
  auto element = cast<IntegerType>(embedding.getElement());
  unsigned bits = element.getWidth();
  int64_t width = embedding.getWidth(), group = embedding.getGroup();
  int64_t groups = (width + group - 1) / group;
  int64_t rowBytes = (width * bits + 7) / 8;
  Value codes = embedding.getCodes();
  Value row =
      rowOf(kernel, embedding.getIndices(), kernel.size(codes, 0), task);
  Value rowCodes = code.address(code.i8(), kernel.pointer(codes),
                                code.mul(row, code.index(rowBytes)));
  code.loop(code.index(0), code.index(groups), 1, [&](Value g) {
    Value at = code.add(code.mul(row, code.index(groups)), g);
    Value scale = kernel.loadAt(embedding.getScales(), at);
    Value zero = code.integer(
        code.i32(), element.isUnsigned() ? 0 : int64_t(1) << (bits - 1));
    if (Value zeros = embedding.getZeros())
      zero = code.resizeInteger(code.load(code.i8(), kernel.pointer(zeros), at),
                                code.i32(), true);
    Value from = code.mul(g, code.index(group));
    Value to =
        code.minimum(code.add(from, code.index(group)), code.index(width));
    code.loop(from, to, 1, [&](Value i) {
      Value stored = codeAt(code, rowCodes, i, bits, rowBytes);
      Value value = code.toFloat(code.sub(stored, zero), code.f32());
      Value position = code.add(code.mul(task, code.index(width)), i);
      kernel.storeAt(embedding.getResult(), position, code.mul(value, scale));
    });
  });
}

} // namespace

void addEmbeddingLowerings(LoweringTable &table) {
  table["qmodel.embedding"].tasks = indexTasks;
  table["qmodel.embedding"].task = embedding;
  table["qkernel.packed_embedding"].tasks = indexTasks;
  table["qkernel.packed_embedding"].task = packedEmbedding;
}

} // namespace nibble::codegen
