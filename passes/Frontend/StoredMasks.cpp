//===- StoredMasks.cpp - Masks that are tables of the model ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Older exports store a triangle for the longest sequence and cut a window from
// it. The diagonal is found in the elements; all of them must agree with it.
//
//===----------------------------------------------------------------------===//

#include "MaskMeaning.h"

#include "nibble/Support/WeightStore.h"

#include "mlir/IR/Diagnostics.h"

using namespace mlir;

namespace nibble::frontend {

namespace {

/// The elements of a constant or a weight.
std::optional<Tensor> storedTensor(Value value) {
  // What cannot be read is no mask; who needs it will say so.
  ScopedDiagnosticHandler quiet(value.getContext(),
                                [](Diagnostic &) { return success(); });
  FailureOr<Tensor> tensor = failure();
  if (auto load = value.getDefiningOp<qmodel::LoadOp>())
    tensor = qmodel::loadTensor(load);
  else if (auto constant = value.getDefiningOp<onnx::ConstantOp>())
    tensor = tensorFromLiteral(constant.getValue());
  return succeeded(tensor) ? std::optional(std::move(*tensor)) : std::nullopt;
}

/// The k for which `holds` is j <= i + k at row i and column j of all of
/// `table`, if there is one.
std::optional<int64_t> diagonalOf(const Tensor &table,
                                  llvm::function_ref<bool(double)> holds) {
  size_t rank = table.rank();
  if (rank < 2)
    return std::nullopt;
  int64_t rows = table.shape()[rank - 2], columns = table.shape()[rank - 1];
  if (rows < 2 || columns < 2 ||
      table.size() != uint64_t(rows) * uint64_t(columns))
    return std::nullopt;
  auto at = [&](int64_t row, int64_t column) {
    return holds(table.numberAt(uint64_t(row) * columns + column));
  };
  int64_t k = -1;
  while (k + 1 < columns && at(0, k + 1))
    ++k;
  // All or none of a row would not tell where the diagonal is.
  if (k < 0 || k + 1 == columns)
    return std::nullopt;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column)
      if (at(row, column) != (column <= row + k))
        return std::nullopt;
  return k;
}

/// `number compare scalar`; without a comparison, whether it is not zero.
bool compares(double number, StringRef compare, double scalar) {
  if (compare == "LessOrEqual")
    return number <= scalar;
  if (compare == "GreaterOrEqual")
    return number >= scalar;
  if (compare == "Less")
    return number < scalar;
  if (compare == "Greater")
    return number > scalar;
  if (compare == "Equal")
    return number == scalar;
  return number != 0;
}

} // namespace

std::optional<MaskFactors> storedTriangle(Value value, StringRef compare,
                                          double scalar, bool negated) {
  if (!isConstant(value) || rankOf(value) < 2)
    return std::nullopt;
  std::optional<Tensor> table = storedTensor(value);
  if (!table)
    return std::nullopt;
  // A condition that holds above the diagonal is the negation of one below.
  for (bool inverted : {false, true}) {
    std::optional<int64_t> k = diagonalOf(*table, [&](double number) {
      return compares(number, compare, scalar) != inverted;
    });
    if (!k)
      continue;
    DimExpr below = coordinate(2) + DimExpr(*k) - coordinate(1);
    return MaskFactors{MaskFactor{
        negated != inverted ? DimExpr(0) - below - DimExpr(1) : below, {}}};
  }
  return std::nullopt;
}

std::optional<AdditiveMask> storedMask(Value value) {
  if (!isConstant(value) || rankOf(value) < 2 || !isFloat(value))
    return std::nullopt;
  std::optional<Tensor> table = storedTensor(value);
  if (!table || table->size() == 0)
    return std::nullopt;
  double hidden = 0;
  for (uint64_t i = 0; i < table->size(); ++i) {
    double number = table->numberAt(i);
    if (number != 0 && hidden != 0 && number != hidden)
      return std::nullopt;
    hidden = number != 0 ? number : hidden;
  }
  if (!(hidden < 0))
    return std::nullopt;
  auto visible = storedTriangle(value, "Equal", 0, /*negated=*/false);
  return visible ? std::optional(AdditiveMask{std::move(*visible), hidden})
                 : std::nullopt;
}

} // namespace nibble::frontend
