//===- Reductions.cpp - Reduce*, ArgMax, CumSum, CumProd ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each element of the result is a loop over the reduced elements, in order.
// Float sums are taken in float64, integer sums in 64 bits. Rows that matter
// for speed (norms, softmax) have code of their own in Norms.cpp.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"
#include "nibble/codegen/Kernel/Math.h"

#include <limits>

using namespace mlir;

namespace nibble::codegen {

namespace {

enum class Reduction {
  Sum,
  Mean,
  Max,
  Min,
  Product,
  SumSquare,
  L1,
  L2,
  LogSum,
  LogSumExp
};

/// The dimensions that `node` reduces; nullopt if they depend on data.
std::optional<llvm::SmallVector<bool>> reducedDimensions(Kernel &kernel,
                                                         onnx::NodeOp node) {
  int64_t rank = kernel.rank(node.getInputs()[0]);
  std::optional<llvm::SmallVector<int64_t>> axes;
  if (Value operand = node.input(1))
    axes = kernel.constants(operand);
  else
    axes = node.intsAttribute("axes").value_or(llvm::SmallVector<int64_t>());
  if (!axes)
    return std::nullopt;
  bool all = axes->empty() && !node.intAttribute("noop_with_empty_axes", 0);
  llvm::SmallVector<bool> reduced(rank, all);
  for (int64_t axis : *axes)
    if (axis >= -rank && axis < rank)
      reduced[axis < 0 ? axis + rank : axis] = true;
  return reduced;
}

/// Calls `body` in loops over the dimensions from `next` on that are reduced.
Value reduceLoops(Kernel &kernel, Value tensor, llvm::ArrayRef<bool> reduced,
                  Values &index, size_t next, Value carried,
                  llvm::function_ref<Value(Value)> body) {
  if (next == reduced.size())
    return body(carried);
  if (!reduced[next])
    return reduceLoops(kernel, tensor, reduced, index, next + 1, carried, body);
  Code &code = kernel.code;
  return code.loop(code.index(0), kernel.size(tensor, next), 1, {carried},
                   [&](Value i, llvm::ArrayRef<Value> inner) -> Values {
                     index[next] = i;
                     return {reduceLoops(kernel, tensor, reduced, index,
                                         next + 1, inner[0], body)};
                   })[0];
}

/// The index of the operand with zeros in the reduced dimensions.
Values operandIndex(Kernel &kernel, llvm::ArrayRef<bool> reduced, Index index) {
  bool keepsDimensions = index.size() == reduced.size();
  Values result;
  size_t next = 0;
  for (bool isReduced : reduced) {
    result.push_back(isReduced ? kernel.code.index(0) : index[next]);
    if (!isReduced || keepsDimensions)
      ++next;
  }
  return result;
}

/// Lowest or highest value of a type.
Value extreme(Code &code, Type type, bool isUnsigned, bool isHighest) {
  if (isa<FloatType>(type)) {
    double infinity = std::numeric_limits<double>::infinity();
    return code.real(type, isHighest ? infinity : -infinity);
  }
  unsigned width = type.getIntOrFloatBitWidth();
  llvm::APInt value = isUnsigned
                          ? (isHighest ? llvm::APInt::getMaxValue(width)
                                       : llvm::APInt::getMinValue(width))
                          : (isHighest ? llvm::APInt::getSignedMaxValue(width)
                                       : llvm::APInt::getSignedMinValue(width));
  return code.integer(type, value.getSExtValue());
}

Value one(Code &code, Type type) {
  return isa<FloatType>(type) ? code.real(type, 1) : code.integer(type, 1);
}

/// What one element adds to what was carried.
Value accumulate(Code &code, Reduction kind, bool isUnsigned, Value carried,
                 Value x) {
  switch (kind) {
  case Reduction::Max:
    return code.maximum(carried, x, isUnsigned);
  case Reduction::Min:
    return code.minimum(carried, x, isUnsigned);
  case Reduction::Product:
    return code.mul(carried, x);
  case Reduction::SumSquare:
  case Reduction::L2:
    return code.add(carried, code.mul(x, x));
  case Reduction::L1:
    return code.add(carried, isUnsigned ? x : code.absolute(x));
  case Reduction::LogSumExp:
    return code.add(carried, exp(code, x));
  default:
    return code.add(carried, x);
  }
}

/// What to sum in: floats in float64, integers in 64 bits; extremes as they
/// are.
Type accumulatorType(Code &code, Reduction kind, Type type) {
  if (kind == Reduction::Max || kind == Reduction::Min)
    return type;
  if (isa<FloatType>(type) || kind == Reduction::LogSumExp)
    return code.f64();
  return code.i64();
}

/// Between the numbers that a reduction uses.
Value convert(Code &code, Value x, Type type, bool isUnsigned) {
  bool fromFloat = isa<FloatType>(x.getType()), toFloat = isa<FloatType>(type);
  if (fromFloat && toFloat)
    return code.resizeFloat(x, type);
  if (fromFloat)
    return code.toInteger(x, type, isUnsigned);
  return toFloat ? code.toFloat(x, type, isUnsigned)
                 : code.resizeInteger(x, type, isUnsigned);
}

/// The reduced elements' number.
DimExpr countOf(const Shape &shape, llvm::ArrayRef<bool> reduced) {
  DimExpr count(1);
  for (auto [size, isReduced] : llvm::zip(shape, reduced))
    if (isReduced)
      count = count * size;
  return count;
}

/// The last step: a root, a logarithm, a quotient.
Value finish(Code &code, Reduction kind, Value total, Value count,
             bool isUnsigned) {
  Type type = total.getType();
  if (kind == Reduction::Mean) {
    if (isa<FloatType>(type))
      return code.divide(total, code.toFloat(count, type));
    // No elements: 0, not a trap.
    return code.divide(total, code.maximum(count, code.index(1)), isUnsigned);
  }
  bool isRoot = kind == Reduction::L2;
  if (!isRoot && kind != Reduction::LogSum && kind != Reduction::LogSumExp)
    return total;
  Value real = convert(code, total, code.f64(), isUnsigned);
  return isRoot ? code.sqrt(real) : log(code, real);
}

template <Reduction kind>
Value reduce(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value x = node.getInputs()[0];
  auto reduced = reducedDimensions(kernel, node);
  if (!reduced)
    return kernel.unsupported(op, "axes that depend on data");
  Type type = kernel.registerType(x);
  bool isUnsigned = Kernel::isUnsigned(x) || type.isInteger(1);
  bool isExtreme = kind == Reduction::Max || kind == Reduction::Min;
  Type wide = accumulatorType(code, kind, type);
  Value initial = isExtreme
                      ? extreme(code, type, isUnsigned, kind == Reduction::Min)
                  : kind == Reduction::Product ? one(code, wide)
                                               : code.zero(wide);
  Values at = operandIndex(kernel, *reduced, index);
  auto element = [&] {
    return convert(code, kernel.element(x, at), wide, isUnsigned);
  };

  // The largest element keeps the exponentials in range.
  Value shift;
  if (kind == Reduction::LogSumExp) {
    shift = reduceLoops(
        kernel, x, *reduced, at, 0, extreme(code, wide, false, false),
        [&](Value carried) { return code.maximum(carried, element()); });
    Value infinity = extreme(code, wide, false, true);
    Value isFinite = code.compare(Compare::lt, code.absolute(shift), infinity);
    shift = code.select(isFinite, shift, code.zero(wide));
  }
  Value total =
      reduceLoops(kernel, x, *reduced, at, 0, initial, [&](Value carried) {
        Value next = shift ? code.sub(element(), shift) : element();
        return accumulate(code, kind, isUnsigned, carried, next);
      });
  Value count = kernel.evaluate(countOf(kernel.shape(x), *reduced));
  total = finish(code, kind, total, count, isUnsigned);
  if (shift)
    total = code.add(total, shift);
  return convert(code, total, type, isUnsigned);
}

/// The first (or last) of the largest (or smallest) elements along an axis.
template <bool isMaximum>
Value argExtreme(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value x = node.getInputs()[0];
  int64_t rank = kernel.rank(x);
  int64_t axis = node.intAttribute("axis", 0);
  axis = axis < 0 ? axis + rank : axis;
  bool isUnsigned = Kernel::isUnsigned(x);
  bool takesLast = node.intAttribute("select_last_index", 0) != 0;
  llvm::SmallVector<bool> reduced(rank, false);
  reduced[axis] = true;
  Values at = operandIndex(kernel, reduced, index);
  Compare better = isMaximum ? (takesLast ? Compare::ge : Compare::gt)
                             : (takesLast ? Compare::le : Compare::lt);
  // Without elements there is none to read.
  Value first = code.choose(
      code.compare(Compare::gt, kernel.size(x, axis), code.index(0)),
      [&] { return kernel.element(x, at); },
      [&] { return code.zero(kernel.registerType(x)); });
  Values best =
      code.loop(code.index(1), kernel.size(x, axis), 1, {code.index(0), first},
                [&](Value i, llvm::ArrayRef<Value> carried) -> Values {
                  at[axis] = i;
                  Value element = kernel.element(x, at);
                  Value isBetter =
                      code.compare(better, element, carried[1], isUnsigned);
                  return {code.select(isBetter, i, carried[0]),
                          code.select(isBetter, element, carried[1])};
                });
  return best[0];
}

/// Sums or products of all elements up to here.
template <bool isProduct>
Value cumulate(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value x = node.getInputs()[0];
  auto axes = kernel.constants(node.getInputs()[1]);
  if (!axes || axes->size() != 1)
    return kernel.unsupported(op, "an axis that depends on data");
  int64_t axis =
      axes->front() < 0 ? axes->front() + kernel.rank(x) : axes->front();
  bool isExclusive = node.intAttribute("exclusive", 0) != 0;
  bool isReverse = node.intAttribute("reverse", 0) != 0;
  bool isFloat = Kernel::isFloat(x);
  Type type = kernel.registerType(x), wide = isFloat ? code.f64() : type;
  Value here = index[axis], next = code.add(here, code.index(1));
  Value from = !isReverse ? code.index(0) : isExclusive ? next : here;
  Value to = isReverse ? kernel.size(x, axis) : isExclusive ? here : next;
  Values at(index.begin(), index.end());
  Value total =
      code.loop(from, to, 1, {isProduct ? one(code, wide) : code.zero(wide)},
                [&](Value i, llvm::ArrayRef<Value> carried) -> Values {
                  at[axis] = i;
                  Value element = kernel.element(x, at);
                  if (isFloat)
                    element = code.resizeFloat(element, wide);
                  return {isProduct ? code.mul(carried[0], element)
                                    : code.add(carried[0], element)};
                })[0];
  return isFloat ? code.resizeFloat(total, type) : total;
}

} // namespace

void addReductionLowerings(LoweringTable &table) {
  table["onnx.ReduceSum"].element = reduce<Reduction::Sum>;
  table["onnx.ReduceMean"].element = reduce<Reduction::Mean>;
  table["onnx.ReduceMax"].element = reduce<Reduction::Max>;
  table["onnx.ReduceMin"].element = reduce<Reduction::Min>;
  table["onnx.ReduceProd"].element = reduce<Reduction::Product>;
  table["onnx.ReduceSumSquare"].element = reduce<Reduction::SumSquare>;
  table["onnx.ReduceL1"].element = reduce<Reduction::L1>;
  table["onnx.ReduceL2"].element = reduce<Reduction::L2>;
  table["onnx.ReduceLogSum"].element = reduce<Reduction::LogSum>;
  table["onnx.ReduceLogSumExp"].element = reduce<Reduction::LogSumExp>;
  table["onnx.ArgMax"].element = argExtreme<true>;
  table["onnx.ArgMin"].element = argExtreme<false>;
  table["onnx.CumSum"].element = cumulate<false>;
  table["onnx.CumProd"].element = cumulate<true>;
  table["onnx.CumProd"].operands = 2;
}

} // namespace nibble::codegen
