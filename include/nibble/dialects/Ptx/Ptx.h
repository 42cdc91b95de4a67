//===- Ptx.h - PTX instructions without an upstream op ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_DIALECTS_PTX_PTX_H
#define NIBBLE_DIALECTS_PTX_PTX_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "nibble/dialects/Ptx/PtxDialect.h.inc"

#define GET_OP_CLASSES
#include "nibble/dialects/Ptx/PtxOps.h.inc"

#endif // NIBBLE_DIALECTS_PTX_PTX_H
