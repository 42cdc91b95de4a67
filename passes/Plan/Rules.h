//===- Rules.h - What a plan may say, in options and in files ---*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_PLAN_RULES_H
#define NIBBLE_PASSES_PLAN_RULES_H

#include "nibble/dialects/QModel/QModel.h"

#include <optional>
#include <string>
#include <vector>

namespace nibble {

/// A scheme as options and files spell it; not checked yet.
struct SchemeText {
  int64_t bits = 0, group = 0, rows = 1;
  bool symmetric = false;
  std::string grid, rounding = "half_even", scales = "f32";
};

/// What a rule says to a layer that it matches.
struct Rule {
  std::string id;   ///< regular expression; empty: every id
  std::string kind; ///< "linear", "embedding" or empty
  std::optional<std::string> keep;
  SchemeText weight;
  std::optional<SchemeText> ofScales; ///< no value: one level of scales
  std::optional<SchemeText> input;    ///< no value: floating point

  bool matches(llvm::StringRef layerId, llvm::StringRef layerKind) const;
};

/// What a rule is completed with: a rule, and the schemes that "scale_scheme"
/// and "input" start from where the rule itself has none.
struct RuleDefaults {
  Rule rule;
  SchemeText ofScales, input;
};

using EmitError = llvm::function_ref<mlir::InFlightDiagnostic()>;

/// The plan that a rule which does not keep stands for, or an error.
mlir::FailureOr<qmodel::PlanAttr> planOf(mlir::MLIRContext *context,
                                         const Rule &rule, EmitError emitError);

/// The rules of a JSON file, in its order; errors start with its name.
mlir::FailureOr<std::vector<Rule>> readRules(mlir::MLIRContext *context,
                                             const std::string &file,
                                             const RuleDefaults &defaults,
                                             EmitError emitError);

/// Writes the plans of `layers` so that `readRules` gives them back, whatever
/// its defaults are.
Status writeRules(const std::string &file,
                  llvm::ArrayRef<QuantizableOpInterface> layers);

/// Emits an error unless `text`, the value of `what`, is empty or a regular
/// expression.
llvm::LogicalResult checkRegex(llvm::StringRef what, llvm::StringRef text,
                               EmitError emitError);

/// "linear" or "embedding".
inline llvm::StringRef kindOf(mlir::Operation *op) {
  return op->getName().stripDialect();
}

} // namespace nibble

#endif // NIBBLE_PASSES_PLAN_RULES_H
