//===- SmallFloat.cpp - Floats of 8 and 4 bits ----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A code without its sign counts multiples of a power of two in steps of the
// mantissa, so that rounding is rounding to an integer and carries walk into
// the exponent by themselves.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/SmallFloat.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace nibble;

using Kind = ElementType::Kind;

static constexpr SmallFloat formats[] = {
    {{Kind::Float8E4M3FN, 8}, "f8E4M3FN", 3, 7, 0x7e, 448, 0, 0x7f, true, true},
    {{Kind::Float8E5M2, 8},
     "f8E5M2",
     2,
     15,
     0x7b,
     57344,
     0x7c,
     0x7e,
     true,
     true},
    {{Kind::Float8E4M3FNUZ, 8},
     "f8E4M3FNUZ",
     3,
     8,
     0x7f,
     240,
     0,
     0x80,
     true,
     false},
    {{Kind::Float8E5M2FNUZ, 8},
     "f8E5M2FNUZ",
     2,
     16,
     0x7f,
     57344,
     0,
     0x80,
     true,
     false},
    {{Kind::Float8E8M0FNU, 8},
     "f8E8M0FNU",
     0,
     127,
     0xfe,
     0x1p127f,
     0,
     0xff,
     false,
     false},
    {{Kind::Float4E2M1FN, 4}, "f4E2M1FN", 1, 1, 0x7, 6, 0, 0, true, true},
};

std::span<const SmallFloat> SmallFloat::all() { return formats; }

const SmallFloat *SmallFloat::of(ElementType type) {
  const auto *found = std::ranges::find(formats, type, &SmallFloat::type);
  return found == std::end(formats) ? nullptr : found;
}

float SmallFloat::overflow() const {
  // Half a step beyond the largest number; a tie goes to the even code.
  int exponent = std::ilogb(largest);
  return largest + std::ldexp(0.5f, exponent - mantissaBits);
}

float SmallFloat::decode(uint8_t code) const {
  constexpr float quietNan = std::numeric_limits<float>::quiet_NaN();
  if (!hasSign) // no zero: code 0 is 2^-bias
    return code == nan ? quietNan : std::ldexp(1.0f, code - bias);
  unsigned signBit = 1u << (type.bits - 1);
  if (nan == signBit && code == nan)
    return quietNan;
  unsigned magnitude = code & (signBit - 1);
  float sign = code & signBit ? -1.0f : 1.0f;
  if (magnitude > largestCode)
    return infinity && magnitude == infinity
               ? sign * std::numeric_limits<float>::infinity()
               : quietNan;
  int exponent = static_cast<int>(magnitude >> mantissaBits);
  int mantissa = static_cast<int>(magnitude & ((1u << mantissaBits) - 1));
  if (exponent > 0)
    mantissa += 1 << mantissaBits;
  return sign * std::ldexp(static_cast<float>(mantissa),
                           std::max(exponent, 1) - bias - mantissaBits);
}

/// 2^round(log2) of a magnitude, ties of which go to the greater power.
static uint8_t encodePower(const SmallFloat &format, double magnitude) {
  int exponent = 0;
  double fraction = std::frexp(magnitude, &exponent); // [1/2, 1)
  int power = fraction >= 0.75 ? exponent : exponent - 1;
  return static_cast<uint8_t>(
      std::clamp(power + format.bias, 0, int(format.largestCode)));
}

uint8_t SmallFloat::encode(double value) const {
  if (std::isnan(value))
    return nan;
  unsigned sign = hasSign && std::signbit(value) ? 1u << (type.bits - 1) : 0;
  double magnitude = std::fabs(value);
  if (std::isinf(magnitude)) {
    if (infinity)
      return static_cast<uint8_t>(sign | infinity);
    return nan ? nan : static_cast<uint8_t>(sign | largestCode);
  }
  if (!hasSign)
    return magnitude == 0 ? 0 : encodePower(*this, magnitude);
  int exponent = magnitude == 0 ? -bias : std::ilogb(magnitude);
  exponent = std::max(exponent, 1 - bias);
  if (exponent > 128) // beyond every format; the code below must not overflow
    return static_cast<uint8_t>(sign | largestCode);
  auto steps = static_cast<int>(
      std::nearbyint(std::ldexp(magnitude, mantissaBits - exponent)));
  int code = ((exponent + bias - 1) << mantissaBits) + steps;
  code = std::min(code, int(largestCode));
  if (code == 0 && !hasNegativeZero)
    return 0;
  return static_cast<uint8_t>(sign | static_cast<unsigned>(code));
}
