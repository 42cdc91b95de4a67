//===- DimExprArithmetic.cpp - Arithmetic of dimensions ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Sums, products, quotients, remainders, minima and maxima in normal form: what
// can be computed is computed, the rest becomes an atom.
//
//===----------------------------------------------------------------------===//

#include "DimExprNode.h"

#include <algorithm>
#include <numeric>

using namespace nibble;
using namespace nibble::dimexpr;

/// Adds `factor * addend` to `sum`; false on overflow.
static bool addScaled(Terms &sum, const Terms &addend, int64_t factor) {
  for (const auto &[monomial, coefficient] : addend) {
    int64_t &entry = sum[monomial];
    // A product of 64-bit values plus one more fits into 128 bits.
    std::optional<int64_t> value =
        narrow(Wide{entry} + Wide{coefficient} * factor);
    if (!value)
      return false;
    entry = *value;
  }
  return true;
}

static Monomial multiply(const Monomial &a, const Monomial &b) {
  Monomial product;
  product.reserve(a.size() + b.size());
  std::merge(a.begin(), a.end(), b.begin(), b.end(),
             std::back_inserter(product), AtomOrder());
  return product;
}

DimExpr DimExpr::operator+(const DimExpr &other) const {
  if (const DimExpr *poison = Node::poisonOf(*this, other))
    return *poison;
  Terms sum = node->terms;
  if (!addScaled(sum, other.node->terms, 1))
    return Node::poisoned(overflowText);
  return Node::make(std::move(sum));
}

DimExpr DimExpr::operator-(const DimExpr &other) const {
  if (const DimExpr *poison = Node::poisonOf(*this, other))
    return *poison;
  Terms sum = node->terms;
  if (!addScaled(sum, other.node->terms, -1))
    return Node::poisoned(overflowText);
  return Node::make(std::move(sum));
}

DimExpr DimExpr::operator*(const DimExpr &other) const {
  if (const DimExpr *poison = Node::poisonOf(*this, other))
    return *poison;
  Terms sum;
  uint64_t size = 0;
  for (const auto &[a, left] : node->terms) {
    for (const auto &[b, right] : other.node->terms) {
      std::optional<int64_t> factor = narrow(Wide{left} * right);
      size += 1 + a.size() + b.size();
      // Before the terms exist: 16384 x 16384 of them would take gigabytes.
      if (size > 4 * maxSize)
        return Node::poisoned(tooLargeText);
      if (!factor || !addScaled(sum, {{multiply(a, b), 1}}, *factor))
        return Node::poisoned(overflowText);
    }
  }
  return Node::make(std::move(sum));
}

/// `a / b` if the division leaves no remainder; `b` is not zero.
static std::optional<Terms> divideExactly(Terms a, const Terms &b) {
  const auto &[leading, divisor] = *b.begin();
  Terms quotient;
  for (uint64_t steps = 0; !a.empty(); ++steps) {
    auto [monomial, coefficient] = *a.begin();
    // The overflow first: the processor traps on its remainder as well.
    if (steps > maxSize || (coefficient == INT64_MIN && divisor == -1) ||
        coefficient % divisor != 0 ||
        !std::includes(monomial.begin(), monomial.end(), leading.begin(),
                       leading.end(), AtomOrder()))
      return std::nullopt;
    Monomial factor;
    std::set_difference(monomial.begin(), monomial.end(), leading.begin(),
                        leading.end(), std::back_inserter(factor), AtomOrder());
    int64_t ratio = coefficient / divisor;
    if (ratio == INT64_MIN)
      return std::nullopt;
    Terms product;
    for (const auto &[other, scale] : b)
      product.emplace(multiply(factor, other), scale);
    if (!addScaled(a, product, -ratio))
      return std::nullopt;
    std::erase_if(a, [](const auto &term) { return term.second == 0; });
    quotient.emplace(std::move(factor), ratio);
  }
  return quotient;
}

/// Splits `a` into `multiple * divisor + rest`, term by term.
static void splitByConstant(const Terms &a, int64_t divisor, Terms &multiple,
                            Terms &rest) {
  for (const auto &[monomial, coefficient] : a) {
    if (coefficient % divisor == 0)
      multiple.emplace(monomial, coefficient / divisor);
    else
      rest.emplace(monomial, coefficient);
  }
}

/// Greatest common divisor of all coefficients, at least 1.
static int64_t content(const Terms &a, const Terms &b) {
  int64_t result = 0;
  for (const Terms *terms : {&a, &b})
    for (const auto &term : *terms) {
      if (term.second == INT64_MIN) // its magnitude is no int64_t
        return 1;
      result = std::gcd(result, term.second);
    }
  return std::max<int64_t>(result, 1);
}

static Terms dividedBy(const Terms &a, int64_t divisor) {
  Terms result;
  for (const auto &[monomial, coefficient] : a)
    result.emplace(monomial, coefficient / divisor);
  return result;
}

DimExpr DimExpr::floorDiv(const DimExpr &divisor) const {
  if (const DimExpr *poison = Node::poisonOf(*this, divisor))
    return *poison;
  std::optional<int64_t> constant = divisor.asConstant();
  if (constant == 0)
    return Node::poisoned(zeroText);
  if (std::optional<Terms> exact =
          divideExactly(node->terms, divisor.node->terms))
    return Node::make(std::move(*exact));
  if (std::optional<int64_t> value = asConstant(); value && constant) {
    std::optional<int64_t> quotient = narrow(floorQuotient(*value, *constant));
    return quotient ? DimExpr(*quotient) : Node::poisoned(overflowText);
  }
  // floor((d*q + r) / d) = q + floor(r / d), for a constant d of either sign.
  Terms multiple, rest = node->terms;
  if (constant && *constant != -1) {
    rest.clear();
    splitByConstant(node->terms, *constant, multiple, rest);
  }
  if (!multiple.empty())
    return Node::make(std::move(multiple)) +
           Node::make(std::move(rest)).floorDiv(divisor);
  // A common positive factor changes nothing, but would hide equality.
  int64_t common = content(rest, divisor.node->terms);
  return Node::atom(AtomKind::FloorDiv, "",
                    {Node::make(dividedBy(rest, common)),
                     Node::make(dividedBy(divisor.node->terms, common))});
}

DimExpr DimExpr::mod(const DimExpr &divisor) const {
  if (const DimExpr *poison = Node::poisonOf(*this, divisor))
    return *poison;
  std::optional<int64_t> constant = divisor.asConstant();
  if (constant == 0)
    return Node::poisoned(zeroText);
  if (divideExactly(node->terms, divisor.node->terms))
    return DimExpr(0);
  if (std::optional<int64_t> value = asConstant(); value && constant) {
    Wide quotient = floorQuotient(*value, *constant);
    return DimExpr(static_cast<int64_t>(*value - quotient * *constant));
  }
  Terms multiple, rest = node->terms;
  if (constant && *constant != -1) {
    rest.clear();
    splitByConstant(node->terms, *constant, multiple, rest);
  }
  if (!multiple.empty())
    return Node::make(std::move(rest)).mod(divisor);
  return Node::atom(AtomKind::Mod, "", {*this, divisor});
}

DimExpr DimExpr::max(const DimExpr &a, const DimExpr &b) {
  if (const DimExpr *poison = Node::poisonOf(a, b))
    return *poison;
  if (std::optional<int64_t> difference = (a - b).asConstant())
    return *difference >= 0 ? a : b;
  return Node::atom(AtomKind::Max, "", {std::min(a, b), std::max(a, b)});
}

DimExpr DimExpr::min(const DimExpr &a, const DimExpr &b) {
  if (const DimExpr *poison = Node::poisonOf(a, b))
    return *poison;
  if (std::optional<int64_t> difference = (a - b).asConstant())
    return *difference <= 0 ? a : b;
  return Node::atom(AtomKind::Min, "", {std::min(a, b), std::max(a, b)});
}
