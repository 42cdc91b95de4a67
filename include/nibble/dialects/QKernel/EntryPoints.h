//===- EntryPoints.h - Inputs and outputs of an entry point -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_QKERNEL_ENTRYPOINTS_H
#define NIBBLE_DIALECTS_QKERNEL_ENTRYPOINTS_H

#include "nibble/Bundle/Bundle.h"

#include "mlir/IR/Operation.h"

namespace nibble {

/// Name and ports of `entry`, a func::FuncOp or qkernel::ProgramOp: an entry
/// point without steps. States are no ports. Results whose dimensions depend on data have none.
mlir::FailureOr<EntryPoint> describeEntry(mlir::Operation *entry);

} // namespace nibble

#endif // NIBBLE_DIALECTS_QKERNEL_ENTRYPOINTS_H
