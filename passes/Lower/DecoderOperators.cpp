//===- DecoderOperators.cpp - Integers through operators ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// For each operator that exporters make positions, lengths and masks with, an
// element of its result from those of its operands.
//
//===----------------------------------------------------------------------===//

#include "DecoderValues.h"

#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;

namespace {

/// Whether the expression has a count that is not known yet.
bool hasUnknownCount(const DimExpr &expr) {
  return llvm::any_of(expr.symbols(), [](const std::string &symbol) {
    return argumentOfCount(symbol).has_value();
  });
}

bool isInteger(Value value) {
  return isa<IntegerType>(getElementTypeOrSelf(value.getType()));
}

bool isBoolean(Value value) {
  return getElementTypeOrSelf(value.getType()).isInteger(1);
}

/// The constants of a list operand, or of an attribute of older opsets.
std::optional<SmallVector<int64_t>> listOf(onnx::NodeOp node, StringRef name,
                                           unsigned operand,
                                           const DimsAnalysis &dims) {
  if (auto list = node.intsAttribute(name))
    return list;
  Value value = node.input(operand);
  if (!value || !dims.of(value).elements)
    return std::nullopt;
  SmallVector<int64_t> list;
  for (const DimExpr &element : *dims.of(value).elements) {
    std::optional<int64_t> integer = element.asConstant();
    if (!integer)
      return std::nullopt;
    list.push_back(*integer);
  }
  return list;
}

} // namespace

/// Operators that keep elements and their order, and only add or drop
/// dimensions of size 1; Expand and Transpose.
DecoderValues::Known DecoderValues::moved(onnx::NodeOp node) const {
  Value operand = node.input(0), result = node->getResult(0);
  Known inner = of(operand);
  const auto &from = dims.of(operand).shape, &to = dims.of(result).shape;
  if (!from || !to)
    return {};
  if (inner.number || (inner.integer && inner.integer->asConstant()) ||
      node.is("Expand"))
    return inner; // broadcasting aligns dimensions at the end
  std::map<std::string, DimExpr> names;
  if (node.is("Transpose")) {
    auto permutation = node.intsAttribute("perm");
    size_t rank = from->size();
    for (size_t i = 0; i < rank; ++i) {
      size_t source = permutation ? (*permutation)[i] : rank - 1 - i;
      if (source >= rank)
        return {};
      names[coordinateName(rank - source)] = coordinate(rank - i);
    }
    return inner.renamed(names);
  }
  auto wide = [](const std::vector<DimExpr> &shape) {
    SmallVector<size_t> found;
    for (auto [i, dim] : llvm::enumerate(shape))
      if (dim.asConstant() != 1)
        found.push_back(i);
    return found;
  };
  SmallVector<size_t> source = wide(*from), target = wide(*to);
  if (source.size() != target.size())
    return {};
  for (auto [s, t] : llvm::zip(source, target)) {
    if ((*from)[s] != (*to)[t])
      return {};
    names[coordinateName(from->size() - s)] = coordinate(to->size() - t);
  }
  return inner.renamed(names);
}

DecoderValues::Known DecoderValues::cast(onnx::NodeOp node) const {
  Known inner = of(node.input(0));
  Value result = node->getResult(0);
  Type type = getElementTypeOrSelf(result.getType());
  std::optional<int64_t> constant =
      inner.integer ? inner.integer->asConstant() : std::nullopt;
  if (isa<FloatType>(type)) {
    if (inner.integer && inner.integer->asConstant())
      return {.number = static_cast<double>(*inner.integer->asConstant())};
    if (inner.notNegative)
      return {.step = Step{*inner.notNegative, 1, 0}};
    return {.number = inner.number, .step = inner.step};
  }
  if (isBoolean(result)) {
    if (constant)
      return {DimExpr(*constant != 0)};
    if (inner.number)
      return {DimExpr(*inner.number != 0)};
    return {.isZero = inner.isZero, .notNegative = inner.notNegative};
  }
  // Positions fit into what exporters cast them to.
  if (inner.integer && type.getIntOrFloatBitWidth() >= 32)
    return {inner.integer};
  if (inner.number && *inner.number == std::floor(*inner.number) &&
      std::abs(*inner.number) < 1e9)
    return {DimExpr(static_cast<int64_t>(*inner.number))};
  return {};
}

DecoderValues::Known DecoderValues::arithmetic(onnx::NodeOp node) const {
  const Known &a = of(node.input(0)),
              &b = node.input(1) ? of(node.input(1)) : a;
  if (a.number && b.number) {
    double x = *a.number, y = *b.number;
    if (node.is("Add"))
      return {.number = x + y};
    if (node.is("Sub"))
      return {.number = x - y};
    if (node.is("Mul"))
      return {.number = x * y};
    if (node.is("Div") && y != 0)
      return {.number = x / y};
    return node.is("Neg") ? Known{.number = -x} : Known();
  }
  if (a.step || b.step)
    return stepArithmetic(node);
  if (!a.integer || !b.integer)
    return {};
  const DimExpr &x = *a.integer, &y = *b.integer;
  if (node.is("Add"))
    return {x + y};
  if (node.is("Sub"))
    return {x - y};
  if (node.is("Mul"))
    return {x * y};
  if (node.is("Neg"))
    return {DimExpr(0) - x};
  if (node.is("Min") || node.is("Max") || node.is("Clip")) {
    // Where one side is never reached.
    auto difference = boundOf(x - y, node->getResult(0));
    if (!difference || node->getNumOperands() != 2)
      return {};
    bool isMin = node.is("Min");
    if (difference->min >= 0)
      return {isMin ? y : x};
    if (difference->max <= 0)
      return {isMin ? x : y};
  }
  return {};
}

/// A step and a number.
DecoderValues::Known DecoderValues::stepArithmetic(onnx::NodeOp node) const {
  if (node->getNumOperands() != 2)
    return {};
  const Known &a = of(node.input(0)), &b = of(node.input(1));
  if ((a.step && !b.number) || (b.step && !a.number))
    return {};
  auto compute = [&](double x, double y) {
    return node.is("Add") ? x + y : node.is("Sub") ? x - y : x * y;
  };
  if (!node.is("Add") && !node.is("Sub") && !node.is("Mul"))
    return {};
  const Step &step = a.step ? *a.step : *b.step;
  auto either = [&](double part) {
    return a.step ? compute(part, *b.number) : compute(*a.number, part);
  };
  return {.step =
              Step{step.difference, either(step.inside), either(step.outside)}};
}

DecoderValues::Known DecoderValues::comparison(onnx::NodeOp node) const {
  const Known &a = of(node.input(0)), &b = of(node.input(1));
  auto holds = [&](double x, double y) {
    return node.is("Equal")         ? x == y
           : node.is("Less")        ? x < y
           : node.is("LessOrEqual") ? x <= y
           : node.is("Greater")     ? x > y
                                    : x >= y;
  };
  if (a.number && b.number)
    return {.integer = DimExpr(holds(*a.number, *b.number))};
  if (a.step && b.number) {
    bool inside = holds(a.step->inside, *b.number),
         outside = holds(a.step->outside, *b.number);
    if (inside == outside)
      return {.integer = DimExpr(inside)};
    DimExpr difference = a.step->difference;
    return {.notNegative = inside ? difference : DimExpr(-1) - difference};
  }
  if (!a.integer || !b.integer)
    return {};
  DimExpr difference = *a.integer - *b.integer;
  auto bound = boundOf(difference, node->getResult(0));
  auto decided = [&](bool always, bool never) -> Known {
    if (always)
      return {DimExpr(1)};
    if (never)
      return {.integer = DimExpr(0)};
    // x < y is y - x - 1 >= 0.
    bool less = node.is("Less") || node.is("LessOrEqual"),
         strict = node.is("Less") || node.is("Greater");
    DimExpr sides = less ? DimExpr(0) - difference : difference;
    return {.notNegative = sides - DimExpr(strict)};
  };
  if (node.is("Equal")) {
    if (bound && (bound->min > 0 || bound->max < 0))
      return {DimExpr(0)};
    if (difference == DimExpr(0))
      return {DimExpr(1)};
    return {.isZero = difference};
  }
  if (!bound)
    return decided(false, false);
  if (node.is("Less"))
    return decided(bound->max < 0, bound->min >= 0);
  if (node.is("LessOrEqual"))
    return decided(bound->max <= 0, bound->min > 0);
  if (node.is("Greater"))
    return decided(bound->min > 0, bound->max <= 0);
  return decided(bound->min >= 0, bound->max < 0);
}

DecoderValues::Known DecoderValues::logic(onnx::NodeOp node) const {
  auto truth = [&](unsigned i) -> std::optional<bool> {
    Value operand = node.input(i);
    auto integer = operand ? of(operand).integer : std::nullopt;
    auto constant = integer ? integer->asConstant() : std::nullopt;
    return constant ? std::optional(*constant != 0) : std::nullopt;
  };
  std::optional<bool> a = truth(0), b = truth(1);
  if (node.is("Not")) {
    if (a)
      return {.integer = DimExpr(!*a)};
    const auto &holds = of(node.input(0)).notNegative;
    return holds ? Known{.notNegative = DimExpr(-1) - *holds} : Known();
  }
  bool decides = node.is("Or"); // what one side alone decides
  if (a == decides || b == decides)
    return {DimExpr(decides)};
  // What neither decides is the other's.
  if (a || b)
    return of(node.input(a ? 1 : 0));
  return {};
}

DecoderValues::Known DecoderValues::choice(onnx::NodeOp node) const {
  const Known &condition = of(node.input(0)), &yes = of(node.input(1)),
              &no = of(node.input(2));
  if (condition.integer && condition.integer->asConstant())
    return *condition.integer->asConstant() != 0 ? yes : no;
  if (yes.integer && no.integer && *yes.integer == *no.integer)
    return yes;
  if (condition.notNegative && yes.number && no.number)
    return {.step = Step{*condition.notNegative, *yes.number, *no.number}};
  // `past == 0 ? a : b` is b if b is a wherever the past is 0. That is asked
  // again when all counts are known.
  DimExpr past = DimExpr::symbol(parts.past);
  if (condition.isZero && yes.integer && no.integer &&
      (*condition.isZero == past || *condition.isZero == DimExpr(0) - past) &&
      (hasUnknownCount(*no.integer) ||
       no.integer->substitute({{parts.past, DimExpr(0)}}) == *yes.integer))
    return no;
  return {};
}

/// ReduceSum, ReduceMax, ReduceMin and CumSum of what does not change along the
/// axes.
DecoderValues::Known DecoderValues::sum(onnx::NodeOp node) const {
  Value operand = node.input(0);
  const auto &shape = dims.of(operand).shape;
  const auto &element = of(operand).integer;
  if (!shape || !element)
    return {};
  auto rank = static_cast<int64_t>(shape->size());
  std::optional<SmallVector<int64_t>> axes =
      node.is("CumSum") ? listOf(node, "", 1, dims)
                        : listOf(node, "axes", 1, dims);
  if (!axes || axes->empty())
    return {};
  std::set<std::string> symbols = element->symbols();
  DimExpr count(1);
  std::map<std::string, DimExpr> names;
  SmallVector<bool> isReduced(rank, false);
  for (int64_t axis : *axes) {
    axis += axis < 0 ? rank : 0;
    if (axis < 0 || axis >= rank || symbols.count(coordinateName(rank - axis)))
      return {};
    isReduced[axis] = true;
    count = count * (*shape)[axis];
  }
  if (node.is("CumSum")) {
    if (axes->size() != 1 || node.intAttribute("reverse", 0) != 0)
      return {};
    int64_t axis = axes->front() + (axes->front() < 0 ? rank : 0);
    DimExpr before = coordinate(rank - axis);
    return {*element * (node.intAttribute("exclusive", 0)
                            ? before
                            : before + DimExpr(1)),
            {},
            {}};
  }
  if (node.intAttribute("keepdims", 1) == 0) {
    unsigned left = 0;
    for (int64_t i = rank; i-- > 0;)
      if (!isReduced[i])
        names[coordinateName(rank - i)] = coordinate(++left);
  }
  DimExpr kept = element->substitute(names);
  return {node.is("ReduceSum") ? kept * count : kept};
}

DecoderValues::Known DecoderValues::slice(onnx::NodeOp node) const {
  Value operand = node.input(0);
  const Known &inner = of(operand);
  const auto &shape = dims.of(operand).shape;
  auto listed = [&](StringRef name,
                    unsigned index) -> std::optional<std::vector<DimExpr>> {
    if (auto list = node.intsAttribute(name))
      return std::vector<DimExpr>(list->begin(), list->end());
    return node.input(index) ? dims.of(node.input(index)).elements
                             : std::nullopt;
  };
  auto starts = listed("starts", 1), axes = listed("axes", 3),
       steps = listed("steps", 4);
  if (!shape || !starts || (!axes && node.input(3)) ||
      (!steps && node.input(4)))
    return {};
  auto rank = static_cast<int64_t>(shape->size());
  std::map<std::string, DimExpr> names;
  for (size_t i = 0; i < starts->size(); ++i) {
    std::optional<int64_t> axis =
        axes ? (*axes)[i].asConstant() : std::optional<int64_t>(i);
    if (!axis || *axis < -rank || *axis >= rank ||
        (steps && (*steps)[i] != DimExpr(1)))
      return {};
    int64_t at = *axis + (*axis < 0 ? rank : 0);
    DimExpr start = (*starts)[i];
    std::optional<DimExpr::Bound> bound = boundOf(start, operand);
    if (bound && bound->max < 0)
      start = DimExpr::max(start + (*shape)[at], DimExpr(0));
    else if (!bound || bound->min < 0)
      return {};
    names[coordinateName(rank - at)] = coordinate(rank - at) + start;
  }
  return inner.renamed(names);
}

DecoderValues::Known DecoderValues::ofNode(onnx::NodeOp node) const {
  if (node->getNumResults() != 1 || !node.input(0))
    return {};
  auto isOne = [&](std::initializer_list<StringRef> names) {
    return llvm::any_of(names, [&](StringRef name) { return node.is(name); });
  };
  if (isOne({"Unsqueeze", "Squeeze", "Reshape", "Flatten", "Identity", "Expand",
             "Transpose"}))
    return moved(node);
  if (node.is("Cast"))
    return cast(node);
  if (isOne({"Add", "Sub", "Mul", "Div", "Neg", "Min", "Max", "Clip"}))
    return arithmetic(node);
  if (isOne({"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"}))
    return comparison(node);
  if (isOne({"Not", "And", "Or"}))
    return logic(node);
  if (node.is("Where") && node->getNumOperands() == 3)
    return choice(node);
  if (isOne({"ReduceSum", "ReduceMax", "ReduceMin", "CumSum"}))
    return sum(node);
  if (node.is("Slice"))
    return slice(node);
  if (node.is("Range") && isInteger(node->getResult(0))) {
    const auto &start = of(node.input(0)).integer,
               &step = of(node.input(2)).integer;
    if (start && step)
      return {*start + coordinate(1) * *step};
  }
  return {};
}
