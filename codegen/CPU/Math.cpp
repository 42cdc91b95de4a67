//===- Math.cpp - Mathematical functions as generated code ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Range reduction, then a polynomial. Polynomials for float32 are those of the
// Cephes library (S. L. Moshier); the float64 ones are Taylor series on ranges
// so small that they are exact to float32. Rounding to an integer adds a number
// so large that the sum's last place is one: the integer can then be read off
// the bits, and NaN needs no special case.
//
//===----------------------------------------------------------------------===//

#include "Math.h"

#include "mlir/IR/TypeUtilities.h"

#include <array>
#include <limits>

namespace nibble::cpu {

namespace {

constexpr double log2E = 1.4426950408889634;
constexpr double ln2 = 0.6931471805599453;
constexpr double infinity = std::numeric_limits<double>::infinity();

/// Numbers in the type of one operand, so that formulas read as formulas.
struct Like {
  Code &code;
  Type type;
  Like(Code &code, Value value) : code(code), type(value.getType()) {}
  Value operator()(double value) { return code.real(type, value); }
};

/// Horner's scheme, highest power first.
Value polynomial(Code &code, Value x, llvm::ArrayRef<double> coefficients) {
  Like number(code, x);
  Value result = number(coefficients.front());
  for (double coefficient : coefficients.drop_front())
    result = code.fma(result, x, number(coefficient));
  return result;
}

Value less(Code &code, Value a, Value b) {
  return code.compare(Compare::lt, a, b);
}

/// Keeps NaN.
Value clamp(Code &code, Value x, double low, double high) {
  Like number(code, x);
  x = code.select(less(code, x, number(low)), number(low), x);
  return code.select(less(code, number(high), x), number(high), x);
}

/// e^x in float64 for |x| <= 708 (clamped there).
Value exp64(Code &code, Value x) {
  Like number(code, x);
  x = clamp(code, x, -708, 709);
  Value shift = number(6755399441055744.0); // 1.5 * 2^52
  Value shifted = code.fma(x, number(log2E), shift);
  Value n = code.sub(shifted, shift);
  Value r = code.fma(n, number(-0x1.62e42fefa39efp-1), x);
  r = code.fma(n, number(-0x1.abc9e3b39803fp-56), r);
  std::array<double, 13> series;
  double factorial = 1;
  for (int i = 0; i < 13; ++i) {
    series[12 - i] = 1 / factorial;
    factorial *= i + 1;
  }
  Value p = polynomial(code, r, series);
  Value bits = code.bitcast(shifted, code.i64());
  Type type = bits.getType();
  Value scale = code.add(code.shiftLeft(bits, code.integer(type, 52)),
                         code.integer(type, int64_t(1023) << 52));
  return code.mul(p, code.bitcast(scale, code.f64()));
}

/// log x in float64 for positive normal x.
Value log64(Code &code, Value x) {
  Like number(code, x);
  constexpr int64_t rootHalf = 0x3fe6a09e667f3bcd, one = int64_t(1023) << 52;
  Value bits = code.bitcast(x, code.i64());
  auto integer = [&](int64_t value) {
    return code.integer(bits.getType(), value);
  };
  Value exponent = code.sub(
      code.shiftRight(code.add(bits, integer(one - rootHalf)), integer(52)),
      integer(1023));
  Value mantissa =
      code.bitcast(code.add(code.bitAnd(code.sub(bits, integer(rootHalf)),
                                        integer((int64_t(1) << 52) - 1)),
                            integer(rootHalf)),
                   code.f64());
  // log m = 2 atanh((m - 1) / (m + 1))
  Value f = code.sub(mantissa, number(1));
  Value s = code.divide(f, code.add(number(2), f));
  Value p = polynomial(code, code.mul(s, s),
                       {2. / 19, 2. / 17, 2. / 15, 2. / 13, 2. / 11, 2. / 9,
                        2. / 7, 2. / 5, 2. / 3, 2.});
  Value e = code.toFloat(code.resizeInteger(exponent, code.i32()), code.f64());
  return code.fma(e, number(ln2), code.mul(s, p));
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
  Value q = code.bitcast(shifted, code.i64());
  Type type = q.getType();
  q = code.add(q, code.integer(type, quadrant));
  auto hasBit = [&](int64_t bit) {
    return code.compare(Compare::ne, code.bitAnd(q, code.integer(type, bit)),
                        code.zero(type));
  };
  Value result = code.select(hasBit(1), cosR, sinR);
  result = code.select(hasBit(2), code.negate(result), result);
  return code.resizeFloat(result, code.f32());
}

} // namespace

Value exp(Code &code, Value x) {
  bool isDouble = mlir::getElementTypeOrSelf(x.getType()).isF64();
  if (isDouble)
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
  bool isDouble = mlir::getElementTypeOrSelf(x.getType()).isF64();
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
  return isDouble ? result : code.resizeFloat(result, code.f32());
}

Value sin(Code &code, Value x) { return sine(code, x, 0); }
Value cos(Code &code, Value x) { return sine(code, x, 1); }

Value tanh(Code &code, Value x) {
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
  bool isDouble = mlir::getElementTypeOrSelf(x.getType()).isF64();
  x = code.resizeFloat(x, code.f64());
  y = code.resizeFloat(y, code.f64());
  Like number(code, x);
  auto equal = [&](Value a, Value b) {
    return code.compare(Compare::eq, a, b);
  };
  Value magnitude = code.absolute(x);
  Value exponent = code.mul(y, log(code, magnitude));
  Value result = exp64(code, exponent);
  result = code.select(less(code, exponent, number(-708)), number(0), result);
  result =
      code.select(less(code, number(709), exponent), number(infinity), result);
  Value half = code.mul(y, number(0.5));
  Value isOdd = code.compare(Compare::ne, code.floor(half), half);
  Value ofNegative = code.select(isOdd, code.negate(result), result);
  ofNegative = code.select(equal(code.floor(y), y), ofNegative,
                           number(std::numeric_limits<double>::quiet_NaN()));
  result = code.select(less(code, x, number(0)), ofNegative, result);
  Value isOne = code.bitOr(equal(y, number(0)), equal(x, number(1)));
  result = code.select(isOne, number(1), result);
  return isDouble ? result : code.resizeFloat(result, code.f32());
}

} // namespace nibble::cpu
