//===- DimExpr.cpp - Symbolic dimensions ------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// How the normal form of DimExprNode.h is built, ordered and asked.
//
//===----------------------------------------------------------------------===//

#include "DimExprNode.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::dimexpr;

//===----------------------------------------------------------------------===//
// Order
//===----------------------------------------------------------------------===//

int dimexpr::compare(const AtomRef &a, const AtomRef &b) {
  if (a == b)
    return 0;
  if (a->kind != b->kind)
    return a->kind < b->kind ? -1 : 1;
  if (int order = a->name.compare(b->name))
    return order;
  for (size_t i = 0; i != a->operands.size(); ++i)
    if (int order = DimExpr::Node::compare(a->operands[i], b->operands[i]))
      return order;
  return 0;
}

int dimexpr::compare(const Monomial &a, const Monomial &b) {
  if (a.size() != b.size())
    return a.size() > b.size() ? -1 : 1;
  for (size_t i = 0; i != a.size(); ++i)
    if (int order = compare(a[i], b[i]))
      return order;
  return 0;
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
    if (int order = dimexpr::compare(left->first, right->first))
      return order;
    if (left->second != right->second)
      return left->second < right->second ? -1 : 1;
  }
  return 0;
}

bool DimExpr::operator==(const DimExpr &other) const {
  // Nothing is known of an invalid expression, so none equals another: equal
  // dimensions may be taken for one.
  return node->poison.empty() && other.node->poison.empty() &&
         Node::compare(*this, other) == 0;
}

bool DimExpr::operator<(const DimExpr &other) const {
  return Node::compare(*this, other) < 0;
}

//===----------------------------------------------------------------------===//
// Normal form
//===----------------------------------------------------------------------===//

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
        return poisoned(tooLargeText);
    }
    ++it;
  }
  if (node->size > maxSize)
    return poisoned(tooLargeText);
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

DimExpr::DimExpr(int64_t constant)
    : DimExpr(Node::make({{Monomial(), constant}})) {}

DimExpr DimExpr::symbol(const std::string &name) {
  if (!isSymbolName(name))
    return Node::poisoned("'" + name.substr(0, 60) +
                          "' is not a name of a symbol");
  return Node::atom(AtomKind::Symbol, name, {});
}

bool DimExpr::isSymbolName(const std::string &name) {
  return !name.empty() && !isDigit(name[0]) &&
         std::all_of(name.begin(), name.end(), isNameCharacter);
}

//===----------------------------------------------------------------------===//
// Queries and substitution
//===----------------------------------------------------------------------===//

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

DimExpr dimexpr::apply(AtomKind kind, const DimExpr &a, const DimExpr &b) {
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
