//===- Math64.h - Functions of float64, and what formulas share -*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The float64 halves of the functions of Math.h.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_MATH64_H
#define NIBBLE_CODEGEN_KERNEL_MATH64_H

#include "nibble/codegen/Kernel/Code.h"

#include <limits>

namespace nibble::codegen {

inline constexpr double log2E = 1.4426950408889634;
inline constexpr double ln2 = 0.6931471805599453;
inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// Numbers in the type of one operand, so that formulas read as formulas.
struct Like {
  Code &code;
  Type type;
  Like(Code &code, Value value) : code(code), type(value.getType()) {}
  Value operator()(double value) { return code.real(type, value); }
};

/// Horner's scheme, highest power first.
inline Value polynomial(Code &code, Value x,
                        llvm::ArrayRef<double> coefficients) {
  Like number(code, x);
  Value result = number(coefficients.front());
  for (double coefficient : coefficients.drop_front())
    result = code.fma(result, x, number(coefficient));
  return result;
}

inline Value less(Code &code, Value a, Value b) {
  return code.compare(Compare::lt, a, b);
}

/// sin of the angle whose remainder has sine and cosine `sinR` and `cosR`, by
/// the low bits of `shifted`, to which the number of quadrants was added as a
/// float64; `quadrant` more of them.
inline Value byQuadrant(Code &code, Value shifted, int64_t quadrant, Value sinR,
                        Value cosR) {
  Value q = code.bitcast(shifted, code.i64());
  Type type = q.getType();
  q = code.add(q, code.integer(type, quadrant));
  auto hasBit = [&](int64_t bit) {
    return code.compare(Compare::ne, code.bitAnd(q, code.integer(type, bit)),
                        code.zero(type));
  };
  Value result = code.select(hasBit(1), cosR, sinR);
  return code.select(hasBit(2), code.negate(result), result);
}

/// Keeps NaN.
inline Value clamp(Code &code, Value x, double low, double high) {
  Like number(code, x);
  x = code.select(less(code, x, number(low)), number(low), x);
  return code.select(less(code, number(high), x), number(high), x);
}

Value exp64(Code &code, Value x);
Value log64(Code &code, Value x); ///< of positive finite x
Value expm1Of64(Code &code, Value x);
Value log1pOf64(Code &code, Value x); ///< of finite x >= 0
/// sin (quadrant 0) or cos (quadrant 1).
Value sine64(Code &code, Value x, int64_t quadrant);
Value tanh64(Code &code, Value x);
Value erf64(Code &code, Value x);

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_MATH64_H
