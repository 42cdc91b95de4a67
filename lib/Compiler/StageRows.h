//===- StageRows.h - What stage verification found --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The results of VerifyStages.cpp, and the reports that VerifyReport.cpp makes
// of them.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_COMPILER_STAGEROWS_H
#define NIBBLE_LIB_COMPILER_STAGEROWS_H

#include "Drift.h"

#include "nibble/passes/Quantize/Summary.h"

#include "llvm/Support/raw_ostream.h"

#include <map>
#include <optional>

namespace nibble {

/// One value after one pass.
struct StageRow {
  std::string value; ///< id of a layer, or name of an output
  std::string layer; ///< function that the value is in
  bool isOutput = false;
  /// It carries another factor than before, and the outputs of the model are
  /// the same: from here on, this is the first stage of the value.
  bool rescaled = false;
  Drift drift;                   ///< against the first stage that had the value
  Drift added;                   ///< against the stage before
  std::optional<Drift> input;    ///< of the layer, against its first stage
  std::optional<Drift> own;      ///< on the first stage's input, against it
  std::optional<Drift> ownAdded; ///< on that input, against the stage before
  std::optional<LogitsDrift> logits; ///< against the first stage
};

/// What one pass did.
struct StageResult {
  std::string pass;
  bool preserving = false;
  bool changed = true; ///< false: the IR is the same, and nothing was run
  /// Activations are quantized: differences in the last place may grow.
  bool quantizesActivations = false;
  std::vector<StageRow> rows; ///< in the order of the run, outputs last
};

/// Weights of a layer in equal bins over [-limit, limit].
struct Histogram {
  double limit = 0;
  std::vector<uint64_t> before, after;
};

struct VerifyResults {
  std::vector<StageResult> stages;
  std::vector<LayerSummary> layers;            ///< where ids end
  std::map<std::string, Histogram> histograms; ///< by id
  std::string probes;
  double tolerance = 0;
};

/// A line per pass, then the worst layers.
void printTable(const VerifyResults &results, llvm::raw_ostream &os);
/// [{"pass": ..., "value": ..., ...}], one object per row.
std::string formatJson(const VerifyResults &results);
/// A page that needs no other file.
std::string formatHtml(const VerifyResults &results);

} // namespace nibble

#endif // NIBBLE_LIB_COMPILER_STAGEROWS_H
