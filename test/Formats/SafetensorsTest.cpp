//===- SafetensorsTest.cpp - Safetensors, by hand and damaged ---*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The layout is written out by hand from the description of the format; a
// Python script checks what the writer produces (arrays.test).
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Safetensors.h"

#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>

using namespace nibble;

namespace {

std::string image(const std::string &header, const std::string &data) {
  uint64_t length = header.size();
  return std::string(reinterpret_cast<const char *>(&length), 8) + header +
         data;
}

/// Parses a copy of exactly the size of the bytes, `shift` bytes off alignment.
Expected<NamedTensors> parse(const std::string &bytes,
                             Metadata *metadata = nullptr, size_t shift = 0) {
  auto buffer = std::make_shared<std::vector<char>>(shift, '\0');
  buffer->insert(buffer->end(), bytes.begin(), bytes.end());
  return parseSafetensors(std::as_bytes(std::span(*buffer)).subspan(shift),
                          buffer, metadata);
}

std::string entry(const std::string &type, const std::string &shape,
                  const std::string &offsets) {
  return "{\"dtype\":\"" + type + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

std::string damaged(const std::string &what) {
  return "expects a .safetensors file, but " + what +
         "; the file is damaged or incomplete";
}

} // namespace

TEST(Safetensors, ReadsByOffset) {
  // The header's order is not the data's.
  std::string header =
      "{\"b\":" + entry("I16", "[2]", "[4,8]") +
      ",\"__metadata__\":{\"k\":\"v\"},\"a\":" + entry("F32", "[]", "[0,4]") +
      ",\"empty\":" + entry("F64", "[3,0]", "[8,8]") + "}   ";
  float value = 2.5;
  int16_t shorts[] = {-7, 300};
  std::string data(reinterpret_cast<char *>(&value), 4);
  data.append(reinterpret_cast<char *>(shorts), 4);
  for (size_t shift = 0; shift != 8; ++shift) { // misaligned data is copied
    Metadata metadata;
    Expected<NamedTensors> tensors =
        parse(image(header, data), &metadata, shift);
    ASSERT_TRUE(tensors) << tensors.status().message();
    ASSERT_EQ(tensors->size(), 3u);
    EXPECT_EQ((*tensors)[0].first, "a");
    EXPECT_EQ((*tensors)[0].second.rank(), 0);
    EXPECT_EQ((*tensors)[0].second.as<float>()[0], 2.5);
    EXPECT_EQ((*tensors)[1].first, "b");
    EXPECT_EQ((*tensors)[1].second.integerAt(0), -7);
    EXPECT_EQ((*tensors)[1].second.integerAt(1), 300);
    EXPECT_EQ(find(*tensors, "empty")->shape(), (std::vector<int64_t>{3, 0}));
    EXPECT_EQ(metadata, (Metadata{{"k", "v"}}));
  }
  EXPECT_TRUE(parse(image("{}", "")));
}

TEST(Safetensors, RefusesBadLayouts) {
  auto message = [](const std::string &header, const std::string &data) {
    return parse(image(header, data)).status().message();
  };
  auto one = [](const std::string &value) { return "{\"x\":" + value + "}"; };
  std::string four = "1234";
  EXPECT_EQ(message(one(entry("F32", "[1]", "[0,8]")), four),
            damaged("'x' has 8 bytes for 1xf32"));
  EXPECT_EQ(message(one(entry("F32", "[1]", "[4,8]")), four + four),
            damaged("'x' starts at byte 4 of the data instead of 0"));
  EXPECT_EQ(message(one(entry("F32", "[1]", "[0,4]")), "12345"),
            damaged("its tensors have 4 bytes and the file has 5"));
  EXPECT_EQ(message(one(entry("F32", "[1]", "[0,4]")), "123"),
            damaged("its tensors have 4 bytes and the file has 3"));
  EXPECT_EQ(message("{\"x\":" + entry("U8", "[4]", "[0,4]") +
                        ",\"y\":" + entry("U8", "[4]", "[2,6]") + "}",
                    "123456"),
            damaged("'y' starts at byte 2 of the data instead of 4"));
  for (const char *offsets : {"[4,0]", "[0]", "[0,4,4]", "[0,-4]", "[0,4.0]",
                              "\"0,4\"", "[0,18446744073709551615]", "null"})
    EXPECT_EQ(message(one(entry("F32", "[1]", offsets)), four),
              damaged("the data_offsets of 'x' are not a range of bytes"))
        << offsets;
  for (const char *shape : {"[-1]", "[1.5]", "[\"1\"]", "[null]",
                            "[9223372036854775808]", "[99999999999999999999]"})
    EXPECT_EQ(message(one(entry("F32", shape, "[0,4]")), four),
              damaged("a dimension of 'x' is not a non-negative integer"))
        << shape;
  // Products that wrap around to the right size.
  EXPECT_FALSE(
      parse(image(one(entry("F32", "[4294967296,4294967296]", "[0,0]")), "")));
  EXPECT_FALSE(
      parse(image(one(entry("F64", "[2305843009213693952]", "[0,0]")), "")));
}

TEST(Safetensors, RefusesBadHeaders) {
  auto message = [](const std::string &header) {
    return parse(image(header, "1234")).status().message();
  };
  std::string good = entry("F32", "[1]", "[0,4]");
  EXPECT_EQ(message("[]"), damaged("its header is not a JSON object"));
  EXPECT_EQ(message("{\"x\":" + good),
            damaged("its header is not a JSON object"));
  EXPECT_EQ(message("{\"x\":" + good + "} x"),
            damaged("its header is not a JSON object"));
  EXPECT_EQ(message("{\"x\":" + good + ",\"x\":" + good + "}"),
            damaged("its header has the same name twice"));
  EXPECT_EQ(message("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],"
                    "\"data_offsets\":[0,4]}}"),
            damaged("its header has the same name twice"));
  EXPECT_EQ(message("{\"x\":" + std::string(100000, '[')),
            damaged("its header is nested too deeply"));
  EXPECT_EQ(message("{\"x\":1}"),
            damaged("'x' does not have exactly dtype, shape and data_offsets"));
  EXPECT_EQ(message("{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}"),
            damaged("'x' does not have exactly dtype, shape and data_offsets"));
  EXPECT_EQ(message("{\"x\":" + entry("F8_E4M3", "[4]", "[0,4]") + "}"),
            "'x': expects a dtype such as F32, BF16 or I8, got \"F8_E4M3\"; "
            "convert the tensor first");
  EXPECT_EQ(message("{\"__metadata__\":[],\"x\":" + good + "}"),
            damaged("its __metadata__ is not an object"));
  EXPECT_EQ(message("{\"__metadata__\":{\"a\":1},\"x\":" + good + "}"),
            damaged("its __metadata__ is not made of strings"));
  EXPECT_FALSE(parse(image("{\"\xff\":" + good + "}", "1234")));
}

TEST(Safetensors, RefusesEveryTruncation) {
  std::string whole =
      image("{\"x\":" + entry("F32", "[1]", "[0,4]") + "}", "1234");
  ASSERT_TRUE(parse(whole));
  for (size_t size = 0; size != whole.size(); ++size)
    EXPECT_FALSE(parse(whole.substr(0, size))) << size;
  std::string huge = whole;
  for (size_t at = 0; at != 8; ++at)
    huge[at] = '\xff';
  EXPECT_EQ(parse(huge).status().message(),
            damaged("its header of 18446744073709551615 bytes does not fit "
                    "into the file"));
  // No byte may crash the parser, whatever its value.
  for (size_t at = 0; at != whole.size(); ++at)
    for (int value = 0; value < 256; value += 3) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(value);
      (void)parse(bytes);
    }
}

TEST(Safetensors, WritesAlignedInOneOrder) {
  std::string path = testing::TempDir() + "nibble-test.safetensors";
  Tensor narrow = Tensor::allocate(ElementType::signedInt(8), {3});
  Tensor wide = Tensor::allocate(ElementType::float64(), {2, 1});
  Tensor brain = Tensor::allocate(ElementType::bfloat16(), {5});
  narrow.setIntegerAt(2, -5);
  wide.setNumberAt(1, 0.1);
  brain.setNumberAt(4, 3);
  Status status = writeSafetensors(
      path, {{"n", narrow}, {"b", brain}, {"w", wide}}, {{"k", "\"v\""}});
  ASSERT_TRUE(status.isOk()) << status.message();
  Metadata metadata;
  Expected<NamedTensors> read = readSafetensors(path, &metadata);
  ASSERT_TRUE(read) << read.status().message();
  EXPECT_EQ((*read)[0].first, "w");
  EXPECT_EQ((*read)[0].second.numberAt(1), 0.1);
  EXPECT_EQ((*read)[1].second.type(), ElementType::bfloat16());
  EXPECT_EQ((*read)[1].second.numberAt(4), 3);
  EXPECT_EQ((*read)[2].second.integerAt(2), -5);
  EXPECT_EQ(metadata, (Metadata{{"k", "\"v\""}}));
  std::filesystem::remove(path);
}

TEST(Safetensors, RefusesToWriteBadNames) {
  std::string path = testing::TempDir() + "nibble-bad.safetensors";
  Tensor tensor = Tensor::allocate(ElementType::float32(), {1});
  for (const char *name : {"\xff", "__metadata__", "\xed\xa0\x80"})
    EXPECT_EQ(writeSafetensors(path, {{name, tensor}}).message(),
              "'" + path +
                  "': expects distinct names in UTF-8 other than "
                  "__metadata__, got '" +
                  name + "'");
  EXPECT_FALSE(writeSafetensors(path, {{"a", tensor}, {"a", tensor}}).isOk());
  EXPECT_FALSE(writeSafetensors(path, {}, {{"k", "\x80"}}).isOk());
  Tensor nibbles = Tensor::allocate(ElementType::unsignedInt(4), {2});
  EXPECT_EQ(writeSafetensors(path, {{"q", nibbles}}).message(),
            "'" + path +
                "': 'q': expects an element type that safetensors has, got "
                "ui4; convert to bytes first");
  EXPECT_FALSE(std::filesystem::exists(path));
}
