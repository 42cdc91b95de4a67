//===- NarrowElements.cpp - Elements that registers widen -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// bfloat16 and the small floats are integers in memory and float32 in
// registers; nothing here needs an instruction beyond AVX2 or NEON. No float32
// that is subnormal is computed with, so that the mode of the processor for
// them does not matter.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/NarrowElements.h"

#include <limits>

namespace nibble::codegen {

Value bfloatToFloat(Code &code, Value bits) {
  bits = code.resizeInteger(bits, code.i32(), /*isUnsigned=*/true);
  return code.bitcast(code.shiftLeft(bits, code.integer(code.i32(), 16)),
                      code.f32());
}

Value floatToBfloat(Code &code, Value value) {
  Value bits = code.bitcast(value, code.i32());
  auto constant = [&](int64_t number) {
    return code.integer(code.i32(), number);
  };
  Value odd = code.bitAnd(code.shiftRight(bits, constant(16)), constant(1));
  Value rounded = code.add(code.add(bits, constant(0x7fff)), odd);
  Value quiet = code.bitOr(bits, constant(0x400000));
  Value isNan = code.compare(Compare::ne, value, value);
  Value upper =
      code.shiftRight(code.select(isNan, quiet, rounded), constant(16));
  return code.resizeInteger(upper, code.builder.getI16Type());
}

namespace {

/// Numbers in 32 bits, for formulas on the bits of a float32.
struct Words {
  Code &code;
  Value operator()(int64_t value) { return code.integer(code.i32(), value); }
  Value equal(Value a, int64_t b) {
    return code.compare(Compare::eq, a, (*this)(b));
  }
  Value less(Value a, int64_t b) {
    return code.compare(Compare::lt, a, (*this)(b));
  }
  Value real(Value bits) { return code.bitcast(bits, code.f32()); }
};

constexpr int64_t quietNan = 0x7fc00000, infinityBits = 0x7f800000;

/// E8M0: a bare exponent, that of float32.
Value decodePower(Code &code, Value word) {
  Words words{code};
  Value bits = code.shiftLeft(word, words(23));
  bits = code.select(words.equal(word, 0), words(0x400000), bits); // 2^-127
  return words.real(
      code.select(words.equal(word, 0xff), words(quietNan), bits));
}

/// The nearest power, the greater one of two that are as near.
Value encodePower(Code &code, Value magnitudeBits) {
  Words words{code};
  Value rounded =
      code.shiftRight(code.add(magnitudeBits, words(0x400000)), words(23));
  rounded = code.select(words.less(rounded, 0xfe), rounded, words(0xfe));
  // Below the normal numbers bits are multiples, not exponents.
  Value subnormal =
      code.select(words.less(magnitudeBits, 0x600000), words(0), words(1));
  return code.select(words.less(magnitudeBits, 0x800000), subnormal, rounded);
}

/// Code of a finite magnitude: see SmallFloat::encode.
Value encodeMagnitude(Code &code, const SmallFloat &format,
                      Value magnitudeBits) {
  Words words{code};
  Value dropped = words(23 - format.mantissaBits);
  Value odd = code.bitAnd(code.shiftRight(magnitudeBits, dropped), words(1));
  int64_t halfStep = (int64_t(1) << (22 - format.mantissaBits)) - 1;
  Value rounded = code.shiftRight(
      code.add(code.add(magnitudeBits, words(halfStep)), odd), dropped);
  Value normal = code.sub(
      rounded, words(int64_t(127 - format.bias) << format.mantissaBits));
  // The sum's last place is the format's smallest step.
  Value anchor = code.real(
      code.f32(), std::ldexp(1.0, 24 - format.bias - format.mantissaBits));
  Value subnormal = code.sub(
      code.bitcast(code.add(words.real(magnitudeBits), anchor), code.i32()),
      code.bitcast(anchor, code.i32()));
  int64_t smallestNormal = int64_t(128 - format.bias) << 23;
  Value result =
      code.select(words.less(magnitudeBits, smallestNormal), subnormal, normal);
  return code.minimum(result, words(format.largestCode));
}

} // namespace

Value smallToFloat(Code &code, const SmallFloat &format, Value bits) {
  Words words{code};
  Value word = code.resizeInteger(bits, code.i32(), /*isUnsigned=*/true);
  if (!format.hasSign)
    return decodePower(code, word);
  int64_t signBit = int64_t(1) << (format.type.bits - 1);
  Value magnitude = code.bitAnd(word, words(signBit - 1));
  Value normal =
      code.add(code.shiftLeft(magnitude, words(23 - format.mantissaBits)),
               words(int64_t(127 - format.bias) << 23));
  Value subnormal =
      code.mul(code.toFloat(magnitude, code.f32()),
               code.real(code.f32(), std::ldexp(1.0, 1 - format.bias -
                                                         format.mantissaBits)));
  Value result =
      code.select(words.less(magnitude, int64_t(1) << format.mantissaBits),
                  code.bitcast(subnormal, code.i32()), normal);
  if (format.infinity)
    result = code.select(words.equal(magnitude, format.infinity),
                         words(infinityBits), result);
  if (format.nan == signBit)
    result = code.select(words.equal(word, signBit), words(quietNan), result);
  else if (format.nan)
    result = code.select(
        words.less(magnitude,
                   (format.infinity ? format.infinity : format.largestCode) +
                       1),
        result, words(quietNan));
  Value sign = code.shiftLeft(code.bitAnd(word, words(signBit)),
                              words(32 - format.type.bits));
  return words.real(code.bitOr(result, sign));
}

Value floatToSmall(Code &code, const SmallFloat &format, Value value) {
  Words words{code};
  Value bits = code.bitcast(value, code.i32());
  Value magnitude = code.bitAnd(bits, words(0x7fffffff));
  Value result = format.hasSign ? encodeMagnitude(code, format, magnitude)
                                : encodePower(code, magnitude);
  int64_t ofInfinity = format.infinity ? format.infinity
                       : format.nan    ? format.nan
                                       : format.largestCode;
  result = code.select(words.equal(magnitude, infinityBits), words(ofInfinity),
                       result);
  if (format.hasSign) {
    int64_t signBit = int64_t(1) << (format.type.bits - 1);
    Value sign = code.bitAnd(
        code.shiftRight(bits, words(32 - format.type.bits)), words(signBit));
    if (!format.hasNegativeZero)
      sign = code.select(words.equal(result, 0), words(0), sign);
    result = code.bitOr(result, sign);
  }
  Value isNan = code.compare(Compare::ne, value, value);
  result = code.select(isNan, words(format.nan), result);
  return code.resizeInteger(result, code.i8());
}

} // namespace nibble::codegen
