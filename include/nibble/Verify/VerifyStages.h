//===- VerifyStages.h - What every pass does to the values ------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   StageVerifier verifier({.probes = "probes.npz", .report = "drift.html"});
//   verifier.attach(manager);
//   LogicalResult ran = manager.run(module);
//   Status written = verifier.report(llvm::errs());
//
// Runs @main with the interpreter before the first and after every pass on the
// module, and compares the outputs of the model and of every quantizable layer
// with the first stage that had them, and with the stage before. What other ops
// computed tells where a difference began. Passes that nibble-for-each-layer
// runs are measured on their layer alone.
//
// A layer's error has two sources: its weights, and what flows in from layers
// in front of it. So every layer is also run alone, as it is now, on the input
// that it had in its first stage: that is its own error, and what blames a
// layer.
//
// Passes that promise to preserve values must keep, on identical inputs, every
// layer within float rounding; where activations are not quantized, every value
// of the run too. (Where they are, a difference in the last place can move a
// code, which is no fault of the pass.)
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_VERIFY_VERIFYSTAGES_H
#define NIBBLE_VERIFY_VERIFYSTAGES_H

#include "nibble/Base/Status.h"

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

#include <memory>
#include <string>
#include <vector>

namespace mlir {
class PassManager;
} // namespace mlir

namespace nibble {

struct VerifyResults;

struct VerifyOptions {
  /// `.npy` of token ids [sequences, tokens] or `.npz` with an array per input.
  std::string probes;
  /// Report file: `.json` or `.html`; empty for none.
  std::string report;
  /// Largest relative L2 error of a pass that preserves values.
  double tolerance = 1e-4;
  /// Further passes, by argument, that must preserve values.
  std::vector<std::string> preserving;
};

/// Wrong usage of the options, for the tools.
Status checkUsage(const VerifyOptions &options);

/// Whether the pass with this argument promises to preserve values.
bool preservesValues(llvm::StringRef pass);

/// Verifies one run of one pass manager.
class StageVerifier {
public:
  explicit StageVerifier(VerifyOptions options);
  ~StageVerifier();

  /// Has the passes that `manager` holds now verified: as one pass, which fails
  /// if one that preserves values did not.
  void attach(mlir::PassManager &manager);

  /// Prints the tables and writes the report file, for the stages that ran. An
  /// error if the file cannot be written, or if a pass that preserves values
  /// did not.
  Status report(llvm::raw_ostream &os) const;

  /// What was found so far; the type is the library's own.
  const VerifyResults &results() const;

  struct State;

private:
  std::shared_ptr<State> state;
};

} // namespace nibble

#endif // NIBBLE_VERIFY_VERIFYSTAGES_H
