//===- Accuracy.h - How good a model still is -------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_ACCURACY_H
#define NIBBLE_LIB_VERIFY_ACCURACY_H

#include "Drift.h"
#include "Probes.h"

namespace nibble {

/// A model against the one that it was made of.
struct Accuracy {
  Drift drift; ///< of the logits, or of all outputs
  std::optional<LogitsDrift> logits;
  /// Of the probes' own tokens, where there are logits.
  std::optional<double> perplexity;

  /// What is to be small: the KL divergence in nats, or the relative L2 error.
  double distance() const { return logits ? logits->kl : drift.relativeL2; }
};

/// Probes and what the original makes of them.
class AccuracyProbes {
public:
  /// Reads the file and runs `module`. `who` wants it. Errors are emitted.
  static mlir::FailureOr<AccuracyProbes>
  read(mlir::ModuleOp module, llvm::StringRef path, llvm::StringRef who);
  /// Errors are emitted.
  mlir::FailureOr<Accuracy> measure(mlir::ModuleOp module) const;

private:
  Probes probes;
  std::vector<NamedTensors> expected;
};

/// All weights of layers, as stored.
struct WeightSize {
  int64_t bytes = 0, weights = 0;
  double bitsPerWeight() const {
    return weights ? 8.0 * static_cast<double>(bytes) / weights : 0;
  }
};
WeightSize weightSize(mlir::ModuleOp module);

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_ACCURACY_H
