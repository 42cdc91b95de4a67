//===- SmallFloatTest.cpp - Floats of 8 and 4 bits ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// All codes against values that come from elsewhere (SmallFloatValues.inc), and
// from these values what rounding must give.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/SmallFloat.h"

#include "gtest/gtest.h"

#include <bit>
#include <cmath>
#include <limits>

using namespace nibble;

namespace {

struct FormatValues {
  std::string name;
  std::vector<uint32_t> bits; ///< of a float32, by code

  float operator[](size_t code) const {
    return std::bit_cast<float>(bits[code]);
  }
  /// Codes of finite numbers that are not negative, from the smallest.
  std::vector<uint8_t> ascending() const {
    std::vector<uint8_t> codes;
    for (size_t code = 0; code < bits.size(); ++code)
      if (std::isfinite((*this)[code]) && !std::signbit((*this)[code]))
        codes.push_back(static_cast<uint8_t>(code));
    return codes;
  }
};

const FormatValues values[] = {
#include "SmallFloatValues.inc"
};

const SmallFloat &formatOf(const FormatValues &expected) {
  for (const SmallFloat &format : SmallFloat::all())
    if (expected.name == format.name)
      return format;
  ADD_FAILURE() << "no format " << expected.name;
  return SmallFloat::all().front();
}

} // namespace

TEST(SmallFloat, DecodesEveryCode) {
  EXPECT_EQ(std::size(values), SmallFloat::all().size());
  for (const FormatValues &expected : values) {
    const SmallFloat &format = formatOf(expected);
    EXPECT_EQ(expected.bits.size(), size_t(1) << format.type.bits);
    for (size_t code = 0; code < expected.bits.size(); ++code) {
      float found = format.decode(static_cast<uint8_t>(code));
      if (std::isnan(expected[code]))
        EXPECT_TRUE(std::isnan(found)) << expected.name << " " << code;
      else
        EXPECT_EQ(std::bit_cast<uint32_t>(found), expected.bits[code])
            << expected.name << " " << code;
    }
  }
}

TEST(SmallFloat, EncodesEveryValueAsItsCode) {
  for (const FormatValues &expected : values) {
    const SmallFloat &format = formatOf(expected);
    for (size_t code = 0; code < expected.bits.size(); ++code) {
      uint8_t found = format.encode(expected[code]);
      if (std::isnan(expected[code]))
        EXPECT_TRUE(std::isnan(expected[found])) << expected.name;
      else
        EXPECT_EQ(found, code) << expected.name;
    }
  }
}

TEST(SmallFloat, RoundsToTheNearestAndTiesToEven) {
  for (const FormatValues &expected : values) {
    const SmallFloat &format = formatOf(expected);
    std::vector<uint8_t> codes = expected.ascending();
    for (size_t i = 0; i + 1 < codes.size(); ++i) {
      double low = expected[codes[i]], high = expected[codes[i + 1]];
      double middle = (low + high) / 2, little = (high - low) / 1024;
      EXPECT_EQ(format.encode(middle - little), codes[i]) << expected.name;
      EXPECT_EQ(format.encode(middle + little), codes[i + 1]) << expected.name;
      // Powers of two: half way up is the greater one.
      bool goesUp = !format.hasSign || codes[i] % 2;
      EXPECT_EQ(format.encode(middle), codes[i + goesUp]) << expected.name;
      if (!format.hasSign || codes[i] == 0)
        continue;
      EXPECT_EQ(expected[format.encode(-middle)], -expected[codes[i + goesUp]])
          << expected.name;
    }
  }
}

TEST(SmallFloat, EncodesWhatHasNoCode) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  struct Case {
    const char *name;
    uint8_t large, negativeLarge, infinity, negativeInfinity, nan, zero;
  };
  // Of 1e30, -1e30, infinity, -infinity, NaN and -0.0.
  const Case cases[] = {
      {"f8E4M3FN", 0x7e, 0xfe, 0x7f, 0x7f, 0x7f, 0x80},
      {"f8E5M2", 0x7b, 0xfb, 0x7c, 0xfc, 0x7e, 0x80},
      {"f8E4M3FNUZ", 0x7f, 0xff, 0x80, 0x80, 0x80, 0x00},
      {"f8E5M2FNUZ", 0x7f, 0xff, 0x80, 0x80, 0x80, 0x00},
      {"f4E2M1FN", 0x07, 0x0f, 0x07, 0x0f, 0x00, 0x08},
  };
  for (const Case &each : cases) {
    const SmallFloat &format = formatOf({each.name, {}});
    for (double large : {1e30, 1e300}) {
      EXPECT_EQ(format.encode(large), each.large) << each.name;
      EXPECT_EQ(format.encode(-large), each.negativeLarge) << each.name;
    }
    EXPECT_EQ(format.encode(infinity), each.infinity) << each.name;
    EXPECT_EQ(format.encode(-infinity), each.negativeInfinity) << each.name;
    EXPECT_EQ(format.encode(nan), each.nan) << each.name;
    EXPECT_EQ(format.encode(-0.0), each.zero) << each.name;
  }
  const SmallFloat &power = formatOf({"f8E8M0FNU", {}});
  EXPECT_EQ(power.encode(0), 0x00);
  EXPECT_EQ(power.encode(-4), 129); // the magnitude
  EXPECT_EQ(power.encode(1e300), 0xfe);
  EXPECT_EQ(power.encode(infinity), 0xff);
  EXPECT_EQ(power.encode(nan), 0xff);
}
