//===- PackedElements.h - Elements that share bytes -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_PACKEDELEMENTS_H
#define NIBBLE_CODEGEN_KERNEL_PACKEDELEMENTS_H

#include "nibble/codegen/Kernel/Kernel.h"

namespace nibble::codegen {

/// Tasks of a result of `shape` whose elements have less than a byte: tasks
/// must not share bytes, so that they are bytes of the result, not rows.
DimExpr packedTasks(const Shape &shape, Value result);
void emitPackedTask(Kernel &kernel, Value result, Value task);

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_PACKEDELEMENTS_H
