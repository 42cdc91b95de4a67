//===- NpyTest.cpp - NumPy arrays by hand and with damage -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What numpy writes and reads is compared in arrays.test. Here: the layout of
// headers by hand, and bytes that no numpy would write.
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Npy.h"

#include "../../lib/Formats/Zip.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <numeric>

using namespace nibble;

namespace {

std::span<const std::byte> bytesOf(const std::string &text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// An .npy image: the header is padded, the data given as it is.
std::string image(const std::string &header, const std::string &data,
                  char version = 1) {
  std::string text = header;
  size_t fixed = version == 1 ? 10 : 12;
  text.append(63 - (fixed + text.size()) % 64, ' ');
  text += '\n';
  uint32_t length = static_cast<uint32_t>(text.size());
  std::string result = "\x93NUMPY";
  result += {version, '\0'};
  result.append(reinterpret_cast<const char *>(&length), fixed - 8);
  return result + text + data;
}

std::string header(const std::string &type, const std::string &shape,
                   const std::string &order = "False") {
  return "{'descr': '" + type + "', 'fortran_order': " + order +
         ", 'shape': " + shape + ", }";
}

/// Parses a copy of the bytes in a buffer of exactly their size, so that a
/// sanitizer sees any access beyond it.
Expected<Tensor> parse(const std::string &bytes) {
  auto buffer = std::make_shared<std::vector<char>>(bytes.begin(), bytes.end());
  return parseNpy(std::as_bytes(std::span(*buffer)), buffer);
}

Expected<NamedTensors> parseArchive(const std::string &bytes) {
  auto buffer = std::make_shared<std::vector<char>>(bytes.begin(), bytes.end());
  return parseNpz(std::as_bytes(std::span(*buffer)), buffer);
}

template <typename T> std::string raw(const std::vector<T> &values) {
  return {reinterpret_cast<const char *>(values.data()),
          values.size() * sizeof(T)};
}

class Npy : public testing::Test {
protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "nibble-npy-XXXXXX";
    ASSERT_TRUE(::mkdtemp(pattern.data()));
    folder = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::string path(const std::string &name) { return folder + "/" + name; }
  std::string contents(const std::string &name) {
    std::ifstream in(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string folder;
};

} // namespace

//===----------------------------------------------------------------------===//
// Arrays
//===----------------------------------------------------------------------===//

TEST(ParseNpy, ReadsEveryVersion) {
  std::string data = raw<float>({1, 2, 3, 4, 5, 6});
  for (char version : {1, 2, 3}) {
    Expected<Tensor> tensor =
        parse(image(header("<f4", "(2, 3)"), data, version));
    ASSERT_TRUE(tensor) << tensor.status().message();
    EXPECT_EQ(tensor->shape(), (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(tensor->type(), ElementType::float32());
    EXPECT_EQ(tensor->as<float>()[5], 6);
  }
}

TEST(ParseNpy, TransposesFortranOrder) {
  // Column-major 2x3x2: element (i, j, k) lies at i + 2j + 6k.
  std::vector<int16_t> values(12);
  std::iota(values.begin(), values.end(), int16_t{0});
  Expected<Tensor> tensor =
      parse(image(header("<i2", "(2, 3, 2)", "True"), raw(values)));
  ASSERT_TRUE(tensor);
  for (int64_t i = 0, at = 0; i != 2; ++i)
    for (int64_t j = 0; j != 3; ++j)
      for (int64_t k = 0; k != 2; ++k, ++at)
        EXPECT_EQ(tensor->integerAt(static_cast<uint64_t>(at)),
                  i + 2 * j + 6 * k);
}

TEST(ParseNpy, AcceptsAnySpellingOfTheDictionary) {
  std::string data = raw<int64_t>({7});
  for (const char *text :
       {"{'descr':'<i8','fortran_order':False,'shape':()}",
        "{\"shape\": (), \"descr\": \"<i8\", \"fortran_order\": True}",
        " { 'fortran_order' : False , 'shape' : ( ) , 'descr' : '<i8' } ",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1, 1), }"}) {
    Expected<Tensor> tensor = parse(image(text, data));
    ASSERT_TRUE(tensor) << text << tensor.status().message();
    EXPECT_EQ(tensor->integerAt(0), 7);
  }
}

TEST(ParseNpy, RefusesOtherLiterals) {
  std::string data = raw<int64_t>({7});
  for (const char *text :
       {"", "{", "{}", "[]", "{'descr': '<i8', 'fortran_order': False}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1,,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1 1)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (-1, -1)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': [1]}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (1,",
        "{'descr': '<i8', 'fortran_order': 0, 'shape': ()}",
        "{'descr': '<i8', 'fortran_order': False, 'shape: ()}",
        "{'descr': '<i8', 'descr': '<i8', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (), 'x': 1}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': ()} + 1",
        "{'descr': '<i8' 'fortran_order': False, 'shape': ()}",
        "{'de\\x73cr': '<i8', 'fortran_order': False, 'shape': ()}"}) {
    Expected<Tensor> tensor = parse(image(text, data));
    EXPECT_FALSE(tensor) << text;
    EXPECT_NE(tensor.status().message().find("of the .npy header"),
              std::string::npos)
        << tensor.status().message();
  }
}

TEST(ParseNpy, ExplainsUnsupportedTypes) {
  auto message = [](const char *type) {
    return parse(image(header(type, "(1,)"), "12345678")).status().message();
  };
  EXPECT_EQ(message(">f8"), "expects little-endian elements, got '>f8'; "
                            "convert with x.astype('<f8') before saving");
  EXPECT_EQ(message("|O"), "expects numbers, got Python objects (dtype '|O'); "
                           "convert with x.astype('<f4') before saving");
  EXPECT_EQ(message("<c8"),
            "expects a boolean, integer or float dtype of 1 to 8 bytes, got "
            "'<c8'; convert with x.astype before saving");
  for (const char *type : {"<i3", "<f1", "<f16", "|b2", "|S8", "f4", "<V2", "",
                           "<", "<i8 ", "<M8[ns]"})
    EXPECT_FALSE(parse(image(header(type, "(1,)"), "12345678"))) << type;
  EXPECT_EQ(parse(image("{'descr': [('a', '<f4')], 'fortran_order': False, "
                        "'shape': (1,), }",
                        "1234"))
                .status()
                .message(),
            "expects one dtype for all elements, got a structured array; save "
            "its fields one by one");
}

TEST(ParseNpy, ChecksSizes) {
  EXPECT_EQ(parse(image(header("<f4", "(2,)"), "1234567")).status().message(),
            "expects 8 bytes of data for 2xf32, got 7; the file is damaged or "
            "incomplete");
  EXPECT_FALSE(parse(image(header("<f4", "(2,)"), "123456789")));
  // Products and dimensions that overflow, to zero as well.
  for (const char *shape :
       {"(9223372036854775807, 2)", "(4294967296, 4294967296)",
        "(9223372036854775808,)", "(99999999999999999999,)",
        "(2305843009213693952, 2)", "(4611686018427387904, 4)"})
    EXPECT_FALSE(parse(image(header("<f4", shape), ""))) << shape;
  EXPECT_TRUE(parse(image(header("<f4", "(9223372036854775807, 0)"), "")));
  std::string deep = "(";
  for (int i = 0; i != 65; ++i)
    deep += "1, ";
  EXPECT_FALSE(parse(image(header("<f4", deep + ")"), "1234")));
}

TEST(ParseNpy, RefusesEveryTruncation) {
  std::string whole =
      image(header("<f4", "(2, 3)"), raw<float>({1, 2, 3, 4, 5, 6}));
  ASSERT_TRUE(parse(whole));
  for (size_t size = 0; size != whole.size(); ++size)
    EXPECT_FALSE(parse(whole.substr(0, size))) << size;
}

TEST(ParseNpy, RefusesHostileHeaders) {
  std::string good = image(header("<f4", "()"), "1234", 2);
  auto with = [&](size_t at, unsigned char value) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(value);
    return parse(bytes).status().message();
  };
  EXPECT_EQ(with(0, 0x92), "expects an .npy array, got something else; write "
                           "it with numpy.save");
  EXPECT_EQ(with(6, 4), "expects version 1.0, 2.0 or 3.0 of the .npy format, "
                        "got 4.0");
  EXPECT_EQ(with(7, 1), "expects version 1.0, 2.0 or 3.0 of the .npy format, "
                        "got 2.1");
  EXPECT_EQ(with(11, 0xff), "the .npy header ends early; the file is "
                            "incomplete");
  EXPECT_EQ(
      parse(image(header("<f4", "()") + std::string(70000, ' '), "1234", 2))
          .status()
          .message()
          .substr(0, 50),
      "expects an .npy header of at most 65536 bytes, got");
  // No byte of the header may crash the parser, whatever its value.
  for (size_t at = 0; at != good.size(); ++at)
    for (int value = 0; value != 256; ++value)
      (void)with(at, static_cast<unsigned char>(value));
}

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

TEST_F(Npy, MapsAlignedData) {
  Tensor tensor = Tensor::allocate(ElementType::float64(), {3});
  tensor.setNumberAt(1, 2.5);
  ASSERT_TRUE(writeNpy(path("x.npy"), tensor).isOk());
  EXPECT_EQ(contents("x.npy").size(), 128u + 24u);
  Expected<Tensor> read = readNpy(path("x.npy"));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->numberAt(1), 2.5);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(read->bytes().data()) % 64, 0u);
  std::filesystem::remove(path("x.npy"));
  EXPECT_EQ(read->numberAt(1), 2.5); // the mapping outlives the name
}

TEST_F(Npy, NamesTheFileInErrors) {
  std::ofstream(path("x.npy")) << "nothing of the kind";
  EXPECT_EQ(readNpy(path("x.npy")).status().message(),
            "'" + path("x.npy") +
                "': expects an .npy array, got something else; write it with "
                "numpy.save");
  EXPECT_EQ(readNpz(path("x.npy")).status().message(),
            "'" + path("x.npy") +
                "': expects a ZIP archive, but it has no end record; the file "
                "is damaged or incomplete");
  EXPECT_FALSE(readNpy(path("none.npy")));
}

TEST_F(Npy, WritesBfloat16AsFloat32) {
  Tensor tensor = Tensor::allocate(ElementType::bfloat16(), {2});
  tensor.setNumberAt(0, -1.0078125);
  tensor.setNumberAt(1, 3e38);
  ASSERT_TRUE(writeNpy(path("x.npy"), tensor).isOk());
  Expected<Tensor> read = readNpy(path("x.npy"));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->type(), ElementType::float32());
  EXPECT_EQ(read->numberAt(0), -1.0078125);
  Tensor back = fromNumpy(*read, ElementType::bfloat16());
  EXPECT_EQ(back.type(), ElementType::bfloat16());
  EXPECT_EQ(back.numberAt(1), tensor.numberAt(1));
  // Only for bfloat16: other types must be given as they are.
  EXPECT_EQ(fromNumpy(*read, ElementType::float16()).type(),
            ElementType::float32());
}

TEST_F(Npy, RefusesWhatNumpyLacks) {
  for (ElementType type :
       {ElementType::unsignedInt(4), ElementType::signedInt(12)}) {
    Tensor tensor = Tensor::allocate(type, {2});
    EXPECT_EQ(writeNpy(path("x.npy"), tensor).message(),
              "'" + path("x.npy") +
                  "': expects an element type that numpy has, got " +
                  type.str() + "; convert to f32 or to bytes first");
    EXPECT_EQ(writeNpz(path("x.npz"), {{"a", tensor}}).message(),
              "'" + path("x.npz") +
                  "': 'a': expects an element type that numpy has, got " +
                  type.str() + "; convert to f32 or to bytes first");
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST_F(Npy, FindsArraysByName) {
  Tensor one = Tensor::allocate(ElementType::float32(), {1});
  Tensor two = Tensor::allocate(ElementType::boolean(), {2, 2});
  ASSERT_TRUE(writeNpz(path("x.npz"), {{"b", one}, {"a", two}}).isOk());
  Expected<NamedTensors> read = readNpz(path("x.npz"));
  ASSERT_TRUE(read);
  EXPECT_EQ((*read)[0].first, "b"); // in the order of the file
  ASSERT_TRUE(find(*read, "a"));
  EXPECT_EQ(find(*read, "a")->shape(), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(find(*read, "c"), nullptr);
  EXPECT_EQ(writeNpz(path("y.npz"), {{"a", one}, {"a", two}}).message(),
            "expects distinct names, got 'a.npy' twice");
}

//===----------------------------------------------------------------------===//
// Archives
//===----------------------------------------------------------------------===//

/// Two members, as bytes.
static std::string archive(const std::string &path) {
  Tensor one = Tensor::allocate(ElementType::signedInt(8), {5});
  Tensor two = Tensor::allocate(ElementType::float64(), {2});
  EXPECT_TRUE(writeNpz(path, {{"a", one}, {"b", two}}).isOk());
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(Npy, RefusesEveryTruncatedArchive) {
  std::string whole = archive(path("x.npz"));
  ASSERT_TRUE(parseArchive(whole));
  for (size_t size = 0; size != whole.size(); ++size)
    EXPECT_FALSE(parseArchive(whole.substr(0, size))) << size;
}

// Time stamps, attributes and the like may change; the arrays may not.
TEST_F(Npy, SurvivesEveryChangedByte) {
  std::string whole = archive(path("x.npz"));
  size_t read = 0;
  for (size_t at = 0; at != whole.size(); ++at)
    for (int bit = 0; bit != 8; ++bit) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ 1 << bit);
      Expected<NamedTensors> tensors = parseArchive(bytes);
      if (!tensors)
        continue;
      ++read;
      ASSERT_EQ(tensors->size(), 2u);
      EXPECT_EQ((*tensors)[0].second.shape(), (std::vector<int64_t>{5}));
      for (uint64_t i = 0; i != 5; ++i)
        EXPECT_EQ((*tensors)[0].second.integerAt(i), 0);
      for (uint64_t i = 0; i != 2; ++i)
        EXPECT_EQ((*tensors)[1].second.numberAt(i), 0);
    }
  EXPECT_LT(read, whole.size() * 2);
}

TEST_F(Npy, RefusesHostileArchives) {
  std::string whole = archive(path("x.npz"));
  size_t first = whole.find("PK\1\2"), second = whole.find("PK\1\2", first + 4);
  ASSERT_NE(second, std::string::npos);
  auto with = [&](size_t at, uint32_t value, size_t size) {
    std::string bytes = whole;
    std::memcpy(&bytes[at], &value, size);
    return parseArchive(bytes).status().message();
  };
  auto expects = [](const std::string &what) {
    return "expects a ZIP archive, but " + what +
           "; the file is damaged or incomplete";
  };
  EXPECT_EQ(with(first + 8, 1, 2), "'a.npy' is encrypted; write the archive "
                                   "without a password");
  EXPECT_EQ(with(first + 10, 12, 2), "'a.npy' is compressed with ZIP method "
                                     "12; write it stored or deflated");
  EXPECT_EQ(with(first + 16, 12345, 4),
            expects("the checksum of 'a.npy' is wrong"));
  EXPECT_EQ(with(first + 20, 0x7fffffff, 4),
            expects("'a.npy' does not fit into the file"));
  EXPECT_EQ(with(first + 20, 10, 4), expects("'a.npy' has an impossible size"));
  EXPECT_EQ(with(first + 42, 0x7fffffff, 4),
            expects("'a.npy' is not where it should be"));
  EXPECT_EQ(with(first + 28, 0xffff, 2), expects("its directory ends early"));
  EXPECT_EQ(with(whole.size() - 6, 0x7fffffff, 4),
            expects("its directory does not fit into the file"));
  EXPECT_EQ(with(whole.size() - 12, 3, 2),
            expects("its directory does not fit into the file"));
  EXPECT_EQ(with(whole.size() - 12, 1, 2),
            expects("its directory has more entries than it says"));
  EXPECT_EQ(with(whole.size() - 18, 1, 2),
            "expects a ZIP archive in one file, got one part of several");

  // A deflated bomb: 133 bytes cannot become two gigabytes.
  std::string bomb = whole;
  uint32_t size = 0x7fffffff;
  bomb[first + 10] = 8;
  std::memcpy(&bomb[first + 24], &size, 4);
  EXPECT_EQ(parseArchive(bomb).status().message(),
            expects("'a.npy' has an impossible size"));
  // Stored bytes are no deflate stream.
  EXPECT_EQ(with(first + 10, 8, 2), expects("'a.npy' cannot be inflated"));

  // Both entries name the first member.
  std::string twice = whole;
  twice.replace(second, second - first, whole, first, second - first);
  EXPECT_EQ(parseArchive(twice).status().message(),
            expects("'a.npy' occurs twice"));
  // The first member reaches into the second.
  std::string overlapping = whole;
  uint32_t longer = 133 + 40;
  std::memcpy(&overlapping[first + 20], &longer, 4);
  std::memcpy(&overlapping[first + 24], &longer, 4);
  EXPECT_EQ(parseArchive(overlapping).status().message(),
            expects("two of its members overlap"));
}

TEST_F(Npy, ReadsOnlyArraysFromArchives) {
  {
    Expected<OutputFile> out = OutputFile::create(path("x.npz"));
    ASSERT_TRUE(out);
    ZipWriter zip(*out);
    ASSERT_TRUE(zip.add("readme", bytesOf("text"), {}).isOk());
    EXPECT_FALSE(zip.add("", bytesOf("text"), {}).isOk());
    ASSERT_TRUE(zip.finish().isOk());
    ASSERT_TRUE(out->commit().isOk());
  }
  EXPECT_EQ(readNpz(path("x.npz")).status().message(),
            "'" + path("x.npz") +
                "': expects .npy arrays in an .npz archive, got 'readme'; "
                "write it with numpy.savez");
}

// Members beyond 4 GiB, in small: the writer takes its limit as a parameter.
TEST_F(Npy, ReadsItsOwnZip64) {
  for (uint64_t limit : {uint64_t{0}, uint64_t{50}, uint64_t{120}}) {
    Expected<OutputFile> out = OutputFile::create(path("x.zip"));
    ASSERT_TRUE(out);
    ZipWriter zip(*out, limit);
    ASSERT_TRUE(zip.add("a", bytesOf("12345"), bytesOf("678")).isOk());
    ASSERT_TRUE(zip.add("b", bytesOf(std::string(60, 'x')), {}).isOk());
    ASSERT_TRUE(zip.finish().isOk());
    ASSERT_TRUE(out->commit().isOk());
    std::string bytes = contents("x.zip");
    Expected<std::vector<ZipMember>> members = readZip(bytesOf(bytes));
    ASSERT_TRUE(members) << members.status().message();
    ASSERT_EQ(members->size(), 2u);
    Expected<ZipContents> a = extract((*members)[0], nullptr);
    ASSERT_TRUE(a);
    EXPECT_EQ(std::memcmp(a->bytes.data(), "12345678", 8), 0);
    EXPECT_EQ((*members)[1].size, 60u);
    EXPECT_TRUE(extract((*members)[1], nullptr));
  }
}
