//===- Math.cpp - Mathematical functions as generated code ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Range reduction, then a polynomial. Polynomials for float32 are those of the
// Cephes library (S. L. Moshier); some functions take the way through float64,
// with Taylor series that are exact to float32. Rounding to an integer adds a
// number so large that the sum's last place is one: the integer can then be
// read off the bits, and NaN needs no special case. Functions of float64 are in
// Math64.cpp.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Math.h"
#include "Math64.h"

#include "mlir/IR/TypeUtilities.h"

#include <limits>

namespace nibble::codegen {

namespace {

bool isDouble(Value x) {
  return mlir::getElementTypeOrSelf(x.getType()).isF64();
}

/// sin (quadrant 0) or cos (quadrant 1) of a float32.
Value sine(Code &code, Value x, int64_t quadrant) {
  Value wide = code.resizeFloat(x, code.f64());
  Like number(code, wide);
  Value shift = number(6755399441055744.0);
  Value shifted = code.fma(wide, number(0.6366197723675814), shift);
  Value n = code.sub(shifted, shift);
  Value r = code.fma(n, number(-0x1.921fb54442d18p+0), wide);
  r = code.fma(n, number(-0x1.1a62633145c07p-54), r);
  Value z = code.mul(r, r);
  Value sinR = code.mul(r, polynomial(code, z,
                                      {-1. / 39916800, 1. / 362880, -1. / 5040,
                                       1. / 120, -1. / 6, 1.}));
  Value cosR = polynomial(code, z,
                          {1. / 479001600, -1. / 3628800, 1. / 40320, -1. / 720,
                           1. / 24, -0.5, 1.});
  return code.resizeFloat(byQuadrant(code, shifted, quadrant, sinR, cosR),
                          code.f32());
}

} // namespace

Value exp(Code &code, Value x) {
  if (isDouble(x))
    return exp64(code, x);
  Like number(code, x);
  constexpr double lowest = -86.6, highest = 88.7228317; // 2^-125, 2^128
  Value clamped = clamp(code, x, lowest, highest);
  Value shift = number(12582912.0); // 1.5 * 2^23
  Value shifted = code.fma(clamped, number(log2E), shift);
  Value n = code.sub(shifted, shift);
  Value r = code.fma(n, number(-0.693359375), clamped);
  r = code.fma(n, number(2.12194440e-4), r);
  Value p = polynomial(code, r,
                       {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
                        4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1});
  p = code.add(code.fma(p, code.mul(r, r), r), number(1));
  // 2^n is too large for n = 128: 2^(n - 1), and then twice that.
  Value bits = code.bitcast(shifted, code.i32());
  Type type = bits.getType();
  Value scale = code.add(code.shiftLeft(bits, code.integer(type, 23)),
                         code.integer(type, 126 << 23));
  Value result =
      code.mul(code.mul(p, code.bitcast(scale, code.f32())), number(2));
  result = code.select(less(code, x, number(lowest)), number(0), result);
  return code.select(less(code, number(highest), x), number(infinity), result);
}

Value log(Code &code, Value x) {
  bool wasDouble = isDouble(x);
  Value wide = code.resizeFloat(x, code.f64());
  Like number(code, wide);
  Value result = log64(code, wide);
  result = code.select(code.compare(Compare::eq, wide, number(0)),
                       number(-infinity), result);
  result =
      code.select(less(code, wide, number(0)),
                  number(std::numeric_limits<double>::quiet_NaN()), result);
  // Infinity and NaN are their own logarithms.
  Value isFinite = less(code, wide, number(infinity));
  result = code.select(isFinite, result, wide);
  return wasDouble ? result : code.resizeFloat(result, code.f32());
}

Value expm1(Code &code, Value x) {
  Value result = expm1Of64(code, code.resizeFloat(x, code.f64()));
  return isDouble(x) ? result : code.resizeFloat(result, code.f32());
}

Value log1p(Code &code, Value x) {
  Value wide = code.resizeFloat(x, code.f64());
  Value result = log1pOf64(code, wide);
  // Infinity and NaN are their own logarithms.
  Value isFinite = less(code, wide, Like(code, wide)(infinity));
  result = code.select(isFinite, result, wide);
  return isDouble(x) ? result : code.resizeFloat(result, code.f32());
}

Value sin(Code &code, Value x) {
  return isDouble(x) ? sine64(code, x, 0) : sine(code, x, 0);
}
Value cos(Code &code, Value x) {
  return isDouble(x) ? sine64(code, x, 1) : sine(code, x, 1);
}

Value tanh(Code &code, Value x) {
  if (isDouble(x))
    return tanh64(code, x);
  Like number(code, x);
  Value z = code.mul(x, x);
  Value p = polynomial(code, z,
                       {-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2,
                        1.33314422036e-1, -3.33332819422e-1});
  Value small = code.fma(code.mul(p, z), x, x);
  Value magnitude = code.absolute(x);
  Value e = exp(code, code.add(magnitude, magnitude));
  Value large =
      code.sub(number(1), code.divide(number(2), code.add(e, number(1))));
  large = code.copySign(large, x);
  return code.select(less(code, magnitude, number(0.625)), small, large);
}

Value erf(Code &code, Value x) {
  if (isDouble(x))
    return erf64(code, x);
  Like number(code, x);
  Value magnitude = code.absolute(x);
  Value z = code.mul(x, x);
  Value small =
      code.mul(x, polynomial(code, z,
                             {7.853861353153693e-5, -8.010193625184903e-4,
                              5.188327685732524e-3, -2.685381193529856e-2,
                              1.128358514861418e-1, -3.761262582423300e-1,
                              1.128379165726710e+0}));
  // Abramowitz and Stegun 7.1.26, error 1.5e-7.
  Value t =
      code.divide(number(1), code.fma(number(0.3275911), magnitude, number(1)));
  Value p = code.mul(t, polynomial(code, t,
                                   {1.061405429, -1.453152027, 1.421413741,
                                    -0.284496736, 0.254829592}));
  Value large = code.sub(number(1), code.mul(p, exp(code, code.negate(z))));
  large = code.copySign(large, x);
  return code.select(less(code, magnitude, number(1)), small, large);
}

Value sigmoid(Code &code, Value x) {
  Like number(code, x);
  return code.divide(number(1), code.add(number(1), exp(code, code.negate(x))));
}

Value pow(Code &code, Value x, Value y) {
  bool wasDouble = isDouble(x);
  x = code.resizeFloat(x, code.f64());
  y = code.resizeFloat(y, code.f64());
  Like number(code, x);
  auto equal = [&](Value a, Value b) {
    return code.compare(Compare::eq, a, b);
  };
  Value magnitude = code.absolute(x);
  Value exponent = code.mul(y, log(code, magnitude));
  Value result = exp64(code, exponent);
  Value half = code.mul(y, number(0.5));
  Value isOdd = code.compare(Compare::ne, code.floor(half), half);
  Value ofNegative = code.select(isOdd, code.negate(result), result);
  ofNegative = code.select(equal(code.floor(y), y), ofNegative,
                           number(std::numeric_limits<double>::quiet_NaN()));
  result = code.select(less(code, x, number(0)), ofNegative, result);
  Value isOne = code.bitOr(equal(y, number(0)), equal(x, number(1)));
  result = code.select(isOne, number(1), result);
  return wasDouble ? result : code.resizeFloat(result, code.f32());
}

} // namespace nibble::codegen
