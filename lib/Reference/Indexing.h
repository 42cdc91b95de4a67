//===- Indexing.h - Rows by index -------------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Gather is also what the embedding ops are; the rest is for the files of
// operators that move single elements.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_INDEXING_H
#define NIBBLE_LIB_REFERENCE_INDEXING_H

#include "Strided.h"

namespace nibble::reference {

/// ONNX Gather along the (normalized) `axis`.
FailureOr<Tensor> gather(const Call &call, const Tensor &x,
                         const Tensor &indices, int64_t axis);

/// Copies element `from` of `x` to element `to` of `y`, bit for bit. Elements
/// have at least a byte.
void copyElement(const Tensor &x, uint64_t from, std::byte *y, uint64_t to);
/// Splits a row-major position in `shape` into an index per dimension.
void splitPosition(uint64_t position, ArrayRef<int64_t> shape,
                   llvm::SmallVectorImpl<int64_t> &index);

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_INDEXING_H
