//===- DimNames.h - What the file calls dimensions --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   DimNames names(graph, substitutions);
//   DimExpr rows = names.parse("past_sequence + 1");
//
// Exporters write names, expressions or anything else where ONNX wants the name
// of a dimension; each becomes an expression over symbols that are well formed.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_IMPORT_DIMNAMES_H
#define NIBBLE_LIB_IMPORT_DIMNAMES_H

#include "nibble/Base/DimExpr.h"

#include "onnx/onnx_pb.h"

#include "llvm/ADT/StringMap.h"

namespace nibble {

/// What a symbol of the file stands for: another dimension's expression.
using DimSubstitutions = std::map<std::string, DimExpr>;

/// Letters, digits, `_` and `.`, not starting with a digit.
std::string sanitize(llvm::StringRef name, llvm::StringRef prefix);

/// Makes names distinct by numbers behind them.
class UniqueNames {
public:
  /// Whether `name` was free; it no longer is.
  bool insert(const std::string &name) {
    return taken.try_emplace(name, 0).second;
  }
  /// `name` or the next free one after it, which is no longer free. Takes the
  /// same time for the thousandth namesake as for the first.
  std::string make(const std::string &name);

private:
  /// The number that the last namesake got.
  llvm::StringMap<unsigned> taken;
};

/// Names of dimensions: what the file's texts mean.
class DimNames {
public:
  DimNames(const ::onnx::GraphProto &graph,
           const DimSubstitutions &substitutions);

  /// The meaning of a `dim_param`: an expression where it reads as one.
  DimExpr parse(const std::string &text);
  /// A symbol for dimension `index` of `value`, which the file leaves open.
  DimExpr unnamed(const std::string &value, size_t index);

private:
  const DimSubstitutions &substitutions;
  std::map<std::string, DimExpr> meanings;
  UniqueNames used;
};

} // namespace nibble

#endif // NIBBLE_LIB_IMPORT_DIMNAMES_H
