//===- Caches.h - Where new tokens of a cache begin -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_CACHES_H
#define NIBBLE_CODEGEN_KERNEL_CACHES_H

#include "nibble/codegen/Kernel/Kernel.h"
#include "nibble/dialects/QModel/QModel.h"

namespace nibble::codegen {

/// Tokens that the sequence `batch` has before the new ones of `append`.
Value firstNewToken(Kernel &kernel, qmodel::AppendOp append, Value batch);

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_CACHES_H
