//===- DimNames.cpp - What the file calls dimensions ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Texts that are no expressions become symbols; no two texts become the same
// one.
//
//===----------------------------------------------------------------------===//

#include "DimNames.h"

#include "llvm/ADT/StringExtras.h"

using namespace nibble;

using ::onnx::GraphProto;
using ::onnx::ValueInfoProto;

std::string nibble::sanitize(llvm::StringRef name, llvm::StringRef prefix) {
  std::string result;
  for (char c : name)
    result += llvm::isAlnum(c) || c == '_' || c == '.' ? c : '_';
  if (result.empty() || llvm::isDigit(result.front()) || result.front() == '.')
    result = (prefix + result).str();
  return result;
}

std::string UniqueNames::make(const std::string &name) {
  if (insert(name))
    return name;
  for (unsigned number = taken[name] + 1;; ++number) {
    std::string result = name + "_" + std::to_string(number);
    if (!insert(result))
      continue;
    taken[name] = number;
    return result;
  }
}

DimNames::DimNames(const GraphProto &graph,
                   const DimSubstitutions &substitutions)
    : substitutions(substitutions) {
  for (const auto *list : {&graph.input(), &graph.output()})
    for (const ValueInfoProto &value : *list)
      for (const auto &dim : value.type().tensor_type().shape().dim())
        if (dim.has_dim_param())
          (void)parse(dim.dim_param());
}

DimExpr DimNames::parse(const std::string &text) {
  auto known = meanings.find(text);
  if (known == meanings.end()) {
    Expected<DimExpr> expr = DimExpr::parse(text);
    DimExpr meaning =
        expr ? *expr : DimExpr::symbol(used.make(sanitize(text, "d_")));
    for (const std::string &symbol : meaning.symbols())
      used.insert(symbol);
    known = meanings.emplace(text, meaning).first;
  }
  return known->second.substitute(substitutions);
}

DimExpr DimNames::unnamed(const std::string &value, size_t index) {
  std::string name =
      used.make(sanitize(value, "d_") + "_d" + std::to_string(index));
  return DimExpr::symbol(name).substitute(substitutions);
}
