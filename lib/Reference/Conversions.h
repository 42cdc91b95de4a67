//===- Conversions.h - Casts to small floats --------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_CONVERSIONS_H
#define NIBBLE_LIB_REFERENCE_CONVERSIONS_H

#include "Strided.h"

#include "nibble/Base/SmallFloat.h"

namespace nibble::reference {

/// As ONNX's Cast has it: numbers beyond the largest one, and infinity, become
/// the largest one if it saturates, else infinity, or NaN where there is none.
/// `roundMode` (up, down, nearest) is for E8M0; others go to nearest even.
Tensor castToSmallFloat(const Tensor &x, const SmallFloat &format,
                        bool saturates, llvm::StringRef roundMode);

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_CONVERSIONS_H
