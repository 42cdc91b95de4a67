//===- Summary.h - What happened to every layer -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_QUANTIZE_SUMMARY_H
#define NIBBLE_PASSES_QUANTIZE_SUMMARY_H

#include "mlir/IR/BuiltinOps.h"

#include <string>
#include <vector>

namespace nibble {

/// One quantizable layer as it stands in the IR.
struct LayerSummary {
  std::string id, kind;
  int64_t out = 0, in = 0;
  bool quantized = false;
  double sparsity = 0; ///< removed by pattern; zeros that happen do not count
  std::string scheme;  ///< "4-bit asymmetric minmax, groups of 32", "float32"
  std::string reason;  ///< why a layer was not quantized
  /// Codes, scales, zero points and positions of what is kept, as stored, per
  /// element of the weight [out, in].
  double bitsPerWeight = 32;
};

/// All linears and embeddings of the module, in the order of the IR.
std::vector<LayerSummary> summarizeLayers(mlir::ModuleOp module);

/// A table for people, one line per layer, totals last.
std::string formatSummary(const std::vector<LayerSummary> &layers);

} // namespace nibble

#endif // NIBBLE_PASSES_QUANTIZE_SUMMARY_H
