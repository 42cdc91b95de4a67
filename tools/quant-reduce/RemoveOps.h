//===- RemoveOps.h - Remove what a problem does not need --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TOOLS_QUANTREDUCE_REMOVEOPS_H
#define NIBBLE_TOOLS_QUANTREDUCE_REMOVEOPS_H

namespace nibble {

/// Registers `remove-ops{test=<program>}`.
void registerRemoveOps();

} // namespace nibble

#endif // NIBBLE_TOOLS_QUANTREDUCE_REMOVEOPS_H
