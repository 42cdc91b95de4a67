//===- DimExprNode.h - The normal form of a dimension -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The normal form is a map from monomials (sorted multisets of atoms) to
// non-zero coefficients, ordered by degree and then lexicographically. That is
// a monomial order, so that dividing by the leading term decides exact
// divisibility of polynomials.
//
// Whatever cannot be represented (an overflowing coefficient, a division by
// zero, an expression beyond the limits below) becomes a poisoned expression:
// it spreads through every operation and names its reason when evaluated. This
// keeps the operators total without letting a hostile file crash anything.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_BASE_DIMEXPRNODE_H
#define NIBBLE_LIB_BASE_DIMEXPRNODE_H

#include "nibble/Base/DimExpr.h"

namespace nibble {
namespace dimexpr {

/// Nesting of parsed text and of atoms: text that `str` printed parses again.
constexpr unsigned maxDepth = 64;
/// Atoms of one expression counted as a tree. Real ones have a handful; the
/// limit stops (a+b)*(c+d)*... from exhausting memory.
constexpr uint64_t maxSize = 1 << 14;

constexpr const char *overflowText = "overflow of 64-bit arithmetic";
constexpr const char *zeroText = "division by zero";
constexpr const char *tooLargeText = "expression is too large";

enum class AtomKind : uint8_t { Symbol, FloorDiv, Mod, Min, Max };

/// A symbol, or a function of two expressions (`operands`; empty for symbols).
struct Atom {
  AtomKind kind = AtomKind::Symbol;
  std::string name;
  std::vector<DimExpr> operands;
};

using AtomRef = std::shared_ptr<const Atom>;
using Monomial = std::vector<AtomRef>;

/// Three-way.
int compare(const AtomRef &a, const AtomRef &b);
int compare(const Monomial &a, const Monomial &b);

struct AtomOrder {
  bool operator()(const AtomRef &a, const AtomRef &b) const {
    return compare(a, b) < 0;
  }
};

/// Leading terms first: this is also the order of printing.
struct MonomialOrder {
  bool operator()(const Monomial &a, const Monomial &b) const {
    return compare(a, b) < 0;
  }
};

using Terms = std::map<Monomial, int64_t, MonomialOrder>;

/// The function of `kind`, which is not Symbol, in normal form.
DimExpr apply(AtomKind kind, const DimExpr &a, const DimExpr &b);

/// Wide enough that one product or sum of 64-bit values cannot overflow.
using Wide = __int128;

inline std::optional<int64_t> narrow(Wide value) {
  if (value < INT64_MIN || value > INT64_MAX)
    return std::nullopt;
  return static_cast<int64_t>(value);
}

/// Rounds towards minus infinity; `b` is not zero.
inline Wide floorQuotient(Wide a, Wide b) {
  Wide quotient = a / b;
  return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

/// What a name of a symbol or function consists of.
inline bool isDigit(char c) { return c >= '0' && c <= '9'; }
inline bool isNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || isDigit(c) ||
         c == '_' || c == '.';
}

} // namespace dimexpr

struct DimExpr::Node {
  dimexpr::Terms terms;
  std::string poison; // the reason; empty for a valid expression
  unsigned depth = 0; // nesting of atoms
  uint64_t size = 0;  // atoms, counted as a tree

  static DimExpr poisoned(std::string reason) {
    auto node = std::make_shared<Node>();
    node->poison = std::move(reason);
    return DimExpr(std::move(node));
  }

  /// Drops zeros and checks the limits.
  static DimExpr make(dimexpr::Terms terms);
  /// The expression that is one atom.
  static DimExpr atom(dimexpr::AtomKind kind, std::string name,
                      std::vector<DimExpr> operands);
  /// Three-way: two calls of `<` per level would take 2^depth steps.
  static int compare(const DimExpr &a, const DimExpr &b);
  /// The poisoned operand, if there is one.
  static const DimExpr *poisonOf(const DimExpr &a, const DimExpr &b) {
    return !a.node->poison.empty()   ? &a
           : !b.node->poison.empty() ? &b
                                     : nullptr;
  }
};

} // namespace nibble

#endif // NIBBLE_LIB_BASE_DIMEXPRNODE_H
