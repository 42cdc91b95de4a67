//===- Math64.cpp - Functions of float64 as generated code ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Taylor series on reduced ranges, cut where the rest is below half of the last
// place. Errors are at most 4 units in the last place (see kernels_onnx.py).
//
//===----------------------------------------------------------------------===//

#include "Math64.h"

#include <array>
#include <cmath>

namespace nibble::codegen {

/// e^x in float64.
Value exp64(Code &code, Value x) {
  Like number(code, x);
  x = clamp(code, x, -746, 710);
  Value shift = number(6755399441055744.0); // 1.5 * 2^52
  Value n = code.sub(code.fma(x, number(log2E), shift), shift);
  Value r = code.fma(n, number(-0x1.62e42fefa39efp-1), x);
  r = code.fma(n, number(-0x1.abc9e3b39803fp-56), r);
  std::array<double, 14> series;
  double factorial = 1;
  for (int i = 0; i < 14; ++i) {
    series[13 - i] = 1 / factorial;
    factorial *= i + 1;
  }
  Value p = polynomial(code, r, series);
  // 2^n in two steps: the whole may be too large or subnormal.
  auto power = [&](Value shifted) {
    Value bits = code.bitcast(shifted, code.i64());
    Type type = bits.getType();
    Value scale = code.add(code.shiftLeft(bits, code.integer(type, 52)),
                           code.integer(type, int64_t(1023) << 52));
    return code.bitcast(scale, code.f64());
  };
  Value firstShifted = code.fma(n, number(0.5), shift);
  Value secondShifted =
      code.add(code.sub(n, code.sub(firstShifted, shift)), shift);
  return code.mul(code.mul(p, power(firstShifted)), power(secondShifted));
}

/// log x in float64 for positive x.
Value log64(Code &code, Value x) {
  Like number(code, x);
  // Subnormal numbers have no exponent to read: times 2^54 they do.
  Value isTiny = less(code, x, number(std::numeric_limits<double>::min()));
  x = code.select(isTiny, code.mul(x, number(0x1p54)), x);
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
  e = code.select(isTiny, code.sub(e, number(54)), e);
  return code.fma(e, number(ln2), code.mul(s, p));
}

Value expm1Of64(Code &code, Value x) {
  Like number(code, x);
  // (e^x - 1) / x where e^x is near 1 and subtraction would cancel.
  std::array<double, 15> series;
  double factorial = 1;
  for (int i = 0; i < 15; ++i) {
    factorial *= i + 1;
    series[14 - i] = 1 / factorial;
  }
  Value small = code.mul(x, polynomial(code, x, series));
  Value large = code.sub(exp64(code, x), number(1));
  return code.select(less(code, code.absolute(x), number(0.35)), small, large);
}

Value log1pOf64(Code &code, Value x) {
  Like number(code, x);
  // The rounding error of 1 + x, relative to it, is what the logarithm lacks.
  Value sum = code.add(x, number(1));
  Value lost = code.sub(x, code.sub(sum, number(1)));
  Value result = code.add(log64(code, sum), code.divide(lost, sum));
  return code.select(less(code, x, number(0x1p-60)), x, result);
}

Value sine64(Code &code, Value x, int64_t quadrant) {
  Like number(code, x);
  Value shift = number(6755399441055744.0);
  Value shifted = code.fma(x, number(0.6366197723675814), shift);
  Value n = code.sub(shifted, shift);
  // x - n pi/2 as r + low: the first difference is exact, and pi/2 has three
  // parts, so that nothing is lost where x is near a multiple.
  Value first = code.fma(n, number(-0x1.921fb54442d18p+0), x);
  Value part = number(0x1.1a62633145c07p-54);
  Value product = code.mul(n, part);
  Value productLow = code.fma(n, part, code.negate(product));
  Value r = code.sub(first, product);
  Value low = code.sub(code.sub(first, r), product);
  low = code.sub(low, productLow);
  low = code.fma(n, number(0x1.f1976b7ed8fbcp-110), low);
  Value sum = code.add(r, low);
  low = code.add(code.sub(r, sum), low);
  r = sum;

  std::array<double, 8> forSine, forCosine;
  double factorial = 6;
  for (int i = 0; i < 8; ++i) { // -1/3!, 1/5!, ... and 1/4!, -1/6!, ...
    forSine[7 - i] = (i % 2 ? 1 : -1) / factorial;
    factorial *= 2 * i + 4;
    forCosine[7 - i] = (i % 2 ? -1 : 1) / factorial;
    factorial *= 2 * i + 5;
  }
  Value z = code.mul(r, r), half = code.mul(z, number(0.5));
  Value cube = code.mul(z, r);
  Value sinR = code.add(r, code.fma(cube, polynomial(code, z, forSine),
                                    code.mul(low, code.sub(number(1), half))));
  Value most = code.sub(number(1), half);
  Value lost = code.sub(code.sub(number(1), most), half);
  Value rest =
      code.sub(code.fma(code.mul(z, z), polynomial(code, z, forCosine), lost),
               code.mul(r, low));
  Value cosR = code.add(most, rest);

  return byQuadrant(code, shifted, quadrant, sinR, cosR);
}

Value tanh64(Code &code, Value x) {
  Like number(code, x);
  // -t / (t + 2) with t = e^(-2 |x|) - 1 in (-1, 0].
  Value magnitude = code.absolute(x);
  Value t = expm1Of64(code, code.mul(magnitude, number(-2)));
  Value result = code.divide(code.negate(t), code.add(t, number(2)));
  return code.copySign(result, x);
}

Value erf64(Code &code, Value x) {
  Like number(code, x);
  constexpr double twoOverRootPi = 1.1283791670955126;
  std::array<double, 19> series; // (-1)^n / (n! (2 n + 1))
  double factorial = 1;
  for (int n = 0; n < 19; ++n) {
    factorial *= n ? n : 1;
    series[18 - n] = (n % 2 ? -1 : 1) * twoOverRootPi / factorial / (2 * n + 1);
  }
  Value z = code.mul(x, x);
  Value small = code.mul(x, polynomial(code, z, series));
  // erfc(x) e^(x^2) on [1, 6] as a polynomial of (x - 2) / (x + 2), which
  // interpolates at Chebyshev's points; beyond 6, erf is 1.
  Value magnitude = clamp(code, code.absolute(x), 1, 6);
  Value t = code.divide(code.sub(magnitude, number(2)),
                        code.add(magnitude, number(2)));
  Value p = polynomial(
      code, t,
      {-2.22812957637235e-07, 4.146302183268488e-06, 1.859427387429402e-06,
       -1.4166339069117108e-05, -2.7640727821912852e-05, 2.7560352756678313e-05,
       0.00017436477257256738, 4.355265359817883e-05, -0.0009819771114740715,
       -0.0008471431229415333, 0.006997461739200575, 0.0037328924016564484,
       -0.07897858101571269, 0.24165819424248763, -0.4271858474139585,
       0.2553956763105057});
  Value decay = exp64(code, code.negate(code.mul(magnitude, magnitude)));
  Value large = code.sub(number(1), code.mul(p, decay));
  large = code.copySign(large, x);
  return code.select(less(code, code.absolute(x), number(1)), small, large);
}

} // namespace nibble::codegen
