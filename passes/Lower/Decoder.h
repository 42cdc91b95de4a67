//===- Decoder.h - The deployment form of a decoder -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The steps of qmodel-make-decoder, on a function that starts as a clone of
// @main. Each declines with a remark where the model is something else.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_LOWER_DECODER_H
#define NIBBLE_PASSES_LOWER_DECODER_H

#include "DecoderValues.h"

#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace nibble::lower {

inline constexpr llvm::StringLiteral makeDecoderName = "qmodel-make-decoder";

/// The parts that arguments, results and dimensions of a decoder @main play,
/// and how many tokens of a sequence its cache can hold. No value if it is no
/// decoder with a cache.
std::optional<DecoderParts> findDecoder(mlir::func::FuncOp main);

/// A cache to be: the keys or the values of an attention.
struct DecoderState {
  std::string name;
  mlir::BlockArgument old; ///< argument [batch, kv_heads, capacity, d]
  mlir::Value next;        ///< the append to it
};

/// Gives the attentions of `function` caches in place: arguments of `element`
/// [batch, kv_heads, capacity, d], which new tokens are appended to.
/// `pastLengths` [batch] counts the tokens that each sequence has already.
mlir::FailureOr<std::vector<DecoderState>>
replaceCaches(mlir::func::FuncOp function, const DecoderParts &parts,
              const DecoderValues &values, const DimsAnalysis &dims,
              mlir::Value pastLengths, mlir::Type element);

/// Replaces what says where tokens stand, but depends on the mask, the past or
/// positions from outside, by what follows from `pastLengths`.
mlir::LogicalResult replacePositions(mlir::func::FuncOp function,
                                     const DecoderParts &parts,
                                     const DecoderValues &values,
                                     const DimsAnalysis &dims,
                                     mlir::Value pastLengths);

/// `logits` [batch, sequence, ...] of the rows `last` [batch] alone, [batch, 1,
/// ...]: ops whose rows are independent are computed for these rows only, as
/// far up as they have no other use.
mlir::Value selectLastRows(mlir::Value logits, mlir::Value last,
                           const DimsAnalysis &dims);

/// Puts `names` in the place of dimensions, in arguments and integers.
void renameDims(mlir::func::FuncOp function,
                const std::map<std::string, DimExpr> &names);

/// Gives values the types that follow from the dimensions of the arguments,
/// which `dims` has afterwards. Declines where they do not follow, or depend on
/// the dimension `past`.
mlir::LogicalResult refineTypes(mlir::func::FuncOp function,
                                const std::string &past, DimsAnalysis &dims);

/// An operator of ai.onnx with one result.
mlir::Value makeNode(mlir::OpBuilder &builder, mlir::Location location,
                     llvm::StringRef opType, mlir::Type type,
                     mlir::ValueRange operands,
                     llvm::ArrayRef<mlir::NamedAttribute> attributes = {});
/// Integers that follow from dimensions, as a vector of i64: a constant where
/// they are numbers.
mlir::Value makeSizes(mlir::OpBuilder &builder, mlir::Location location,
                      llvm::ArrayRef<DimExpr> sizes);

} // namespace nibble::lower

#endif // NIBBLE_PASSES_LOWER_DECODER_H
