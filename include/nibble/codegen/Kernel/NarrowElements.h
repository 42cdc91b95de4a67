//===- NarrowElements.h - Elements that registers widen ---------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Floats of 16 bits and less as they lie in memory, and as float32.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_NARROWELEMENTS_H
#define NIBBLE_CODEGEN_KERNEL_NARROWELEMENTS_H

#include "nibble/codegen/Kernel/Code.h"

#include "nibble/Base/SmallFloat.h"

namespace nibble::codegen {

/// The upper 16 bits of a float32.
Value bfloatToFloat(Code &code, Value bits);
/// To nearest even; NaN stays NaN.
Value floatToBfloat(Code &code, Value value);

/// What SmallFloat::decode and SmallFloat::encode compute. Codes are i8.
Value smallToFloat(Code &code, const SmallFloat &format, Value bits);
Value floatToSmall(Code &code, const SmallFloat &format, Value value);

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_NARROWELEMENTS_H
