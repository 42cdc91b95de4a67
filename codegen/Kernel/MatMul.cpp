//===- MatMul.cpp - Products of activations -------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For products that are not linear layers with weights (those are packed). One
// task is one row of the result: 32 columns at a time in registers, so that b
// is read along its rows; each sum runs over k in order.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"

#include <cmath>

using namespace mlir;

namespace nibble::codegen {

namespace {

constexpr int64_t lanes = 8;

/// Leading (batch) dimensions of an operand at `batch` of the result.
Values batchIndex(Kernel &kernel, Value operand, Index batch,
                  llvm::ArrayRef<DimExpr> resultBatch) {
  llvm::ArrayRef<DimExpr> own = kernel.shape(operand);
  own = own.drop_back(2);
  Values index;
  size_t offset = batch.size() - own.size();
  for (auto [i, size] : llvm::enumerate(own)) {
    Value at = batch[offset + i];
    if (size.asConstant() == 1)
      at = kernel.code.index(0);
    else if (size != resultBatch[offset + i])
      at = kernel.code.select(kernel.code.compare(Compare::eq,
                                                  kernel.evaluate(size),
                                                  kernel.code.index(1)),
                              kernel.code.index(0), at);
    index.push_back(at);
  }
  return index;
}

DimExpr matMulTasks(Kernel &kernel, Operation *op) {
  const Shape &shape = kernel.shape(op->getResult(0));
  // If b is a vector, each task is one element.
  size_t columns = kernel.rank(op->getOperand(1)) > 1 ? 1 : 0;
  return Kernel::product(shape, 0, shape.size() - columns);
}

/// One element at a time: for vectors and for elements other than float32.
void scalarRow(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  Value a = op->getOperand(0), b = op->getOperand(1), y = op->getResult(0);
  bool aIsVector = kernel.rank(a) == 1, bIsVector = kernel.rank(b) == 1;
  llvm::ArrayRef<DimExpr> shape = kernel.shape(y);
  llvm::ArrayRef<DimExpr> outer = bIsVector ? shape : shape.drop_back();
  Values index = kernel.indexOf(task, outer);
  llvm::ArrayRef<DimExpr> batchShape = aIsVector ? outer : outer.drop_back();
  Index batch = Index(index).take_front(batchShape.size());
  auto column = [&](Value j) {
    Type type = kernel.registerType(y);
    Value sum = code.loop(
        code.index(0), kernel.size(a, kernel.rank(a) - 1), 1, {code.zero(type)},
        [&](Value k, llvm::ArrayRef<Value> carried) -> Values {
          Values ai, bi;
          if (!aIsVector) {
            ai = batchIndex(kernel, a, batch, batchShape);
            ai.push_back(index.back());
          }
          ai.push_back(k);
          if (!bIsVector)
            bi = batchIndex(kernel, b, batch, batchShape);
          bi.push_back(k);
          if (!bIsVector)
            bi.push_back(j);
          return {code.add(carried[0], code.mul(kernel.element(a, ai),
                                                kernel.element(b, bi)))};
        })[0];
    Values at(index);
    if (!bIsVector)
      at.push_back(j);
    kernel.store(y, at, sum);
  };
  if (bIsVector)
    return column(Value());
  code.loop(code.index(0), kernel.size(b, kernel.rank(b) - 1), 1, column);
}

/// `count` columns from `first` on, in vectors of `width`.
void columns(Kernel &kernel, Operation *op, Value aRow, Value bFirst,
             Value yRow, Value first, int64_t count, int64_t width) {
  Code &code = kernel.code;
  Value a = op->getOperand(0), b = op->getOperand(1);
  Value k = kernel.size(a, kernel.rank(a) - 1);
  Value n = kernel.size(b, kernel.rank(b) - 1);
  Type type = code.vector(code.f32(), width);
  Values sums = code.loop(
      code.index(0), k, 1, Values(count, code.zero(type)),
      [&](Value i, llvm::ArrayRef<Value> carried) {
        Value factor = code.broadcast(code.load(code.f32(), aRow, i), width);
        Value at = code.add(code.mul(i, n), first);
        Values next;
        for (auto [v, sum] : llvm::enumerate(carried)) {
          Value column =
              code.add(at, code.index(static_cast<int64_t>(v) * width));
          next.push_back(
              code.fma(factor, code.load(type, bFirst, column), sum));
        }
        return next;
      });
  for (auto [v, sum] : llvm::enumerate(sums))
    code.store(sum, yRow,
               code.add(first, code.index(static_cast<int64_t>(v) * width)));
}

void matMulTask(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  Value a = op->getOperand(0), b = op->getOperand(1), y = op->getResult(0);
  auto isFloat32Buffer = [&](Value tensor) {
    return kernel.rank(tensor) > 1 && kernel.buffers.count(tensor) &&
           kernel.registerType(tensor).isF32() &&
           cast<ShapedType>(tensor.getType()).getElementType().isF32();
  };
  if (!isFloat32Buffer(a) || !isFloat32Buffer(b))
    return scalarRow(kernel, op, task);
  llvm::ArrayRef<DimExpr> shape = kernel.shape(y);
  llvm::ArrayRef<DimExpr> batchShape = shape.drop_back(2);
  Values index = kernel.indexOf(task, shape.drop_back());
  Index batch = Index(index).drop_back();
  Values ai = batchIndex(kernel, a, batch, batchShape);
  ai.append({index.back(), code.index(0)});
  Values bi = batchIndex(kernel, b, batch, batchShape);
  bi.append({code.index(0), code.index(0)});
  Values yi(index);
  yi.push_back(code.index(0));
  auto at = [&](Value pointer, Value tensor, Index i) {
    return code.address(code.f32(), pointer,
                        kernel.positionOf(i, kernel.shape(tensor)));
  };
  Value aRow = at(kernel.pointer(a), a, ai);
  Value bFirst = at(kernel.pointer(b), b, bi);
  Value yRow = at(kernel.output(y), y, yi);
  Value n = kernel.size(b, kernel.rank(b) - 1);
  auto roundDown = [&](int64_t multiple) {
    return code.mul(code.divide(n, code.index(multiple), true),
                    code.index(multiple));
  };
  Value blocks = roundDown(4 * lanes), vectors = roundDown(lanes);
  code.loop(code.index(0), blocks, 4 * lanes, [&](Value j) {
    columns(kernel, op, aRow, bFirst, yRow, j, 4, lanes);
  });
  code.loop(blocks, vectors, lanes, [&](Value j) {
    columns(kernel, op, aRow, bFirst, yRow, j, 1, lanes);
  });
  code.loop(vectors, n, 1,
            [&](Value j) { columns(kernel, op, aRow, bFirst, yRow, j, 1, 1); });
}

/// alpha op(a) op(b) + beta c
Value gemm(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value a = node.getInputs()[0], b = node.getInputs()[1], y = op->getResult(0);
  bool aIsTransposed = node.intAttribute("transA", 0) != 0;
  bool bIsTransposed = node.intAttribute("transB", 0) != 0;
  Type type = kernel.registerType(y);
  bool isFloat = isa<FloatType>(type);
  Value sum = code.loop(
      code.index(0), kernel.size(a, aIsTransposed ? 0 : 1), 1,
      {code.zero(type)}, [&](Value k, llvm::ArrayRef<Value> carried) -> Values {
        Value i = index[0], j = index[1];
        Values ai = aIsTransposed ? Values{k, i} : Values{i, k};
        Values bi = bIsTransposed ? Values{j, k} : Values{k, j};
        Value left = kernel.element(a, ai), right = kernel.element(b, bi);
        return {isFloat ? code.fma(left, right, carried[0])
                        : code.add(code.mul(left, right), carried[0])};
      })[0];
  auto number = [&](double value) {
    return isFloat ? code.real(type, value)
                   : code.integer(type, std::llround(value));
  };
  double alpha = node.floatAttribute("alpha", 1);
  double beta = node.floatAttribute("beta", 1);
  if (alpha != 1)
    sum = code.mul(sum, number(alpha));
  Value c = node.input(2);
  if (!c)
    return sum;
  Value addend = kernel.broadcastElement(c, index, kernel.shape(y));
  if (beta != 1)
    addend = code.mul(addend, number(beta));
  return code.add(sum, addend);
}

} // namespace

void addMatMulLowerings(LoweringTable &table) {
  table["onnx.MatMul"].tasks = matMulTasks;
  table["onnx.MatMul"].task = matMulTask;
  table["onnx.Gemm"].element = gemm;
}

} // namespace nibble::codegen
