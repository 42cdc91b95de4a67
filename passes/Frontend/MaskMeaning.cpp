//===- MaskMeaning.cpp - What a mask says about rows and columns ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "MaskMeaning.h"

#include <cmath>

using namespace mlir;

namespace nibble::frontend {

/// A symbol beside those of dimensions, which models name.
static std::string coordinateName(unsigned fromLast) {
  return "nibble.coordinate." + std::to_string(fromLast);
}

DimExpr coordinate(unsigned fromLast) {
  return DimExpr::symbol(coordinateName(fromLast));
}

/// Largest rank whose coordinates are renamed; masks have 4.
static constexpr unsigned maxRank = 8;

//===----------------------------------------------------------------------===//
// Moving between the dimensions of an operand and of a result
//===----------------------------------------------------------------------===//

namespace {

/// For each dimension of an operand, counted from the end, the dimension of the
/// result that indexes it; 0: the coordinate is 0 (size 1).
struct Renaming {
  unsigned to[maxRank + 1] = {};

  DimExpr apply(const DimExpr &expr) const {
    std::map<std::string, DimExpr> values;
    for (unsigned i = 1; i <= maxRank; ++i)
      values[coordinateName(i)] = to[i] ? coordinate(to[i]) : DimExpr(0);
    return expr.substitute(values);
  }
  MaskFactors apply(MaskFactors factors) const {
    for (MaskFactor &factor : factors)
      if (factor.difference)
        factor.difference = apply(*factor.difference);
      else
        for (unsigned &dim : factor.bit.dims)
          dim = dim ? to[dim] : 0;
    return factors;
  }
};

/// How the operand of a node that only moves dimensions is indexed. No value
/// for other nodes.
std::optional<Renaming> renamingOf(onnx::NodeOp node) {
  Value operand = node.input(0);
  if (!operand || node->getNumResults() != 1)
    return std::nullopt;
  int64_t rank = rankOf(operand), resultRank = rankOf(node->getResult(0));
  if (rank < 0 || resultRank < 0 || rank > maxRank || resultRank > maxRank)
    return std::nullopt;
  SmallVector<int64_t> kept; // dimension of the result per one of the operand
  if (node.is("Unsqueeze")) {
    auto axes = integersOf(node, "axes", 1);
    if (!axes)
      return std::nullopt;
    for (int64_t &axis : *axes)
      axis = fromFront(axis, resultRank);
    for (int64_t dim = 0; dim < resultRank; ++dim)
      if (!llvm::is_contained(*axes, dim))
        kept.push_back(dim);
  } else if (node.is("Squeeze")) {
    auto axes = integersOf(node, "axes", 1);
    if (!axes)
      return std::nullopt;
    for (int64_t &axis : *axes)
      axis = fromFront(axis, rank);
    int64_t next = 0;
    for (int64_t dim = 0; dim < rank; ++dim)
      kept.push_back(llvm::is_contained(*axes, dim) ? -1 : next++);
  } else if (node.is("Expand") || node.is("Identity")) {
    for (int64_t dim = 0; dim < rank; ++dim)
      kept.push_back(resultRank - rank + dim);
  } else {
    return std::nullopt;
  }
  if (int64_t(kept.size()) != rank)
    return std::nullopt;
  Renaming renaming;
  for (int64_t dim = 0; dim < rank; ++dim) {
    bool single = kept[dim] < 0 || staticDim(operand, dim) == 1;
    renaming.to[rank - dim] = single ? 0 : resultRank - kept[dim];
  }
  return renaming;
}

/// How an operand that is broadcast is indexed: in place, 0 where its size
/// is 1.
Renaming broadcastOf(Value operand) {
  Renaming renaming;
  int64_t rank = std::min<int64_t>(rankOf(operand), maxRank);
  for (int64_t i = 1; i <= rank; ++i)
    renaming.to[i] = staticDim(operand, -i) == 1 ? 0 : i;
  return renaming;
}

bool isBoolean(Value value) {
  return getElementTypeOrSelf(value.getType()).isInteger(1);
}

/// The one value of a constant, or of ConstantOfShape.
std::optional<double> filling(Value value) {
  if (std::optional<double> splat = splatOf(value))
    return splat;
  onnx::NodeOp node = nodeOf(value, "ConstantOfShape");
  if (!node)
    return std::nullopt;
  auto literal = dyn_cast_or_null<DenseElementsAttr>(node.attribute("value"));
  if (!literal)
    return 0;
  if (!literal.isSplat() ||
      !isa<FloatType, IntegerType>(literal.getElementType()))
    return std::nullopt;
  if (isa<FloatType>(literal.getElementType())) {
    APFloat number = literal.getSplatValue<APFloat>();
    bool losesInfo;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                   &losesInfo);
    return number.convertToDouble();
  }
  return literal.getSplatValue<APInt>().signedRoundToDouble();
}

MaskFactor isNotNegative(DimExpr difference) {
  return MaskFactor{std::move(difference), {}};
}

} // namespace

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

std::optional<DimExpr> MaskReader::integer(Value value) {
  if (++steps > maxSteps)
    return std::nullopt;
  const ValueDims &known = dims.of(value);
  if (known.elements && !known.elements->empty() &&
      llvm::all_equal(*known.elements))
    return known.elements->front();
  if (std::optional<double> scalar = splatOf(value))
    if (std::abs(*scalar) < double(int64_t(1) << 53) &&
        *scalar == std::floor(*scalar))
      return DimExpr(int64_t(*scalar));
  onnx::NodeOp node = wellFormedNode(value.getDefiningOp());
  if (!node)
    return std::nullopt;
  auto operand = [&](unsigned index) -> std::optional<DimExpr> {
    Value input = node.input(index);
    std::optional<DimExpr> expr = input ? integer(input) : std::nullopt;
    return expr ? std::optional(broadcastOf(input).apply(*expr)) : expr;
  };
  if (node.is("Range")) {
    auto start = integer(node.input(0)), step = integer(node.input(2));
    if (!start || !step)
      return std::nullopt;
    return *start + coordinate(1) * *step;
  }
  if (std::optional<Renaming> renaming = renamingOf(node)) {
    auto inner = integer(node.input(0));
    return inner ? std::optional(renaming->apply(*inner)) : std::nullopt;
  }
  // Positions are exact in these types, not in shorter ones.
  auto isExact = [](Value v) {
    return !isBoolean(v) &&
           getElementTypeOrSelf(v.getType()).getIntOrFloatBitWidth() >= 32;
  };
  if (node.is("Cast") && isExact(node.input(0)) && isExact(value))
    return integer(node.input(0));
  bool sum = node.is("Add"), difference = node.is("Sub");
  if (sum || difference || node.is("Mul")) {
    auto a = operand(0), b = operand(1);
    if (!a || !b)
      return std::nullopt;
    return sum ? *a + *b : difference ? *a - *b : *a * *b;
  }
  if (node.is("Neg")) {
    auto inner = operand(0);
    return inner ? std::optional(DimExpr(0) - *inner) : std::nullopt;
  }
  return std::nullopt;
}

//===----------------------------------------------------------------------===//
// Slices
//===----------------------------------------------------------------------===//

std::optional<MaskFactors>
MaskReader::sliced(onnx::NodeOp node,
                   llvm::function_ref<std::optional<MaskFactors>(Value)> read) {
  Value source = node.input(0);
  int64_t rank = rankOf(source);
  auto list = [&](StringRef attribute,
                  unsigned index) -> std::optional<std::vector<DimExpr>> {
    if (auto integers = node.intsAttribute(attribute))
      return std::vector<DimExpr>(integers->begin(), integers->end());
    Value operand = node.input(index);
    return operand ? dims.of(operand).elements : std::nullopt;
  };
  auto starts = list("starts", 1), axes = list("axes", 3);
  if (!starts || rank < 1 || rank > maxRank)
    return std::nullopt;
  if (!axes && !node.input(3)) {
    axes.emplace();
    for (size_t i = 0; i < starts->size(); ++i)
      axes->push_back(DimExpr(int64_t(i)));
  }
  if (!axes || axes->size() != starts->size())
    return std::nullopt;
  if (Value steps = node.input(4)) {
    const ValueDims &known = dims.of(steps);
    if (!known.elements || !llvm::all_of(*known.elements, [](const DimExpr &e) {
          return e == DimExpr(1);
        }))
      return std::nullopt;
  }
  std::map<std::string, DimExpr> moved;
  for (auto [start, dim] : llvm::zip(*starts, *axes)) {
    std::optional<int64_t> axis = dim.asConstant(), fixed = start.asConstant();
    // Expressions over dimensions count elements; a number may count from the
    // end.
    if (!axis || (fixed && *fixed < 0) || *axis < -rank || *axis >= rank)
      return std::nullopt;
    unsigned fromLast = rank - fromFront(*axis, rank);
    moved[coordinateName(fromLast)] = coordinate(fromLast) + start;
  }
  std::optional<MaskFactors> factors = read(source);
  if (!factors)
    return std::nullopt;
  for (MaskFactor &factor : *factors) {
    if (factor.difference) {
      factor.difference = factor.difference->substitute(moved);
      continue;
    }
    for (unsigned fromLast : factor.bit.dims)
      if (auto it = moved.find(coordinateName(fromLast));
          it != moved.end() && it->second != coordinate(fromLast))
        return std::nullopt;
  }
  return factors;
}

//===----------------------------------------------------------------------===//
// Conditions
//===----------------------------------------------------------------------===//

std::optional<MaskFactors> MaskReader::bit(Value value, StringRef compare,
                                           double scalar, bool negated) {
  if (++steps > maxSteps)
    return std::nullopt;
  if (rankOf(value) < 1 || rankOf(value) > maxRank)
    return std::nullopt;
  onnx::NodeOp node = wellFormedNode(value.getDefiningOp());
  if (node) {
    if (std::optional<Renaming> renaming = renamingOf(node)) {
      auto inner = bit(node.input(0), compare, scalar, negated);
      return inner ? std::optional(renaming->apply(std::move(*inner))) : inner;
    }
    // Whether an integer is zero survives a cast between integers that widens.
    if (node.is("Cast") && !isFloat(value) && !isFloat(node.input(0)) &&
        getElementTypeOrSelf(node.input(0).getType()).getIntOrFloatBitWidth() <=
            getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth())
      return bit(node.input(0), compare, scalar, negated);
    if (node.is("Slice"))
      if (auto part = sliced(node, [&](Value source) {
            return bit(source, compare, scalar, negated);
          }))
        return part;
  }
  if (auto triangle = storedTriangle(value, compare, scalar, negated))
    return triangle;
  MaskBit leaf{value, compare, scalar, negated, {}};
  for (int64_t dim = 0; dim < rankOf(value); ++dim)
    leaf.dims.push_back(staticDim(value, dim) == 1 ? 0 : rankOf(value) - dim);
  return MaskFactors{MaskFactor{std::nullopt, std::move(leaf)}};
}

std::optional<MaskFactors> MaskReader::comparison(onnx::NodeOp node,
                                                  bool negated) {
  static constexpr StringLiteral names[] = {"LessOrEqual", "GreaterOrEqual",
                                            "Less", "Greater", "Equal"};
  const auto *name =
      llvm::find_if(names, [&](StringRef name) { return node.is(name); });
  if (name == std::end(names))
    return std::nullopt;
  Value left = node.input(0), right = node.input(1);
  auto a = integer(left), b = integer(right);
  if (a && b && !node.is("Equal")) {
    DimExpr x = broadcastOf(left).apply(*a), y = broadcastOf(right).apply(*b);
    bool less = name->starts_with("Less"), equal = name->ends_with("Equal");
    // x <= y is y - x >= 0; x < y is y - x - 1 >= 0; negation swaps the sides.
    DimExpr difference = less != negated ? y - x : x - y;
    if (equal == negated)
      difference = difference - DimExpr(1);
    return MaskFactors{isNotNegative(difference)};
  }
  std::optional<double> scalar = scalarOf(right);
  if (!scalar || rankOf(right) > rankOf(left))
    return std::nullopt;
  return bit(left, *name, *scalar, negated);
}

/// Trilu keeps a triangle of its operand and zeroes the rest.
std::optional<MaskFactors> MaskReader::triangle(onnx::NodeOp node,
                                                bool negated) {
  std::optional<double> filled = filling(node.input(0));
  DimExpr diagonal(0);
  if (Value k = node.input(1)) {
    std::optional<DimExpr> known = integer(k);
    if (!known)
      return std::nullopt;
    diagonal = *known;
  }
  if (!filled || *filled == 0)
    return std::nullopt;
  // Kept: j - i >= k (upper) or j - i <= k (lower).
  DimExpr offset = coordinate(1) - coordinate(2) - diagonal;
  DimExpr kept = node.intAttribute("upper", 1) ? offset : DimExpr(0) - offset;
  return MaskFactors{
      isNotNegative(negated ? DimExpr(0) - kept - DimExpr(1) : kept)};
}

std::optional<MaskFactors> MaskReader::condition(Value value, bool negated) {
  if (++steps > maxSteps)
    return std::nullopt;
  if (std::optional<double> constant = filling(value))
    return (*constant != 0) != negated ? std::optional(MaskFactors())
                                       : std::nullopt;
  onnx::NodeOp node = wellFormedNode(value.getDefiningOp());
  if (!node)
    return bit(value, "", 0, negated);
  if (std::optional<Renaming> renaming = renamingOf(node)) {
    auto inner = condition(node.input(0), negated);
    return inner ? std::optional(renaming->apply(std::move(*inner))) : inner;
  }
  if (node.is("Not"))
    return condition(node.input(0), !negated);
  if (node.is("Trilu"))
    return triangle(node, negated);
  if (node.is("Cast") && !isFloat(node.input(0)) &&
      (isBoolean(value) || isBoolean(node.input(0))))
    return condition(node.input(0), negated);
  // not (a or b) = not a and not b
  if (node.is(negated ? "Or" : "And")) {
    MaskFactors all;
    for (Value operand : node->getOperands()) {
      auto part = condition(operand, negated);
      if (!part)
        return std::nullopt;
      llvm::append_range(all, broadcastOf(operand).apply(std::move(*part)));
    }
    return all;
  }
  if (node.is("Slice"))
    if (auto part = sliced(
            node, [&](Value source) { return condition(source, negated); }))
      return part;
  if (std::optional<MaskFactors> compared = comparison(node, negated))
    return compared;
  return bit(value, "", 0, negated);
}

//===----------------------------------------------------------------------===//
// Masks to add
//===----------------------------------------------------------------------===//

/// condition * hidden, with the condition cast to float, or 1 minus it.
std::optional<AdditiveMask> MaskReader::scaledCondition(onnx::NodeOp node) {
  return eitherWay(node, [&](Value a, Value b) -> std::optional<AdditiveMask> {
    std::optional<double> hidden = scalarOf(b);
    if (!hidden)
      return std::nullopt;
    bool inverted = false;
    a = throughFloatCasts(a);
    if (onnx::NodeOp difference = nodeOf(a, "Sub"))
      if (isScalar(difference.input(0), 1)) {
        a = throughFloatCasts(difference.input(1));
        inverted = true;
      }
    // Only truth values: an integer mask could hold other numbers.
    onnx::NodeOp cast = nodeOf(a, "Cast");
    if (!cast || !isBoolean(cast.input(0)))
      return std::nullopt;
    auto visible = condition(cast.input(0), /*negated=*/!inverted);
    if (!visible)
      return std::nullopt;
    return AdditiveMask{std::move(*visible), *hidden};
  });
}

std::optional<AdditiveMask> MaskReader::additive(Value value) {
  if (++steps > maxSteps)
    return std::nullopt;
  value = throughFloatCasts(value);
  if (std::optional<AdditiveMask> stored = storedMask(value))
    return stored;
  onnx::NodeOp node = wellFormedNode(value.getDefiningOp());
  if (!node)
    return std::nullopt;
  if (node.is("Slice")) {
    double hidden = 0;
    auto visible =
        sliced(node, [&](Value source) -> std::optional<MaskFactors> {
          std::optional<AdditiveMask> inner = additive(source);
          hidden = inner ? inner->hidden : 0;
          return inner ? std::optional(std::move(inner->visible))
                       : std::nullopt;
        });
    return visible ? std::optional(AdditiveMask{std::move(*visible), hidden})
                   : std::nullopt;
  }
  if (std::optional<Renaming> renaming = renamingOf(node)) {
    auto inner = additive(node.input(0));
    if (inner)
      inner->visible = renaming->apply(std::move(inner->visible));
    return inner;
  }
  if (node.is("Mul"))
    return scaledCondition(node);
  if (node.is("Trilu") && node.intAttribute("upper", 1)) {
    // -inf above the diagonal: hidden where the triangle keeps its operand.
    std::optional<double> hidden = filling(node.input(0));
    auto visible = triangle(node, /*negated=*/true);
    if (!hidden || !visible)
      return std::nullopt;
    return AdditiveMask{std::move(*visible), *hidden};
  }
  if (!node.is("Where"))
    return std::nullopt;
  std::optional<double> yes = splatOf(node.input(1)),
                        no = splatOf(node.input(2));
  if (!yes || !no || (*yes != 0) == (*no != 0))
    return std::nullopt;
  auto visible = condition(node.input(0), /*negated=*/*yes != 0);
  if (!visible)
    return std::nullopt;
  return AdditiveMask{broadcastOf(node.input(0)).apply(std::move(*visible)),
                      *yes != 0 ? *yes : *no};
}

} // namespace nibble::frontend
