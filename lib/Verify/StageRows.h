//===- StageRows.h - What stage verification found --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The results of VerifyStages.cpp, and the reports that VerifyReport.cpp and
// VerifyPage.cpp make of them.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_STAGEROWS_H
#define NIBBLE_LIB_VERIFY_STAGEROWS_H

#include "Drift.h"
#include "Histogram.h"

#include "nibble/passes/Quantize/Summary.h"

#include "llvm/Support/raw_ostream.h"

#include <map>
#include <optional>

namespace nibble {

/// One value after one pass.
struct StageRow {
  std::string value; ///< id of a layer, origin of another op, name of an output
  std::string layer; ///< function that the value is in
  std::string op;    ///< "qmodel.rope"; empty for outputs
  bool isLayer = false, isOutput = false;
  /// The first value of the run that the pass moved: nothing in front of it
  /// did.
  bool isFirst = false;
  /// It carries another factor than before, and the outputs of the model are
  /// the same: from here on, this is the first stage of the value.
  bool rescaled = false;
  Drift drift;                   ///< against the first stage that had the value
  Drift added;                   ///< against the stage before
  std::optional<Drift> input;    ///< of the layer, against its first stage
  std::optional<Drift> own;      ///< on the first stage's input, against it
  std::optional<Drift> ownAdded; ///< on that input, against the stage before
  std::optional<LogitsDrift> logits;      ///< against the first stage
  std::optional<LogitsDrift> logitsAdded; ///< against the stage before

  /// What a layer is judged by: what the pass added to it, alone.
  double blame() const { return ownAdded ? ownAdded->relativeL2 : 0; }
  /// Whether the pass did more than rounding. A NaN is more.
  bool hasMoved(double tolerance) const {
    return !rescaled &&
           (!(added.relativeL2 <= tolerance) || !(blame() <= tolerance));
  }
};

/// What one pass did.
struct StageResult {
  std::string pass;
  std::string within; ///< the pass that ran it on one layer after the other
  bool preserving = false;
  bool changed = true; ///< false: the IR is the same, and nothing was run
  /// What it did is measured with the next pass behind which the model can run.
  bool isLater = false;
  /// Passes that ran within follow, and say more.
  bool hasParts = false;
  /// Activations are quantized: differences in the last place may grow.
  bool quantizesActivations = false;
  std::vector<StageRow> rows; ///< in the order of the run, outputs last

  /// The first value that moved, or null.
  const StageRow *firstMoved() const;
};

/// What is in a layer: before all passes, and as it is now.
struct LayerHistograms {
  Histogram weightsBefore, weightsAfter, inputsBefore, inputsAfter;
};

struct VerifyResults {
  std::vector<StageResult> stages;
  std::vector<LayerSummary> layers;                  ///< where ids end
  std::map<std::string, LayerHistograms> histograms; ///< by id
  std::string probes;
  double tolerance = 0;
};

/// A row and the stage that it is of.
struct PlacedRow {
  const StageResult *stage;
  const StageRow *row;
};

/// Values that passes changed by more than rounding, by their own error, worst
/// first; NaNs before all. Those of passes that should have preserved them come
/// before what others cost.
std::vector<PlacedRow> worstRows(const VerifyResults &results);

/// A line per pass, then the worst layers.
void printTable(const VerifyResults &results, llvm::raw_ostream &os);
/// [{"pass": ..., "value": ..., ...}], one object per row.
std::string formatJson(const VerifyResults &results);
/// A page that needs no other file.
std::string formatHtml(const VerifyResults &results);

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

using Line = std::vector<std::string>;

/// Columns as wide as their widest cell, the first ones to the left.
void printAligned(const std::vector<Line> &lines, size_t leftColumns,
                  llvm::raw_ostream &os);
/// "2.31e-02"; "0" for nothing.
std::string formatError(double value);
/// The lines of the table of passes; the first is the heading.
std::vector<Line> passLines(const VerifyResults &results);
/// The lines of the table of layers; the first is the heading.
std::vector<Line> layerLines(llvm::ArrayRef<PlacedRow> rows);
/// The rows of the table of layers: at most `limit`, and the worst one of every
/// pass.
std::vector<PlacedRow> shownRows(llvm::ArrayRef<PlacedRow> worst, size_t limit);

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_STAGEROWS_H
