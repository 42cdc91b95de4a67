//===- RunTool.h - What quant-run and executables do ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One program in two forms: quant-run, which takes the name of a bundle, and
// nibble-runner, which quant-compile puts in front of one. Each mode is a
// function of the options; all of them report errors as a Status.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_QUANTRUN_RUNTOOL_H
#define NIBBLE_TOOLS_QUANTRUN_RUNTOOL_H

#include "nibble/Runtime/Generator.h"

namespace nibble::tool {

/// The command line.
struct RunOptions {
  std::string model;
  std::vector<std::string> inputs; ///< NAME=F.npy, or F.npz
  std::string output;              ///< F.npz; empty: a summary on stdout
  SessionOptions session;
  bool json = false;
  bool generate = false, bench = false, inspect = false, verify = false,
       explain = false;
  std::vector<std::string> prompts;
  GenerateOptions generation;
  uint64_t promptTokens = 0, genTokens = 0; ///< of --bench; 0: as usual
  uint64_t batch = 1;
};

/// Parses the command line, runs, and gives the exit code: 0, 1 (bad input or a
/// failed check) or 2 (wrong usage). `ownBundle`: the program holds its model.
int runTool(int argc, char **argv, bool ownBundle);

/// Writes to stdout; an error if the reader has gone away.
Status print(std::string_view text);

/// Contents of a bundle, its bounds and sizes.
Status inspect(const Bundle &bundle, const RunOptions &options);
/// Which code the device can run, and which it will.
std::string explain(const Bundle &bundle, const RunOptions &options);
/// One run on arrays from files.
Status execute(Session &session, const RunOptions &options);
/// Texts on stdout, a summary on stderr.
Status generate(Session &session, const RunOptions &options);
/// Speed of prompt and decoding.
Status bench(Session &session, const RunOptions &options);

} // namespace nibble::tool

#endif // NIBBLE_TOOLS_QUANTRUN_RUNTOOL_H
