//===- CompareStages.h - Stages against each other --------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_COMPARESTAGES_H
#define NIBBLE_LIB_VERIFY_COMPARESTAGES_H

#include "StageRows.h"
#include "StageRun.h"

namespace nibble {

/// Compares the values of stages with what they were first, and in the stage
/// before.
class StageComparison {
public:
  /// Largest relative L2 error that counts as rounding.
  double tolerance = 0;
  /// Name of the output with logits; empty if there is none.
  std::string logits;
  /// Every value as it was in the first stage that had it.
  StageRecord first;

  /// Makes values that are new their own reference.
  void keepFirst(const StageRecord &stage);
  /// What `pass` made of `before`. Where factors have only moved between
  /// values, these are compared with what they are from now on, in both
  /// records.
  StageResult compare(StageRecord &stage, StageRecord &before,
                      llvm::StringRef pass, bool preserving);
  /// What has moved, though values should have been preserved: "moved 'id' in
  /// @layer_0 by ..."; empty if nothing did.
  std::string violation(const StageResult &result) const;

private:
  std::optional<StageRow> compareLayer(ValueRecord &now, StageRecord &before);
  std::optional<StageRow> compareValue(ValueRecord &now,
                                       const StageRecord &before);
  std::optional<StageRow> compareOutput(const std::string &name,
                                        llvm::ArrayRef<Tensor> now,
                                        const StageRecord &before) const;
  /// The model says the same, though the value does not: a factor has moved
  /// from one to another.
  void rebase(StageRow &row, ValueRecord &now, StageRecord &before);
  /// Whether a layer or an output has moved.
  bool provesMove(const StageResult &result) const;
  /// In a stage that has moved no layer and no output, what differs is another
  /// value now.
  void acceptOthers(StageResult &result, StageRecord &stage,
                    StageRecord &before);
  /// Sets StageRow::isFirst, in one that has.
  void markFirst(StageResult &result, const StageRecord &stage) const;
};

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_COMPARESTAGES_H
