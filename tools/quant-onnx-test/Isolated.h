//===- Isolated.h - Work that may crash or hang -----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Outcome outcome = runIsolated([] { return Outcome{...}; }, seconds);
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_QUANTONNXTEST_ISOLATED_H
#define NIBBLE_TOOLS_QUANTONNXTEST_ISOLATED_H

#include <functional>
#include <string>
#include <vector>

namespace nibble {

enum class Verdict { Pass, Unsupported, Fail };

/// What became of one way to run a test. No reason for a pass.
struct Outcome {
  Verdict verdict = Verdict::Pass;
  std::string reason;
  std::vector<std::string> names; ///< what the work found, whatever came of it
};

/// Runs `work` in a child process without output of its own. A signal, or more
/// than `seconds`, is a failure; processes that the child started end with it.
Outcome runIsolated(const std::function<Outcome()> &work, unsigned seconds);

} // namespace nibble

#endif // NIBBLE_TOOLS_QUANTONNXTEST_ISOLATED_H
