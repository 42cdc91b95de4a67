//===- Decline.cpp - A pattern says why it refuses ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Support/Decline.h"

#include "mlir/IR/Remarks.h"

using namespace mlir;

llvm::LogicalResult nibble::decline(Operation *op, StringRef pass,
                                    const Twine &reason) {
  remark::missed(op->getLoc(),
                 remark::RemarkOpts::name(pass).category("nibble"))
      << reason.str();
  return failure();
}
