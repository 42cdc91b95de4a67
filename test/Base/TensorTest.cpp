//===- TensorTest.cpp - Element types, halfs, sub-byte elements -*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The expected bits of the 16-bit formats are computed from their definition in
// double precision, by searching for the nearest of all 65536 values.
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/Tensor.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace nibble;

//===----------------------------------------------------------------------===//
// Types and sizes
//===----------------------------------------------------------------------===//

TEST(ElementType, PrintsAndParses) {
  for (const char *text : {"f16", "bf16", "f32", "f64", "bool", "si1", "si8",
                           "ui4", "ui64", "si33"}) {
    Expected<ElementType> type = ElementType::parse(text);
    ASSERT_TRUE(type) << text;
    EXPECT_EQ(type->str(), text);
  }
}

TEST(ElementType, RefusesOtherText) {
  for (const char *text : {"", "f8", "i8", "si0", "si65", "ui04", "si", "si8 ",
                           "ui-1", "F32", "ui99999999999999999999"}) {
    Expected<ElementType> type = ElementType::parse(text);
    EXPECT_FALSE(type) << text;
    EXPECT_EQ(type.status().message(),
              std::string("expects an element type such as f32, bf16, si8, ui4 "
                          "or bool, got '") +
                  text + "'");
  }
}

TEST(Sizes, RoundUpAndDetectOverflow) {
  EXPECT_EQ(byteSize(ElementType::unsignedInt(4), 3), 2u);
  EXPECT_EQ(byteSize(ElementType::signedInt(3), 8), 3u);
  EXPECT_EQ(byteSize(ElementType::signedInt(3), 9), 4u);
  EXPECT_EQ(byteSize(ElementType::boolean(), 5), 5u);
  EXPECT_EQ(byteSize(ElementType::unsignedInt(1), UINT64_MAX),
            uint64_t{1} << 61);
  EXPECT_EQ(byteSize(ElementType::unsignedInt(8), UINT64_MAX), UINT64_MAX);
  EXPECT_EQ(byteSize(ElementType::unsignedInt(9), UINT64_MAX), std::nullopt);
  EXPECT_EQ(byteSize(ElementType::float32(), uint64_t{1} << 62), std::nullopt);
}

TEST(Sizes, CountElements) {
  EXPECT_EQ(elementCount({}), 1u);
  EXPECT_EQ(elementCount(std::vector<int64_t>{2, 3, 4}), 24u);
  EXPECT_EQ(elementCount(std::vector<int64_t>{2, -1}), std::nullopt);
  EXPECT_EQ(elementCount(std::vector<int64_t>{INT64_MAX, INT64_MAX}),
            std::nullopt);
  // The order must not matter for an empty tensor.
  EXPECT_EQ(elementCount(std::vector<int64_t>{INT64_MAX, INT64_MAX, 0}), 0u);
  EXPECT_EQ(elementCount(std::vector<int64_t>{0, INT64_MAX, INT64_MAX}), 0u);
  EXPECT_EQ(describe(ElementType::float32(), std::vector<int64_t>{2, 64}),
            "2x64xf32");
  EXPECT_EQ(describe(ElementType::boolean(), {}), "bool");
}

//===----------------------------------------------------------------------===//
// 16-bit floating point
//===----------------------------------------------------------------------===//

/// The value that the bits stand for, from the definition of the format.
static double decode(uint16_t bits, int mantissaBits) {
  int exponentBits = 15 - mantissaBits, bias = (1 << (exponentBits - 1)) - 1;
  int exponent = bits >> mantissaBits & ((1 << exponentBits) - 1);
  int mantissa = bits & ((1 << mantissaBits) - 1);
  double sign = bits >> 15 ? -1 : 1;
  if (exponent == (1 << exponentBits) - 1)
    return mantissa ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0)
    return sign * std::ldexp(mantissa, 1 - bias - mantissaBits);
  return sign * std::ldexp(mantissa + (1 << mantissaBits),
                           exponent - bias - mantissaBits);
}

TEST(Half, DecodesEveryValue) {
  for (uint32_t bits = 0; bits != 65536; ++bits) {
    double half = decode(static_cast<uint16_t>(bits), 10);
    double bfloat = decode(static_cast<uint16_t>(bits), 7);
    float gotHalf = halfToFloat(static_cast<uint16_t>(bits));
    float gotBfloat = bfloatToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(half))
      EXPECT_TRUE(std::isnan(gotHalf));
    else
      EXPECT_EQ(static_cast<double>(gotHalf), half);
    if (std::isnan(bfloat))
      EXPECT_TRUE(std::isnan(gotBfloat));
    else
      EXPECT_EQ(static_cast<double>(gotBfloat), bfloat);
    EXPECT_EQ(std::signbit(gotHalf), bits >= 32768);
  }
}

/// Nearest even for a non-negative value: magnitudes order as their bits do,
/// and infinity stands for the power of two after the largest finite value.
static uint16_t nearest(double value, int mantissaBits) {
  uint16_t infinity =
      static_cast<uint16_t>(0x7fff >> mantissaBits << mantissaBits);
  auto place = [&](uint16_t bits) {
    return bits < infinity ? decode(bits, mantissaBits)
                           : 2 * decode(static_cast<uint16_t>(
                                            infinity - (1 << mantissaBits)),
                                        mantissaBits);
  };
  uint16_t low = 0, high = infinity;
  if (value >= place(infinity))
    return infinity;
  while (high - low > 1) {
    uint16_t middle = static_cast<uint16_t>((low + high) / 2);
    (place(middle) <= value ? low : high) = middle;
  }
  double below = value - place(low), above = place(high) - value;
  if (below != above)
    return below < above ? low : high;
  return low % 2 == 0 ? low : high;
}

TEST(Half, RoundsToNearestEven) {
  std::mt19937 random(1);
  for (int i = 0; i != 300000; ++i) {
    uint32_t bits = random() & 0x7fffffffu;
    // Half of the cases near the range of halfs, many of them exact ties.
    if (i % 2)
      bits =
          (0x33000000u + random() % 0x15000000u) & (i % 4 == 1 ? ~0xfffu : ~0u);
    float value = std::bit_cast<float>(bits);
    if (std::isnan(value))
      continue;
    EXPECT_EQ(floatToHalf(value), nearest(value, 10)) << value;
    EXPECT_EQ(floatToHalf(-value), nearest(value, 10) | 0x8000) << value;
    EXPECT_EQ(floatToBfloat(value), nearest(value, 7)) << value;
    EXPECT_EQ(floatToBfloat(-value), nearest(value, 7) | 0x8000) << value;
  }
  EXPECT_EQ(floatToHalf(65519.996f), 0x7bff);
  EXPECT_EQ(floatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(floatToHalf(0x1p-25f), 0);
  EXPECT_EQ(floatToHalf(0x1.000002p-25f), 1);
}

TEST(Half, KeepsNaN) {
  for (uint32_t bits : {0x7f800001u, 0x7fffffffu, 0xff800001u, 0x7fc00000u}) {
    float nan = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(halfToFloat(floatToHalf(nan))));
    EXPECT_TRUE(std::isnan(bfloatToFloat(floatToBfloat(nan))));
  }
}

TEST(Half, RoundsDoublesOnce) {
  // Just above a tie of halfs, yet a tie itself once rounded to float.
  double value = 1 + 0x1p-11 + 0x1p-40;
  Tensor half = Tensor::allocate(ElementType::float16(), {1});
  half.setNumberAt(0, value);
  EXPECT_EQ(half.numberAt(0), 1 + 0x1p-10);
  half.setNumberAt(0, -(1 + 0x1p-11 - 0x1p-40));
  EXPECT_EQ(half.numberAt(0), -1.0);
  half.setNumberAt(0, 1e300);
  EXPECT_EQ(half.numberAt(0), std::numeric_limits<double>::infinity());
  half.setNumberAt(0, 1e-300);
  EXPECT_EQ(half.numberAt(0), 0);
  Tensor bfloat = Tensor::allocate(ElementType::bfloat16(), {1});
  bfloat.setNumberAt(0, 1 + 0x1p-8 + 0x1p-40);
  EXPECT_EQ(bfloat.numberAt(0), 1 + 0x1p-7);
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

TEST(Tensor, PacksSubByteLittleEndian) {
  Tensor nibbles = Tensor::allocate(ElementType::unsignedInt(4), {3});
  nibbles.setIntegerAt(0, 1);
  nibbles.setIntegerAt(1, 15);
  nibbles.setIntegerAt(2, 2);
  ASSERT_EQ(nibbles.bytes().size(), 2u);
  EXPECT_EQ(nibbles.bytes()[0], std::byte{0xf1});
  EXPECT_EQ(nibbles.bytes()[1], std::byte{0x02});

  // 3-bit codes 1, 2, ..., 7: element i starts at bit 3i, across bytes.
  Tensor codes = Tensor::allocate(ElementType::unsignedInt(3), {7});
  uint32_t expected = 0;
  for (uint32_t i = 0; i != 7; ++i) {
    codes.setIntegerAt(i, i + 1);
    expected |= (i + 1) << (3 * i);
  }
  uint32_t got = 0;
  std::memcpy(&got, codes.bytes().data(), codes.bytes().size());
  EXPECT_EQ(got, expected);
}

TEST(Tensor, KeepsEveryIntegerWidth) {
  std::mt19937_64 random(2);
  for (unsigned bits = 1; bits <= 64; ++bits) {
    for (bool isSigned : {false, true}) {
      ElementType type = isSigned ? ElementType::signedInt(bits)
                                  : ElementType::unsignedInt(bits);
      Tensor tensor = Tensor::allocate(type, {23});
      std::vector<int64_t> values(23);
      for (int pass = 0; pass != 2; ++pass) // the second one overwrites
        for (size_t i = 0; i != values.size(); ++i) {
          uint64_t raw = random() >> (64 - bits);
          bool negative = isSigned && raw >> (bits - 1) != 0;
          uint64_t wrap = bits < 64 ? uint64_t{1} << bits : 0;
          values[i] = static_cast<int64_t>(negative ? raw - wrap : raw);
          tensor.setIntegerAt(i, values[i]);
        }
      for (size_t i = 0; i != values.size(); ++i)
        EXPECT_EQ(tensor.integerAt(i), values[i]) << type.str();
    }
  }
}

TEST(Tensor, RoundsAndSaturatesIntegers) {
  Tensor nibble = Tensor::allocate(ElementType::signedInt(4), {1});
  auto stored = [&](double value) {
    nibble.setNumberAt(0, value);
    return nibble.numberAt(0);
  };
  EXPECT_EQ(stored(0.5), 0);
  EXPECT_EQ(stored(1.5), 2);
  EXPECT_EQ(stored(-2.5), -2);
  EXPECT_EQ(stored(7.49), 7);
  EXPECT_EQ(stored(100), 7);
  EXPECT_EQ(stored(-100), -8);
  EXPECT_EQ(stored(std::nan("")), 0);

  Tensor wide = Tensor::allocate(ElementType::unsignedInt(64), {1});
  wide.setNumberAt(0, 1e30);
  EXPECT_EQ(static_cast<uint64_t>(wide.integerAt(0)), UINT64_MAX);
  EXPECT_EQ(wide.numberAt(0), 0x1p64);
  wide.setNumberAt(0, -3);
  EXPECT_EQ(wide.integerAt(0), 0);
  Tensor longs = Tensor::allocate(ElementType::signedInt(64), {1});
  longs.setNumberAt(0, 1e30);
  EXPECT_EQ(longs.integerAt(0), INT64_MAX);
  longs.setNumberAt(0, -1e30);
  EXPECT_EQ(longs.integerAt(0), INT64_MIN);

  Tensor flag = Tensor::allocate(ElementType::boolean(), {1});
  flag.setIntegerAt(0, 256); // its low byte is zero
  EXPECT_EQ(flag.integerAt(0), 1);
  EXPECT_EQ(flag.bytes()[0], std::byte{1});
}

TEST(Tensor, ConvertsEveryKind) {
  for (const char *text : {"f16", "bf16", "f32", "f64", "si5", "si64", "ui7"}) {
    Tensor tensor = Tensor::allocate(*ElementType::parse(text), {2});
    tensor.setNumberAt(1, 13);
    EXPECT_EQ(tensor.numberAt(0), 0) << text;
    EXPECT_EQ(tensor.numberAt(1), 13) << text;
    EXPECT_EQ(tensor.integerAt(1), 13) << text;
  }
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

TEST(Tensor, IsAlignedAndZero) {
  for (int64_t size : {0, 1, 63, 64, 1000}) {
    Tensor tensor = Tensor::allocate(ElementType::unsignedInt(8), {size});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.bytes().data()) % 64, 0u);
    EXPECT_EQ(tensor.size(), static_cast<uint64_t>(size));
    for (std::byte byte : tensor.bytes())
      EXPECT_EQ(byte, std::byte{0});
  }
}

// Under AddressSanitizer, an allocation that is too large ends the program by
// default; without it, nobody calls this.
extern "C" const char *__asan_default_options() {
  return "allocator_may_return_null=1";
}

TEST(Tensor, RefusesImpossibleShapes) {
  Expected<Tensor> huge =
      Tensor::tryAllocate(ElementType::float32(), {INT64_MAX, 4});
  ASSERT_FALSE(huge);
  EXPECT_EQ(huge.status().message(), "expects a shape that fits into memory, "
                                     "got 9223372036854775807x4xf32");
  EXPECT_FALSE(Tensor::tryAllocate(ElementType::float32(), {2, -1}));
  EXPECT_FALSE(Tensor::tryAllocate(ElementType::float64(), {int64_t{1} << 50}));
}

TEST(Tensor, CopiesShareUntilWritten) {
  Tensor a = Tensor::allocate(ElementType::float32(), {4});
  a.asMutable<float>()[0] = 1;
  const std::byte *start = a.bytes().data();
  a.asMutable<float>()[1] = 2;
  EXPECT_EQ(a.bytes().data(), start); // sole owner: written in place
  Tensor b = a;
  EXPECT_EQ(b.bytes().data(), start);
  b.asMutable<float>()[0] = 5;
  EXPECT_EQ(a.as<float>()[0], 1);
  EXPECT_EQ(b.as<float>()[0], 5);
  EXPECT_EQ(b.as<float>()[1], 2);
}

TEST(Tensor, NeverWritesBorrowedBytes) {
  auto owner = std::make_shared<std::vector<float>>(6, 3.0f);
  std::weak_ptr<std::vector<float>> alive = owner;
  {
    Tensor tensor = Tensor::borrow(ElementType::float32(), {2, 3},
                                   std::as_bytes(std::span(*owner)), owner);
    owner.reset();
    EXPECT_FALSE(alive.expired());
    Tensor written = tensor.reshaped({3, 2});
    written.setNumberAt(0, 8);
    EXPECT_EQ(tensor.numberAt(0), 3);
    EXPECT_EQ(written.numberAt(0), 8);
    EXPECT_EQ(written.shape(), (std::vector<int64_t>{3, 2}));
  }
  EXPECT_TRUE(alive.expired());
}
