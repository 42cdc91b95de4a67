//===- DecoderValues.h - What masks and positions say -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   DecoderValues values(parts, dims, bounds);
//   values.run(function);
//   values.integer(positions);  // past + c1: c1 is the index along the last
//                               // dimension, c2 that before, and so on
//
// Exporters compute positions, lengths and masks from shapes and the attention
// mask in many spellings. Where every token may be seen, each of these tensors
// is a function of its index and the dimensions; this finds it.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_LOWER_DECODERVALUES_H
#define NIBBLE_PASSES_LOWER_DECODERVALUES_H

#include "nibble/Support/Dims.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace nibble::lower {

struct DecoderParts {
  unsigned tokens = 0;                     ///< argument [batch, sequence]
  std::optional<unsigned> mask, positions; ///< arguments
  unsigned logits = 0;                     ///< result [batch, sequence, v]
  llvm::SmallVector<unsigned> caches;      ///< arguments
  /// What an element of other integer arguments is: lengths, or where to write.
  /// A symbol of `unknownCount` until that follows from how it is used.
  std::map<unsigned, DimExpr> counts;
  DimExpr batch;
  /// Names of the dimensions that count new tokens, and tokens in the cache.
  std::string sequence, past;
  /// Most tokens of one sequence.
  int64_t capacity = 0;
};

/// A count of each sequence that argument `index` has.
DimExpr unknownCount(unsigned index);
/// The argument whose unknown count `symbol` is.
std::optional<unsigned> argumentOfCount(llvm::StringRef symbol);

/// The index along the `fromLast`-th dimension from the end, from 1: a symbol
/// beside those of dimensions, which models name.
std::string coordinateName(unsigned fromLast);
DimExpr coordinate(unsigned fromLast);

/// What is known of the integers, booleans and constant floats of a function.
class DecoderValues {
public:
  DecoderValues(const DecoderParts &parts, const DimsAnalysis &dims,
                std::map<std::string, DimExpr::Bound> bounds)
      : parts(parts), dims(dims), bounds(std::move(bounds)) {}

  void run(mlir::func::FuncOp function);

  /// An element of an integer or boolean tensor.
  std::optional<DimExpr> integer(mlir::Value value) const;
  /// The number that every element of a tensor of floats is.
  std::optional<double> number(mlir::Value value) const;
  /// A tensor of floats that has one number where an expression in the index is
  /// at least 0, and another elsewhere: a causal mask.
  struct Step {
    DimExpr difference;
    double inside, outside;
  };
  std::optional<Step> step(mlir::Value value) const;
  /// Whether one of these is known, and the value depends on the mask, the
  /// positions or the past.
  bool dependsOnPast(mlir::Value value) const;

private:
  /// An element. A boolean holds exactly where `isZero` is 0, or `notNegative`
  /// at least 0.
  struct Known {
    std::optional<DimExpr> integer = {};
    std::optional<double> number = {};
    std::optional<DimExpr> isZero = {}, notNegative = {};
    std::optional<Step> step = {};

    bool isAnything() const {
      return integer || number || isZero || notNegative || step;
    }
    Known renamed(const std::map<std::string, DimExpr> &names) const;
  };

  Known ofArgument(unsigned index) const;
  Known ofConstant(onnx::ConstantOp constant) const;
  Known ofNode(onnx::NodeOp node) const;
  Known moved(onnx::NodeOp node) const;
  Known cast(onnx::NodeOp node) const;
  Known arithmetic(onnx::NodeOp node) const;
  Known stepArithmetic(onnx::NodeOp node) const;
  Known comparison(onnx::NodeOp node) const;
  Known logic(onnx::NodeOp node) const;
  Known choice(onnx::NodeOp node) const;
  Known sum(onnx::NodeOp node) const;
  Known slice(onnx::NodeOp node) const;
  const Known &of(mlir::Value value) const;
  std::optional<DimExpr::Bound> boundOf(const DimExpr &expr,
                                        mlir::Value shaped) const;

  const DecoderParts &parts;
  const DimsAnalysis &dims;
  std::map<std::string, DimExpr::Bound> bounds;
  llvm::DenseMap<mlir::Value, Known> known;
  llvm::DenseSet<mlir::Value> tainted;
};

} // namespace nibble::lower

#endif // NIBBLE_PASSES_LOWER_DECODERVALUES_H
