//===- Options.h - The command line of quant-compile ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_QUANT_COMPILE_OPTIONS_H
#define NIBBLE_TOOLS_QUANT_COMPILE_OPTIONS_H

#include "nibble/Compiler/Pipelines.h"
#include "nibble/Verify/VerifyStages.h"

namespace CLI {
class App;
} // namespace CLI

namespace nibble {

enum class Emit { Bundle, Exe, Mlir, Llvm, Asm, Object, Ptx };

/// What the command line says.
struct Options {
  std::string input, output, tokenizer, report;
  std::vector<std::string> dims;
  std::vector<std::string> targets;     ///< empty: the usual ones
  std::vector<std::string> cudaTargets; ///< what `targets` said of GPUs
  Recipe recipe;
  VerifyOptions verify;
  Emit emit = Emit::Bundle;
  std::string resume; ///< folder for finished layers, or empty
  bool printPipeline = false, dryRun = false, stats = false, quiet = false;
  unsigned threads = 0;
};

/// Adds the options to `app`, whose parse fills in `options`.
void declareOptions(CLI::App &app, Options &options);

/// What options mean together, after they were read: defaults that depend on
/// others, and what is missing.
Status checkOptions(Options &options);

} // namespace nibble

#endif // NIBBLE_TOOLS_QUANT_COMPILE_OPTIONS_H
