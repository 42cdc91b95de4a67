//===- Decline.h - A pattern says why it refuses ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   if (!cosine)
//     return decline(op, "raise-rope", "cos is not [batch, seq, r]");
//
// Shown with --remarks-filter='.*' (missed remarks); silent otherwise.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_SUPPORT_DECLINE_H
#define NIBBLE_SUPPORT_DECLINE_H

#include "mlir/IR/Operation.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"

namespace nibble {

/// Emits a missed-optimization remark at `op` and returns failure.
llvm::LogicalResult decline(mlir::Operation *op, llvm::StringRef pass,
                            const llvm::Twine &reason);

} // namespace nibble

#endif // NIBBLE_SUPPORT_DECLINE_H
