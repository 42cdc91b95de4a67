//===- QKernel.h - Packed forms, kernels and programs -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_QKERNEL_QKERNEL_H
#define NIBBLE_DIALECTS_QKERNEL_QKERNEL_H

#include "nibble/Target/FragmentLayout.h"
#include "nibble/Target/PackedLayout.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/RegionKindInterface.h"

#include "nibble/dialects/QKernel/QKernelDialect.h.inc"
#include "nibble/dialects/QKernel/QKernelEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "nibble/dialects/QKernel/QKernelAttrs.h.inc"

#define GET_OP_CLASSES
#include "nibble/dialects/QKernel/QKernelOps.h.inc"

namespace nibble::qkernel {

/// Attributes on arguments, results and modules; see the dialect's description.
inline constexpr llvm::StringLiteral stateAttrName = "qkernel.state";
inline constexpr llvm::StringLiteral rangeAttrName = "qkernel.range";
inline constexpr llvm::StringLiteral decoderAttrName = "qkernel.decoder";

/// The plain description of a layout that Numerics and code generation use.
RowInterleavedLayout rowInterleavedLayout(LayoutAttr layout);
FragmentLayout fragmentLayout(FragmentsAttr layout);
/// What a packed linear with this layout multiplies in: the type of float
/// weights; for codes bf16 if x is that, else f16.
mlir::Type multipliedType(FragmentsAttr layout, mlir::Type x);

} // namespace nibble::qkernel

#endif // NIBBLE_DIALECTS_QKERNEL_QKERNEL_H
