//===- Targets.h - For which instruction sets code is made ------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_QUANT_COMPILE_TARGETS_H
#define NIBBLE_TOOLS_QUANT_COMPILE_TARGETS_H

#include "Options.h"

namespace nibble {

/// Whether `emit` is a file of code, for one target and without weights.
bool isCodeFile(Emit emit);

/// Settles `options.targets`: fills in the usual ones where none are given, and
/// what this machine runs best for `native`. An error says what does not fit
/// together.
Status chooseTargets(Options &options);

/// The file name of the runner for the processors of the targets.
const char *runnerName(const Options &options);

} // namespace nibble

#endif // NIBBLE_TOOLS_QUANT_COMPILE_TARGETS_H
