//===- DimExprText.cpp - Dimensions as text ---------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Prints and parses. What `str` prints of a valid expression, `parse` reads.
//
//===----------------------------------------------------------------------===//

#include "DimExprNode.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::dimexpr;

constexpr size_t maxTextLength = 4096;

/// By AtomKind.
static const char *const atomNames[] = {"", "floordiv", "mod", "min", "max"};

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
