//===- LastSlice.h - Parts of the last dimension ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_FRONTEND_LASTSLICE_H
#define NIBBLE_PASSES_FRONTEND_LASTSLICE_H

#include "nibble/Support/Dims.h"

#include "mlir/IR/Value.h"

#include <optional>

namespace nibble::frontend {

/// source[..., start:end:step] over a static last dimension.
struct LastSlice {
  mlir::Value source;
  int64_t start, end, step;
};

/// What `value`, a result of Slice or Split, is of another value.
std::optional<LastSlice> lastSlice(const DimsAnalysis &dims, mlir::Value value);

} // namespace nibble::frontend

#endif // NIBBLE_PASSES_FRONTEND_LASTSLICE_H
