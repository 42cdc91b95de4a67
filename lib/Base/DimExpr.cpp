//===- DimExpr.cpp - Symbolic dimensions ------------------------*- C++ -*-===//
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

#include "nibble/Base/DimExpr.h"

#include <algorithm>
#include <numeric>

using namespace nibble;

namespace {

/// Nesting of parsed text and of atoms: text that `str` printed parses again.
constexpr unsigned maxDepth = 64;
constexpr size_t maxTextLength = 4096;
/// Atoms of one expression counted as a tree. Real ones have a handful; the
/// limit stops (a+b)*(c+d)*... from exhausting memory.
constexpr uint64_t maxSize = 1 << 14;

enum class AtomKind : uint8_t { Symbol, FloorDiv, Mod, Min, Max };

const char *const atomNames[] = {"", "floordiv", "mod", "min", "max"};

/// A symbol, or a function of two expressions (`operands`; empty for symbols).
struct Atom {
  AtomKind kind = AtomKind::Symbol;
  std::string name;
  std::vector<DimExpr> operands;
};

using AtomRef = std::shared_ptr<const Atom>;
using Monomial = std::vector<AtomRef>;

int compare(const DimExpr &a, const DimExpr &b);

int compare(const AtomRef &a, const AtomRef &b) {
  if (a == b)
    return 0;
  if (a->kind != b->kind)
    return a->kind < b->kind ? -1 : 1;
  if (int order = a->name.compare(b->name))
    return order;
  for (size_t i = 0; i != a->operands.size(); ++i)
    if (int order = compare(a->operands[i], b->operands[i]))
      return order;
  return 0;
}

int compare(const Monomial &a, const Monomial &b) {
  if (a.size() != b.size())
    return a.size() > b.size() ? -1 : 1;
  for (size_t i = 0; i != a.size(); ++i)
    if (int order = compare(a[i], b[i]))
      return order;
  return 0;
}

/// Leading terms first: this is also the order of printing.
struct MonomialOrder {
  bool operator()(const Monomial &a, const Monomial &b) const {
    return compare(a, b) < 0;
  }
};

using Terms = std::map<Monomial, int64_t, MonomialOrder>;

struct AtomOrder {
  bool operator()(const AtomRef &a, const AtomRef &b) const {
    return compare(a, b) < 0;
  }
};

/// Wide enough that one product or sum of 64-bit values cannot overflow.
using Wide = __int128;

std::optional<int64_t> narrow(Wide value) {
  if (value < INT64_MIN || value > INT64_MAX)
    return std::nullopt;
  return static_cast<int64_t>(value);
}

/// Rounds towards minus infinity; `b` is not zero.
Wide floorQuotient(Wide a, Wide b) {
  Wide quotient = a / b;
  return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

const char *const overflowText = "overflow of 64-bit arithmetic";
const char *const zeroText = "division by zero";

} // namespace

//===----------------------------------------------------------------------===//
// Normal form
//===----------------------------------------------------------------------===//

struct DimExpr::Node {
  Terms terms;
  std::string poison; // the reason; empty for a valid expression
  unsigned depth = 0; // nesting of atoms
  uint64_t size = 0;  // atoms, counted as a tree

  static DimExpr poisoned(std::string reason) {
    auto node = std::make_shared<Node>();
    node->poison = std::move(reason);
    return DimExpr(std::move(node));
  }

  /// Drops zeros and checks the limits.
  static DimExpr make(Terms terms);
  /// The expression that is one atom.
  static DimExpr atom(AtomKind kind, std::string name,
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

DimExpr DimExpr::Node::make(Terms terms) {
  auto node = std::make_shared<Node>();
  for (auto it = terms.begin(); it != terms.end();) {
    if (it->second == 0) {
      it = terms.erase(it);
      continue;
    }
    ++node->size;
    for (const AtomRef &atom : it->first) {
      ++node->size;
      for (const DimExpr &operand : atom->operands) {
        node->size += operand.node->size;
        node->depth = std::max(node->depth, operand.node->depth + 1);
      }
      // Checked inside the loop: each addend is below the limit, so the sum
      // cannot wrap around.
      if (node->size > maxSize || node->depth > maxDepth)
        return poisoned("expression is too large");
    }
    ++it;
  }
  if (node->size > maxSize)
    return poisoned("expression is too large");
  node->terms = std::move(terms);
  return DimExpr(std::move(node));
}

DimExpr DimExpr::Node::atom(AtomKind kind, std::string name,
                            std::vector<DimExpr> operands) {
  auto atom = std::make_shared<Atom>();
  atom->kind = kind;
  atom->name = std::move(name);
  atom->operands = std::move(operands);
  return make({{Monomial{std::move(atom)}, 1}});
}

int DimExpr::Node::compare(const DimExpr &a, const DimExpr &b) {
  if (a.node == b.node)
    return 0;
  if (int order = a.node->poison.compare(b.node->poison))
    return order;
  const Terms &x = a.node->terms, &y = b.node->terms;
  if (x.size() != y.size())
    return x.size() < y.size() ? -1 : 1;
  for (auto left = x.begin(), right = y.begin(); left != x.end();
       ++left, ++right) {
    if (int order = ::compare(left->first, right->first))
      return order;
    if (left->second != right->second)
      return left->second < right->second ? -1 : 1;
  }
  return 0;
}

namespace {
int compare(const DimExpr &a, const DimExpr &b) {
  return DimExpr::Node::compare(a, b);
}
} // namespace

DimExpr::DimExpr(int64_t constant)
    : DimExpr(Node::make({{Monomial(), constant}})) {}

DimExpr DimExpr::symbol(const std::string &name) {
  if (!isSymbolName(name))
    return Node::poisoned("'" + name.substr(0, 60) +
                          "' is not a name of a symbol");
  return Node::atom(AtomKind::Symbol, name, {});
}

static bool isNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '_' || c == '.';
}

static bool isDigit(char c) { return c >= '0' && c <= '9'; }

bool DimExpr::isSymbolName(const std::string &name) {
  return !name.empty() && !isDigit(name[0]) &&
         std::all_of(name.begin(), name.end(), isNameCharacter);
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

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
        return Node::poisoned("expression is too large");
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

//===----------------------------------------------------------------------===//
// Comparison and queries
//===----------------------------------------------------------------------===//

bool DimExpr::operator==(const DimExpr &other) const {
  // Nothing is known of an invalid expression, so none equals another: equal
  // dimensions may be taken for one.
  return node->poison.empty() && other.node->poison.empty() &&
         Node::compare(*this, other) == 0;
}

bool DimExpr::operator<(const DimExpr &other) const {
  return Node::compare(*this, other) < 0;
}

std::optional<int64_t> DimExpr::asConstant() const {
  if (!node->poison.empty() || node->terms.size() > 1)
    return std::nullopt;
  if (node->terms.empty())
    return 0;
  const auto &[monomial, coefficient] = *node->terms.begin();
  return monomial.empty() ? std::optional(coefficient) : std::nullopt;
}

std::optional<std::string> DimExpr::asSymbol() const {
  if (node->terms.size() != 1)
    return std::nullopt;
  const auto &[monomial, coefficient] = *node->terms.begin();
  if (coefficient != 1 || monomial.size() != 1 ||
      monomial[0]->kind != AtomKind::Symbol)
    return std::nullopt;
  return monomial[0]->name;
}

std::set<std::string> DimExpr::symbols() const {
  std::set<std::string> result;
  for (const auto &[monomial, coefficient] : node->terms)
    for (const AtomRef &atom : monomial) {
      if (atom->kind == AtomKind::Symbol)
        result.insert(atom->name);
      for (const DimExpr &operand : atom->operands)
        result.merge(operand.symbols());
    }
  return result;
}

static DimExpr apply(AtomKind kind, const DimExpr &a, const DimExpr &b) {
  switch (kind) {
  case AtomKind::FloorDiv:
    return a.floorDiv(b);
  case AtomKind::Mod:
    return a.mod(b);
  case AtomKind::Min:
    return DimExpr::min(a, b);
  case AtomKind::Max:
  case AtomKind::Symbol: // has no operands and never comes here
    break;
  }
  return DimExpr::max(a, b);
}

DimExpr
DimExpr::substitute(const std::map<std::string, DimExpr> &values) const {
  if (!node->poison.empty())
    return *this;
  DimExpr sum(0);
  for (const auto &[monomial, coefficient] : node->terms) {
    DimExpr product(coefficient);
    for (const AtomRef &atom : monomial) {
      if (atom->kind != AtomKind::Symbol) {
        product =
            product * apply(atom->kind, atom->operands[0].substitute(values),
                            atom->operands[1].substitute(values));
        continue;
      }
      auto value = values.find(atom->name);
      product = product *
                (value != values.end() ? value->second : symbol(atom->name));
    }
    sum = sum + product;
  }
  return sum;
}

//===----------------------------------------------------------------------===//
// Evaluation
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

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

static std::string print(const Monomial &monomial) {
  std::string text;
  for (const AtomRef &atom : monomial) {
    text += text.empty() ? "" : "*";
    if (atom->kind == AtomKind::Symbol)
      text += atom->name;
    else
      text += std::string(atomNames[static_cast<int>(atom->kind)]) + "(" +
              atom->operands[0].str() + ", " + atom->operands[1].str() + ")";
  }
  return text;
}

std::string DimExpr::str() const {
  if (!node->poison.empty())
    return "invalid(" + node->poison + ")";
  std::string text;
  for (const auto &[monomial, coefficient] : node->terms) {
    // The most negative number has no positive counterpart to subtract.
    bool subtract = coefficient < 0 && coefficient != INT64_MIN;
    if (text.empty())
      text += subtract ? "-" : "";
    else
      text += subtract ? " - " : " + ";
    int64_t scale = subtract ? -coefficient : coefficient;
    if (monomial.empty())
      text += std::to_string(scale);
    else
      text += (scale == 1 ? "" : std::to_string(scale) + "*") + print(monomial);
  }
  return text.empty() ? "0" : text;
}

namespace {

/// Recursive descent over
///   sum     := product (('+' | '-') product)*
///   product := factor ('*' factor)*
///   factor  := '-'* (number | symbol | function '(' sum ',' sum ')'
///                    | '(' sum ')')
class Parser {
public:
  explicit Parser(const std::string &text) : text(text) {}

  Expected<DimExpr> run() {
    Expected<DimExpr> result = sum();
    // By position: a zero byte of the text is not its end.
    peek();
    if (result && at != text.size())
      return failure("an operator or the end");
    return result;
  }

private:
  char peek() {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\t'))
      ++at;
    return at < text.size() ? text[at] : '\0';
  }

  bool consume(char c) {
    if (peek() != c || at == text.size())
      return false;
    ++at;
    return true;
  }

  Status failure(const std::string &expected) {
    std::string found =
        at < text.size() ? "'" + text.substr(at, 20) + "'" : "the end";
    return Status::error("in dimension '" + text.substr(0, 80) + "': expects " +
                         expected + " at byte " + std::to_string(at) +
                         ", got " + found);
  }

  Expected<DimExpr> sum() {
    Expected<DimExpr> left = product();
    while (left && (peek() == '+' || peek() == '-')) {
      bool add = text[at++] == '+';
      Expected<DimExpr> right = product();
      if (!right)
        return right;
      left = add ? *left + *right : *left - *right;
    }
    return left;
  }

  Expected<DimExpr> product() {
    Expected<DimExpr> left = factor();
    while (left && consume('*')) {
      Expected<DimExpr> right = factor();
      if (!right)
        return right;
      left = *left * *right;
    }
    return left;
  }

  Expected<DimExpr> factor() {
    bool negative = false;
    while (consume('-'))
      negative = !negative;
    char c = peek();
    // The sign belongs to the number: -2^63 has no positive counterpart.
    if (isDigit(c))
      return number(negative);
    Expected<DimExpr> result =
        c == '(' ? parenthesized()
        : isNameCharacter(c)
            ? symbolOrFunction()
            : Expected<DimExpr>(failure("a number, a symbol or '('"));
    return result && negative ? DimExpr(0) - *result : result;
  }

  Expected<DimExpr> number(bool negative) {
    Wide value = 0;
    size_t start = at;
    for (; at < text.size() && isDigit(text[at]); ++at)
      value = std::min<Wide>(value * 10 + (text[at] - '0'), Wide{1} << 64);
    std::optional<int64_t> result = narrow(negative ? -value : value);
    if (result && (at == text.size() || !isNameCharacter(text[at])))
      return DimExpr(*result);
    at = start;
    return failure("a 64-bit integer");
  }

  Expected<DimExpr> parenthesized() {
    if (++depth > maxDepth)
      return failure("at most 64 levels of parentheses");
    consume('(');
    Expected<DimExpr> result = sum();
    if (result && !consume(')'))
      return failure("')'");
    --depth;
    return result;
  }

  Expected<DimExpr> symbolOrFunction() {
    size_t start = at;
    while (at < text.size() && isNameCharacter(text[at]))
      ++at;
    std::string name = text.substr(start, at - start);
    if (peek() != '(')
      return DimExpr::symbol(name);
    for (AtomKind kind :
         {AtomKind::FloorDiv, AtomKind::Mod, AtomKind::Min, AtomKind::Max})
      if (name == atomNames[static_cast<int>(kind)])
        return function(kind);
    at = start;
    return failure("floordiv, mod, min or max");
  }

  Expected<DimExpr> function(AtomKind kind) {
    if (++depth > maxDepth)
      return failure("at most 64 levels of parentheses");
    consume('(');
    Expected<DimExpr> a = sum();
    if (!a)
      return a;
    if (!consume(','))
      return failure("','");
    Expected<DimExpr> b = sum();
    if (!b)
      return b;
    if (!consume(')'))
      return failure("')'");
    --depth;
    return apply(kind, *a, *b);
  }

  const std::string &text;
  size_t at = 0;
  unsigned depth = 0;
};

} // namespace

Expected<DimExpr> DimExpr::parse(const std::string &text) {
  if (text.size() > maxTextLength)
    return Status::error("expects a dimension of at most 4096 bytes, got " +
                         std::to_string(text.size()));
  Expected<DimExpr> result = Parser(text).run();
  if (result && !result->node->poison.empty())
    return Status::error("in dimension '" + text.substr(0, 80) +
                         "': " + result->node->poison);
  return result;
}
