//===- DimExprEvaluate.cpp - Values and bounds of dimensions ----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The value of an expression where its symbols have values, and by interval
// arithmetic its range where they have ranges. Sums and products take 128 bits:
// values have to fit into 64, the terms that they are made of need not.
//
//===----------------------------------------------------------------------===//

#include "DimExprNode.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::dimexpr;

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

namespace {

using Lookup = std::function<std::optional<int64_t>(const std::string &)>;

Expected<int64_t> evaluateAtom(const Atom &atom, const Lookup &value) {
  if (atom.kind == AtomKind::Symbol) {
    if (std::optional<int64_t> found = value(atom.name))
      return *found;
    return Status::error("dimension '" + atom.name + "' has no value");
  }
  Expected<int64_t> a = atom.operands[0].evaluate(value);
  if (!a)
    return a;
  Expected<int64_t> b = atom.operands[1].evaluate(value);
  if (!b)
    return b;
  if (atom.kind == AtomKind::Min)
    return std::min(*a, *b);
  if (atom.kind == AtomKind::Max)
    return std::max(*a, *b);
  if (*b == 0)
    return Status::error(zeroText);
  Wide quotient = floorQuotient(*a, *b);
  if (atom.kind == AtomKind::Mod)
    return static_cast<int64_t>(*a - quotient * *b);
  if (std::optional<int64_t> result = narrow(quotient))
    return *result;
  return Status::error(overflowText);
}

} // namespace

Expected<int64_t> DimExpr::evaluate(const Lookup &value) const {
  if (!node->poison.empty())
    return Status::error("cannot evaluate a dimension: " + node->poison);
  Wide sum = 0;
  for (const auto &[monomial, coefficient] : node->terms) {
    Wide product = coefficient;
    for (const AtomRef &atom : monomial) {
      Expected<int64_t> factor = evaluateAtom(*atom, value);
      if (!factor)
        return factor;
      if (__builtin_mul_overflow(product, Wide{*factor}, &product))
        return Status::error("'" + str() + "': " + overflowText);
    }
    if (__builtin_add_overflow(sum, product, &sum))
      return Status::error("'" + str() + "': " + overflowText);
  }
  if (std::optional<int64_t> result = narrow(sum))
    return *result;
  return Status::error("'" + str() + "': " + overflowText);
}

//===----------------------------------------------------------------------===//
// Bounds
//===----------------------------------------------------------------------===//

namespace {

/// A closed interval that holds every value of an expression.
struct Interval {
  Wide min, max;
};

std::optional<Interval> multiply(const Interval &a, const Interval &b) {
  Interval result{};
  bool first = true;
  for (Wide x : {a.min, a.max})
    for (Wide y : {b.min, b.max}) {
      Wide product;
      if (__builtin_mul_overflow(x, y, &product))
        return std::nullopt;
      result.min = first ? product : std::min(result.min, product);
      result.max = first ? product : std::max(result.max, product);
      first = false;
    }
  return result;
}

/// The divisors of smallest and largest magnitude on each side of zero: the
/// quotient is monotonic between them. Zero itself never evaluates.
std::vector<Wide> extremeDivisors(const DimExpr::Bound &b) {
  std::vector<Wide> divisors;
  if (b.max > 0) {
    divisors.push_back(b.max);
    divisors.push_back(std::max<int64_t>(b.min, 1));
  }
  if (b.min < 0) {
    divisors.push_back(b.min);
    divisors.push_back(std::min<int64_t>(b.max, -1));
  }
  return divisors;
}

Interval divide(const DimExpr::Bound &a, const std::vector<Wide> &divisors) {
  Interval result{floorQuotient(a.min, divisors[0]),
                  floorQuotient(a.min, divisors[0])};
  for (Wide x : {Wide{a.min}, Wide{a.max}})
    for (Wide y : divisors) {
      Wide quotient = floorQuotient(x, y);
      result.min = std::min(result.min, quotient);
      result.max = std::max(result.max, quotient);
    }
  return result;
}

Interval remainder(const DimExpr::Bound &a, const DimExpr::Bound &b) {
  // Unchanged where the divisor is always larger.
  if (a.min >= 0 && b.min > a.max)
    return {a.min, a.max};
  // The remainder has the divisor's sign and a smaller magnitude.
  Interval result{b.min < 0 ? Wide{b.min} + 1 : 0,
                  b.max > 0 ? Wide{b.max} - 1 : 0};
  if (a.min >= 0)
    result.max = std::min<Wide>(result.max, a.max);
  if (a.max <= 0)
    result.min = std::max<Wide>(result.min, a.min);
  return result;
}

Expected<Interval>
boundAtom(const Atom &atom,
          const std::map<std::string, DimExpr::Bound> &bounds) {
  if (atom.kind == AtomKind::Symbol) {
    auto found = bounds.find(atom.name);
    if (found == bounds.end())
      return Status::error("dimension '" + atom.name + "' has no bound");
    if (found->second.min > found->second.max)
      return Status::error("dimension '" + atom.name + "' has an empty range");
    return Interval{found->second.min, found->second.max};
  }
  Expected<DimExpr::Bound> a = atom.operands[0].bound(bounds);
  if (!a)
    return a.status();
  Expected<DimExpr::Bound> b = atom.operands[1].bound(bounds);
  if (!b)
    return b.status();
  if (atom.kind == AtomKind::Min)
    return Interval{std::min(a->min, b->min), std::min(a->max, b->max)};
  if (atom.kind == AtomKind::Max)
    return Interval{std::max(a->min, b->min), std::max(a->max, b->max)};
  std::vector<Wide> divisors = extremeDivisors(*b);
  if (divisors.empty())
    return Status::error(zeroText);
  return atom.kind == AtomKind::FloorDiv ? divide(*a, divisors)
                                         : remainder(*a, *b);
}

} // namespace

Expected<DimExpr::Bound>
DimExpr::bound(const std::map<std::string, Bound> &bounds) const {
  if (!node->poison.empty())
    return Status::error("cannot bound a dimension: " + node->poison);
  Status overflow = Status::error("'" + str() + "': " + overflowText);
  Interval sum{0, 0};
  for (const auto &[monomial, coefficient] : node->terms) {
    Interval product{coefficient, coefficient};
    for (const AtomRef &atom : monomial) {
      Expected<Interval> factor = boundAtom(*atom, bounds);
      if (!factor)
        return factor.status();
      std::optional<Interval> next = multiply(product, *factor);
      if (!next)
        return overflow;
      product = *next;
    }
    if (__builtin_add_overflow(sum.min, product.min, &sum.min) ||
        __builtin_add_overflow(sum.max, product.max, &sum.max))
      return overflow;
  }
  std::optional<int64_t> min = narrow(sum.min), max = narrow(sum.max);
  if (!min || !max)
    return overflow;
  return Bound{*min, *max};
}
