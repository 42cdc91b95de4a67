//===- DimExpr.h - Symbolic dimensions --------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   DimExpr total = DimExpr::symbol("past") + DimExpr::symbol("seq");
//   total.str();                              // "past + seq"
//   total == *DimExpr::parse("seq + past");   // true: one normal form
//
// An integer expression over named dimensions: a polynomial with integer
// coefficients in normal form, over symbols and the atoms floordiv(a, b),
// mod(a, b), min(a, b), max(a, b). The compiler derives one for every dimension
// of every value; the bundle stores them; the runtime evaluates them.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_DIMEXPR_H
#define NIBBLE_BASE_DIMEXPR_H

#include "nibble/Base/Status.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace nibble {

/// An immutable symbolic integer. Equal expressions in normal form compare
/// equal, print equally and order the same way in every run. A result that
/// overflows 64 bits, divides by zero or grows beyond fixed limits is an
/// invalid expression: it spreads, prints as `invalid(reason)` and fails to
/// evaluate.
class DimExpr {
public:
  DimExpr() : DimExpr(0) {}
  DimExpr(int64_t constant);
  /// A named dimension; invalid (see above) unless isSymbolName(name).
  static DimExpr symbol(const std::string &name);
  /// Whether `name` is a run of ASCII letters, digits, `_` and `.` that does
  /// not start with a digit.
  static bool isSymbolName(const std::string &name);
  /// Reads what `str` prints: numbers, symbols, + - *, parentheses, floordiv,
  /// mod, min and max. At most 64 levels deep and 4096 bytes long.
  static Expected<DimExpr> parse(const std::string &text);

  DimExpr operator+(const DimExpr &other) const;
  DimExpr operator-(const DimExpr &other) const;
  DimExpr operator*(const DimExpr &other) const;
  /// Exact when the divisor is a factor, assuming that it is not zero;
  /// otherwise a floordiv atom. Rounds towards minus infinity.
  DimExpr floorDiv(const DimExpr &divisor) const;
  /// `*this - divisor * floorDiv(divisor)`: takes the divisor's sign.
  DimExpr mod(const DimExpr &divisor) const;
  static DimExpr max(const DimExpr &a, const DimExpr &b);
  static DimExpr min(const DimExpr &a, const DimExpr &b);

  /// Never true of an invalid expression.
  bool operator==(const DimExpr &other) const;
  bool operator!=(const DimExpr &other) const { return !(*this == other); }
  bool operator<(const DimExpr &other) const;

  std::optional<int64_t> asConstant() const;
  /// The name, if this is one bare symbol.
  std::optional<std::string> asSymbol() const;
  std::set<std::string> symbols() const;
  /// All symbols at once; those without a value stay.
  DimExpr substitute(const std::map<std::string, DimExpr> &values) const;
  /// Error on an unknown symbol, a division by zero or an overflow.
  Expected<int64_t> evaluate(
      const std::function<std::optional<int64_t>(const std::string &)> &value)
      const;
  struct Bound {
    int64_t min, max;
  };
  /// Smallest and largest value over `bounds` (symbol -> [min, max]) by
  /// interval arithmetic: never inside the true range, and exact for sums of
  /// monomials with positive coefficients over non-negative symbols. Error on a
  /// missing bound or an overflow.
  Expected<Bound> bound(const std::map<std::string, Bound> &bounds) const;
  std::string str() const;

  struct Node; // normal form, defined in DimExprNode.h
private:
  explicit DimExpr(std::shared_ptr<const Node> node) : node(std::move(node)) {}
  std::shared_ptr<const Node> node;
};

} // namespace nibble

#endif // NIBBLE_BASE_DIMEXPR_H
