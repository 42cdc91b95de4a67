//===- SmallFloat.h - Floats of 8 and 4 bits --------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   const SmallFloat *format = SmallFloat::of(type);
//   float value = format->decode(format->encode(0.3));
//
// The formats of the OCP 8-bit and microscaling specifications and their FNUZ
// relatives, by the numbers that tell them apart. Tensors and generated code
// both read this table.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_BASE_SMALLFLOAT_H
#define NIBBLE_BASE_SMALLFLOAT_H

#include "nibble/Base/Tensor.h"

#include <span>

namespace nibble {

/// A sign bit (except E8M0), an exponent and a mantissa: the highest code
/// without sign is `infinity`, `nan` or the largest number.
struct SmallFloat {
  ElementType type;
  const char *name; ///< MLIR's
  int mantissaBits;
  int bias;
  uint8_t largestCode; ///< of finite numbers
  float largest;
  /// Codes of infinity and NaN; 0 where there is none.
  uint8_t infinity, nan;
  bool hasSign;
  bool hasNegativeZero;

  /// Null for other types.
  static const SmallFloat *of(ElementType type);
  static std::span<const SmallFloat> all();

  float decode(uint8_t code) const;
  /// To nearest even. Finite numbers saturate; infinity becomes NaN where there
  /// is none, and the largest number where there is no NaN either; NaN then
  /// becomes 0. E8M0 takes the magnitude, and its zero is the smallest power.
  uint8_t encode(double value) const;
  /// The numbers beyond which rounding to nearest even overflows.
  float overflow() const;
};

} // namespace nibble

#endif // NIBBLE_BASE_SMALLFLOAT_H
