//===- Indexing.h - Rows by index -------------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Gather is also what the embedding ops are.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_INDEXING_H
#define NIBBLE_LIB_REFERENCE_INDEXING_H

#include "Strided.h"

namespace nibble::reference {

/// ONNX Gather along the (normalized) `axis`.
FailureOr<Tensor> gather(const Call &call, const Tensor &x,
                         const Tensor &indices, int64_t axis);

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_INDEXING_H
