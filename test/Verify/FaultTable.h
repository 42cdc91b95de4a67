//===- FaultTable.h - Mistakes that a pass could make -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_COMPILER_FAULTTABLE_H
#define NIBBLE_TEST_COMPILER_FAULTTABLE_H

#include "mlir/IR/Operation.h"

#include <functional>
#include <map>
#include <random>
#include <string>

using Random = std::mt19937_64;

/// Damages an op, if it can: false if this is no place for the fault.
/// `random` says what is not decided by the op.
using Damage = std::function<bool(mlir::Operation *op, Random &random)>;

/// Faults by name.
using FaultTable = std::map<std::string, Damage>;
FaultTable makeFaults();

#endif // NIBBLE_TEST_COMPILER_FAULTTABLE_H
