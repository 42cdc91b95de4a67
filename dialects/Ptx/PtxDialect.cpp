//===- PtxDialect.cpp - PTX instructions without an upstream op -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/Ptx/Ptx.h"

using namespace mlir;
using namespace nibble::ptx;

#include "nibble/dialects/Ptx/PtxDialect.cpp.inc"

#define GET_OP_CLASSES
#include "nibble/dialects/Ptx/PtxOps.cpp.inc"

void PtxDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "nibble/dialects/Ptx/PtxOps.cpp.inc"
      >();
}

LogicalResult Lop3Op::verify() {
  // lop3_c1
  if (getTable() > 255)
    return emitOpError("expects a table of 8 bits, got ") << getTable();
  return success();
}

LogicalResult WgmmaOp::verify() {
  // wgmma_c1
  auto a = cast<VectorType>(getA().getType());
  Type element = a.getElementType();
  if (a.getShape() != ArrayRef<int64_t>{4, 2} ||
      !(element.isF16() || element.isBF16()))
    return emitOpError("expects a fragment of 4x2xf16 or 4x2xbf16, got ") << a;
  // wgmma_c2
  auto sum = cast<VectorType>(getAccumulator().getType());
  bool shaped =
      sum.getRank() == 3 && sum.getDimSize(1) == 2 && sum.getDimSize(2) == 2;
  if (!shaped || sum.getDimSize(0) > 32 || !sum.getElementType().isF32())
    return emitOpError("expects an accumulator of (N/8)x2x2xf32 with N from 8 "
                       "to 256, got ")
           << sum;
  return success();
}
