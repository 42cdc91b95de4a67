//===- Interfaces.h - Op interfaces of the dialects -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_SUPPORT_INTERFACES_H
#define NIBBLE_SUPPORT_INTERFACES_H

#include "nibble/Support/Dims.h"
#include "nibble/Support/Partition.h"

#include "mlir/IR/OpDefinition.h"

#include "nibble/Support/OpInterfaces.h.inc"

#endif // NIBBLE_SUPPORT_INTERFACES_H
