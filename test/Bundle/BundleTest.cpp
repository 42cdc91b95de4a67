//===- BundleTest.cpp - Reader, writer, hostile files -----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The golden file comes from make_golden.py, which was written from
// docs/BundleFormat.md. Every rule of that page has a file that breaks it, and
// random damage must end in an error or a bundle, never in a crash.
//
//===----------------------------------------------------------------------===//

#include "TinyBundle.h"

#include "nibble/Bundle/Format.h"

#include "gtest/gtest.h"

#include <cstring>
#include <fstream>
#include <random>
#include <unistd.h>

using namespace nibble;
using namespace nibble::bundle;
using nibble::test::tinyContents;

namespace {

std::string temporaryPath(const std::string &name) {
  return testing::TempDir() + "nibble-bundle-" + std::to_string(getpid()) +
         "-" + name;
}

std::vector<std::byte> readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)),
                   std::istreambuf_iterator<char>());
  return test::bytesOf(text);
}

std::vector<std::byte> write(const BundleContents &contents,
                             const std::string &name) {
  std::string path = temporaryPath(name);
  Status status = writeBundle(path, contents);
  EXPECT_TRUE(status.isOk()) << status.message();
  std::vector<std::byte> bytes = readFile(path);
  unlink(path.c_str());
  return bytes;
}

std::vector<std::byte> golden(const std::string &name = "golden-v1.nbl") {
  return readFile(NIBBLE_TEST_SOURCE "/" + name);
}

std::string parseError(std::span<const std::byte> bytes) {
  Expected<std::shared_ptr<const Bundle>> bundle =
      Bundle::parse(bytes, nullptr);
  return bundle ? "" : bundle.status().message();
}

/// What the reader says about contents that the writer would refuse: lays the
/// file out like the writer, without its checks.
std::vector<std::byte>
layOut(const BundleIndex &index,
       const std::vector<std::vector<std::byte>> &segments) {
  std::vector<std::byte> encoded = encodeIndex(index);
  std::vector<std::byte> bytes(headerBytes);
  auto append = [&](const std::vector<std::byte> &part) {
    bytes.insert(bytes.end(), part.begin(), part.end());
  };
  append(encoded);
  for (const std::vector<std::byte> &segment : segments) {
    bytes.resize(*alignUp(bytes.size(), segmentAlignment));
    append(segment);
  }
  Header header;
  header.totalBytes = bytes.size();
  header.indexBytes = encoded.size();
  header.indexDigest = sha256(encoded);
  header.requiredFeatures = featuresOf(index);
  std::vector<std::byte> headerImage = encodeHeader(header);
  std::copy(headerImage.begin(), headerImage.end(), bytes.begin());
  return bytes;
}

/// The golden bundle's parts, to be broken one at a time.
struct Parts {
  explicit Parts(const std::string &name = "golden-v1.nbl") {
    bytes = golden(name);
    auto parsed = Bundle::parse(bytes, nullptr);
    EXPECT_TRUE(bool(parsed)) << parsed.status().message();
    index = (*parsed)->index();
    auto image = (*parsed)->code(index.variants[0]);
    code.assign(image.begin(), image.end());
    auto first = bytes.begin() + static_cast<long>(index.weightOffset);
    weights.assign(first, bytes.end());
    if (index.cuda)
      for (const CudaImage &each : index.cuda->images) {
        auto place = (*parsed)->code(each);
        images.emplace_back(place.begin(), place.end());
      }
  }
  std::string error() const {
    std::vector<std::vector<std::byte>> segments = {code};
    segments.insert(segments.end(), images.begin(), images.end());
    segments.push_back(weights);
    return parseError(layOut(index, segments));
  }

  std::vector<std::byte> bytes, code, weights;
  std::vector<std::vector<std::byte>> images; ///< of GPUs
  BundleIndex index;
};

/// Sums that protect header and index, as they should be.
void rehash(std::vector<std::byte> &bytes) {
  uint64_t indexBytes;
  std::memcpy(&indexBytes, bytes.data() + 48, 8);
  if (indexBytes <= bytes.size() - headerBytes) {
    Digest digest = sha256(std::span(bytes).subspan(headerBytes, indexBytes));
    std::memcpy(bytes.data() + 56, digest.data(), 32);
  }
  Digest digest = sha256(std::span(bytes).first(96));
  std::memcpy(bytes.data() + 96, digest.data(), 32);
}

} // namespace

TEST(Bundle, ReadsTheGoldenFile) {
  auto bundle = Bundle::open(NIBBLE_TEST_SOURCE "/golden-v1.nbl");
  ASSERT_TRUE(bool(bundle)) << bundle.status().message();
  const BundleIndex &index = (*bundle)->index();
  EXPECT_EQ(index.producer, "nibble golden");
  ASSERT_EQ(index.dims.size(), 3u);
  EXPECT_EQ(index.dims[1].name, "past");
  EXPECT_EQ(index.dims[1].min, 0);
  EXPECT_EQ(index.dims[1].max, 31);
  ASSERT_EQ(index.weights.size(), 2u);
  EXPECT_EQ(index.weights[0].bytes, 96u);
  EXPECT_EQ(index.weights[1].offset, 256u);
  EXPECT_EQ(index.weights[1].indexLimit, 6u);
  float value;
  std::memcpy(&value, (*bundle)->weight(0).data() + 4 * 23, 4);
  EXPECT_EQ(value, 11.5f);
  ASSERT_EQ(index.kernels.size(), 2u);
  EXPECT_EQ(index.kernels[1].name, "finish_2");
  EXPECT_EQ(index.kernels[1].bufferCount, 3u);
  EXPECT_EQ(index.kernels[1].scalarCount, 2u);
  ASSERT_EQ(index.entries.size(), 1u);
  const EntryPoint &entry = index.entries[0];
  EXPECT_EQ(entry.inputs[0].type, ElementType::signedInt(64));
  EXPECT_EQ(entry.outputs[1].shape[1],
            DimExpr::symbol("past") + DimExpr::symbol("seq"));
  EXPECT_EQ(entry.checks[0].limit, 6);
  EXPECT_EQ(entry.arenaBytes, 2048u);
  ASSERT_EQ(entry.steps.size(), 2u);
  EXPECT_EQ(entry.steps[0].buffers[3].offset, 256u);
  EXPECT_EQ(entry.steps[1].results, 2u);
  EXPECT_EQ(entry.steps[1].after, 0);
  EXPECT_EQ(entry.steps[1].scalars[0], DimExpr::symbol("past"));
  EXPECT_EQ(index.variants[0].target, "x86-64-v3");
  EXPECT_EQ(index.variants[0].kernelOffsets[1], 64u);
  EXPECT_EQ((*bundle)->code(index.variants[0]).size(), 65u);
  EXPECT_EQ(index.layers[0].bitsPerWeight, 4.625);
  ASSERT_TRUE(index.generation.has_value());
  EXPECT_EQ(index.generation->attentionMask, -1);
  EXPECT_EQ(index.generation->cache[0].first, 1u);
  EXPECT_EQ(index.tokenizer, test::bytesOf("TOK"));
  EXPECT_TRUE((*bundle)->verifyWeights().isOk());
}

TEST(Bundle, WritesTheGoldenFile) {
  EXPECT_TRUE(write(tinyContents(), "golden") == golden());
}

TEST(Bundle, WritesWhatItRead) {
  Parts parts;
  BundleContents contents = tinyContents();
  contents.index = parts.index;
  EXPECT_TRUE(write(contents, "again") == golden());
}

TEST(Bundle, OpensAnExecutable) {
  BundleContents contents = tinyContents();
  std::vector<std::byte> runner = test::bytesOf("#!/bin/sh\nexit 0\n");
  contents.runner = runner;
  std::string path = temporaryPath("exe");
  ASSERT_TRUE(writeBundle(path, contents).isOk());
  EXPECT_EQ(access(path.c_str(), X_OK), 0);
  auto bundle = Bundle::open(path);
  ASSERT_TRUE(bool(bundle)) << bundle.status().message();
  EXPECT_EQ((*bundle)->fileBytes(), golden().size());
  EXPECT_TRUE((*bundle)->verifyWeights().isOk());

  // A trailer that is damaged, or names another place, is refused.
  std::vector<std::byte> bytes = readFile(path);
  for (size_t at = bytes.size() - 56; at < bytes.size(); ++at) {
    bytes[at] ^= std::byte{1};
    Expected<std::optional<Trailer>> trailer = decodeTrailer(bytes);
    EXPECT_FALSE(bool(trailer)) << "byte " << at;
    bytes[at] ^= std::byte{1};
  }
  unlink(path.c_str());
}

TEST(Bundle, RefusesOtherFiles) {
  EXPECT_NE(parseError({}).find("less than its header"), std::string::npos);
  std::vector<std::byte> zeros(4096);
  EXPECT_NE(parseError(zeros).find("expected a Nibble bundle"),
            std::string::npos);
  EXPECT_FALSE(bool(Bundle::open("/nonexistent/model.nbl")));
  EXPECT_FALSE(bool(Bundle::open(NIBBLE_TEST_SOURCE)));
}

TEST(Bundle, RefusesOtherVersionsAndFeatures) {
  std::vector<std::byte> bytes = golden();
  bytes[8] = std::byte{2};
  EXPECT_NE(parseError(bytes).find("expected bundle version 1, found 2"),
            std::string::npos);
  bytes[8] = std::byte{1};
  bytes[16] = std::byte{8};
  rehash(bytes);
  EXPECT_NE(parseError(bytes).find("needs features"), std::string::npos);
  bytes[16] = std::byte{0};
  bytes[24] = std::byte{4}; // optional: ignored
  rehash(bytes);
  EXPECT_EQ(parseError(bytes), "");
}

TEST(Bundle, RefusesEveryTruncationAndExtension) {
  std::vector<std::byte> bytes = golden();
  for (size_t size = 0; size < bytes.size(); size += size < 4096 ? 1 : 4093) {
    std::vector<std::byte> part(bytes.begin(), bytes.begin() + size);
    EXPECT_NE(parseError(part), "") << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_NE(parseError(bytes), "");
}

TEST(Bundle, RefusesTruncatedIndices) {
  Parts parts;
  std::vector<std::byte> encoded = encodeIndex(parts.index);
  for (size_t size = 0; size < encoded.size(); ++size)
    EXPECT_FALSE(bool(decodeIndex(std::span(encoded).first(size), 0))) << size;
  encoded.push_back(std::byte{0});
  EXPECT_FALSE(bool(decodeIndex(encoded, 0)));
}

TEST(Bundle, VerifyFindsEveryChangedWeightByte) {
  std::vector<std::byte> bytes = golden();
  for (size_t at = 131072; at < bytes.size(); ++at) {
    bytes[at] ^= std::byte{0x20};
    auto bundle = Bundle::parse(bytes, nullptr);
    // Indices out of range are found when the bundle is opened.
    if (bundle) {
      EXPECT_FALSE((*bundle)->verifyWeights().isOk()) << at;
    } else {
      EXPECT_NE(bundle.status().message().find("weight 'order'"),
                std::string::npos)
          << bundle.status().message();
    }
    bytes[at] ^= std::byte{0x20};
  }
}

TEST(Bundle, EachRuleIsChecked) {
  struct Case {
    const char *name;
    void (*damage)(Parts &parts);
    const char *text;
  };
  auto exp = [](const char *text) { return *DimExpr::parse(text); };
  static auto expression = exp;
  const Case cases[] = {
      {"R1 twice", [](Parts &p) { p.index.dims[1].name = "seq"; }, "twice"},
      {"R1 order", [](Parts &p) { p.index.dims[0].min = 3; }, "bounds 3 to 2"},
      {"R1 negative", [](Parts &p) { p.index.dims[1].min = -1; }, "bounds -1"},
      {"R1 name", [](Parts &p) { p.index.dims[0].name = "a\nb"; },
       "control character"},
      {"R2 place", [](Parts &p) { p.index.variants[0].offset += 65536; },
       "starts at"},
      {"R2 size", [](Parts &p) { p.index.variants[0].bytes = UINT64_MAX; },
       "does not fit"},
      {"R2 weights", [](Parts &p) { p.index.weightOffset = 1; }, "starts at"},
      {"R2 weight bytes",
       [](Parts &p) { p.index.weightBytes = UINT64_MAX - 100; },
       "does not fit"},
      {"R2 short", [](Parts &p) { p.index.weightBytes -= 256; }, "ends at"},
      {"R3 count", [](Parts &p) { p.index.variants[0].kernelOffsets = {0}; },
       "expected 2"},
      {"R3 outside",
       [](Parts &p) { p.index.variants[0].kernelOffsets[1] = 65; }, "behind"},
      {"R3 hash", [](Parts &p) { p.code[0] = std::byte{0}; }, "hash"},
      {"R3 twice",
       [](Parts &p) { p.index.variants.push_back(p.index.variants[0]); },
       "twice"},
      {"R4 place", [](Parts &p) { p.index.weights[1].offset = 512; },
       "starts at"},
      {"R4 overlap", [](Parts &p) { p.index.weights[1].offset = 0; },
       "starts at"},
      {"R4 size", [](Parts &p) { p.index.weights[1].bytes = UINT64_MAX - 100; },
       "does not fit"},
      {"R4 width", [](Parts &p) { p.index.weights[1].indexBits = 12; },
       "expected 8, 16, 32 or 64"},
      {"R4 index", [](Parts &p) { p.weights[256] = std::byte{6}; },
       "index 6 is not below 6"},
      {"R4 negative", [](Parts &p) { p.weights[259] = std::byte{0x80}; },
       "is not below 6"},
      {"R5 type",
       [](Parts &p) {
         p.index.entries[0].inputs[0].type = ElementType::signedInt(3);
       },
       "element type"},
      {"R5 rank",
       [](Parts &p) { p.index.entries[0].outputs[0].shape.resize(9); },
       "at most 8"},
      {"R5 size",
       [](Parts &p) {
         p.index.entries[0].outputs[0].shape = {1ll << 31, 1ll << 31, 2};
       },
       "2^63"},
      {"R5 twice",
       [](Parts &p) { p.index.entries[0].inputs[1].name = "input_ids"; },
       "twice"},
      {"R5 dimension",
       [](Parts &p) {
         p.index.entries[0].inputs[0].shape[0] = expression("other");
       },
       "other"},
      {"R6 kernel", [](Parts &p) { p.index.entries[0].steps[0].kernel = 2; },
       "no kernel 2"},
      {"R6 buffers",
       [](Parts &p) { p.index.entries[0].steps[0].buffers.pop_back(); },
       "takes 4 buffers"},
      {"R6 scalars", [](Parts &p) { p.index.entries[0].steps[1].scalars = {}; },
       "and 2 scalars"},
      {"R6 results", [](Parts &p) { p.index.entries[0].steps[0].results = 5; },
       "more results"},
      {"R6 after", [](Parts &p) { p.index.entries[0].steps[1].after = 1; },
       "waits for step 1"},
      {"R7 symbol",
       [](Parts &p) {
         p.index.entries[0].steps[0].tasks = expression("other");
       },
       "other"},
      {"R8 arena", [](Parts &p) { p.index.entries[0].arenaBytes = 1279; },
       "not inside the arena"},
      {"R8 aligned",
       [](Parts &p) { p.index.entries[0].steps[0].buffers[3].offset = 64; },
       "multiple of 256"},
      {"R8 overflow",
       [](Parts &p) {
         p.index.entries[0].steps[0].buffers[3].offset = UINT64_MAX - 255;
       },
       "not inside the arena"},
      {"R8 weight",
       [](Parts &p) { p.index.entries[0].steps[0].buffers[1].bytes = 97; },
       "reads 97 bytes"},
      {"R8 no weight",
       [](Parts &p) { p.index.entries[0].steps[0].buffers[1].index = 2; },
       "no weight 2"},
      {"R8 no input",
       [](Parts &p) { p.index.entries[0].steps[0].buffers[0].index = 2; },
       "no input 2"},
      {"R8 written weight",
       [](Parts &p) { p.index.entries[0].steps[0].results = 2; }, "written"},
      {"R9 entry", [](Parts &p) { p.index.generation->entry = "x"; }, "'x'"},
      {"R9 port", [](Parts &p) { p.index.generation->tokens = 2; },
       "not there"},
      {"R9 tokens", [](Parts &p) { p.index.generation->tokens = -1; },
       "not there"},
      {"R9 cache", [](Parts &p) { p.index.generation->cache[0].second = 7; },
       "cache that is not there"},
      {"R9 type",
       [](Parts &p) {
         p.index.entries[0].inputs[1].type = ElementType::float64();
       },
       "differ in type"},
      {"R9 cache of tokens",
       [](Parts &p) { p.index.generation->cache[0].first = 0; },
       "a cache two parts"},
      {"R9 mask of tokens",
       [](Parts &p) { p.index.generation->attentionMask = 0; },
       "'input_ids' two parts"},
      {"R9 small tokens",
       [](Parts &p) {
         p.index.entries[0].checks.clear();
         p.index.entries[0].inputs[0].type = ElementType::signedInt(4);
       },
       "too small"},
      {"R9 dimension", [](Parts &p) { p.index.generation->pastDim = ""; },
       "past dimension"},
      {"R10 input", [](Parts &p) { p.index.entries[0].checks[0].input = 2; },
       "names input 2"},
      {"R10 type", [](Parts &p) { p.index.entries[0].checks[0].input = 1; },
       "expects integers"},
      {"R10 width",
       [](Parts &p) {
         p.index.entries[0].inputs[0].type = ElementType::signedInt(4);
       },
       "integers of whole bytes"},
      {"R10 order", [](Parts &p) { p.index.entries[0].checks[0].min = 7; },
       "minimum above"},
  };
  EXPECT_EQ(Parts().error(), "");
  for (const Case &each : cases) {
    Parts parts;
    each.damage(parts);
    EXPECT_NE(parts.error().find(each.text), std::string::npos)
        << each.name << ": " << parts.error();
  }
}

TEST(Bundle, ReadsAndWritesDefinitions) {
  Parts parts("golden-v1-sizes.nbl");
  const EntryPoint &entry = parts.index.entries[0];
  EXPECT_EQ(parts.index.dims[1].name, "hits");
  EXPECT_EQ(entry.steps[0].defines, std::vector<uint32_t>{1});
  EXPECT_TRUE(entry.steps[1].defines.empty());
  EXPECT_EQ(entry.outputs[2].shape[0], DimExpr::symbol("hits"));
  EXPECT_TRUE(write(test::sizesContents(), "sizes") ==
              golden("golden-v1-sizes.nbl"));
  // Without the feature, the index goes on after its last field; with it, the
  // other one ends too early.
  std::vector<std::byte> encoded = encodeIndex(parts.index);
  EXPECT_FALSE(bool(decodeIndex(encoded, 0)));
  for (size_t size = encoded.size() - 32; size < encoded.size(); ++size)
    EXPECT_FALSE(
        bool(decodeIndex(std::span(encoded).first(size), featureDefinitions)));
  EXPECT_FALSE(
      bool(decodeIndex(encodeIndex(Parts().index), featureDefinitions)));
}

TEST(Bundle, ReadsAndWritesStates) {
  Parts parts("golden-v1-states.nbl");
  ASSERT_EQ(parts.index.states.size(), 1u);
  EXPECT_EQ(parts.index.states[0].name, "key_0");
  EXPECT_EQ(parts.index.states[0].type, ElementType::float32());
  EXPECT_EQ(parts.index.states[0].shape,
            (std::vector<DimExpr>{DimExpr::symbol("batch"), 32}));
  ASSERT_TRUE(parts.index.decoder.has_value());
  EXPECT_EQ(parts.index.decoder->prefill, "prefill");
  EXPECT_EQ(parts.index.decoder->decode, "decode");
  EXPECT_EQ(parts.index.decoder->capacity, 32);
  const Step &step = parts.index.entries[2].steps[0];
  EXPECT_EQ(step.buffers[4].kind, BufferRef::Kind::State);
  EXPECT_TRUE(write(test::statesContents(), "states") ==
              golden("golden-v1-states.nbl"));
  std::vector<std::byte> encoded = encodeIndex(parts.index);
  EXPECT_FALSE(bool(decodeIndex(encoded, 0)));
  for (size_t size = encoded.size() - 60; size < encoded.size(); ++size)
    EXPECT_FALSE(
        bool(decodeIndex(std::span(encoded).first(size), featureStates)));
  EXPECT_FALSE(bool(decodeIndex(encodeIndex(Parts().index), featureStates)));
}

TEST(Bundle, EachRuleOfStatesIsChecked) {
  struct Case {
    const char *name;
    void (*damage)(BundleIndex &index);
    const char *text;
  };
  static auto seq = DimExpr::symbol("seq");
  const Case cases[] = {
      {"R12 none", [](BundleIndex &i) { i.states.clear(); },
       "states are none, though the header announces them"},
      {"R12 twice", [](BundleIndex &i) { i.states.push_back(i.states[0]); },
       "state 'key_0' is there twice"},
      {"R12 type",
       [](BundleIndex &i) { i.states[0].type = ElementType::signedInt(3); },
       "state 'key_0': has an element type that states cannot have"},
      {"R12 rank", [](BundleIndex &i) { i.states[0].shape.resize(9); },
       "at most 8"},
      {"R12 size",
       [](BundleIndex &i) { i.states[0].shape = {1ll << 31, 1ll << 31, 2}; },
       "2^63"},
      {"R12 dimension",
       [](BundleIndex &i) { i.states[0].shape = {*DimExpr::parse("other")}; },
       "other"},
      {"R8 no state",
       [](BundleIndex &i) { i.entries[1].steps[0].buffers[3].index = 1; },
       "there is no state 1"},
      {"R8 offset",
       [](BundleIndex &i) { i.entries[1].steps[0].buffers[3].offset = 256; },
       "has an offset outside the arena"},
      {"R12 bytes",
       [](BundleIndex &i) { i.entries[1].steps[0].buffers[3].bytes = 257; },
       "uses 257 bytes of state 'key_0', which has 256"},
      {"R13 entry", [](BundleIndex &i) { i.decoder->decode = "x"; },
       "the decoder names entry point 'x'"},
      {"R13 capacity", [](BundleIndex &i) { i.decoder->capacity = 0; },
       "a cache of 0 tokens"},
      {"R13 inputs", [](BundleIndex &i) { i.decoder->decode = "prefill"; },
       "the decoder's decode: expected 2 inputs and one output, found 3 and 1"},
      {"R13 input type",
       [](BundleIndex &i) {
         i.entries[2].inputs[1].type = ElementType::signedInt(32);
       },
       "expected input 'past_lengths' of 64-bit integers"},
      {"R13 tokens",
       [](BundleIndex &i) { i.entries[1].inputs[0].shape.pop_back(); },
       "expected tokens of the shape"},
      {"R13 one token",
       [](BundleIndex &i) { i.entries[2].inputs[0].shape[1] = seq; },
       "expected one token of each sequence"},
      {"R13 length",
       [](BundleIndex &i) { i.entries[1].inputs[0].shape[1] = 32; },
       "expected a length that is a dimension"},
      {"R13 last",
       [](BundleIndex &i) { i.entries[1].inputs[2].shape[0] = seq; },
       "expected input 'last' of the shape [batch]"},
      {"R13 logits",
       [](BundleIndex &i) { i.entries[1].outputs[0].shape[0] = 2; },
       "expected logits in f32 of the shape [batch, vocabulary]"},
      {"R13 vocabulary",
       [](BundleIndex &i) { i.entries[2].outputs[0].shape[1] = 7; },
       "expected the logits of its prefill"},
  };
  EXPECT_EQ(Parts("golden-v1-states.nbl").error(), "");
  for (const Case &each : cases) {
    Parts parts("golden-v1-states.nbl");
    each.damage(parts.index);
    EXPECT_NE(parts.error().find(each.text), std::string::npos)
        << each.name << ": " << parts.error();
  }
}

TEST(Bundle, ReadsAndWritesCuda) {
  Parts parts("golden-v1-cuda.nbl");
  ASSERT_TRUE(parts.index.cuda.has_value());
  const CudaSection &cuda = *parts.index.cuda;
  ASSERT_EQ(cuda.kernels.size(), 2u);
  const CudaKernel &gather = cuda.kernels[0];
  EXPECT_EQ(gather.name, "gather_5");
  EXPECT_EQ(gather.bufferCount, 4u);
  ASSERT_EQ(gather.launches.size(), 2u);
  EXPECT_EQ(gather.launches[0].target, "sm_90a");
  EXPECT_EQ(gather.launches[0].over, DimExpr::symbol("d0"));
  EXPECT_EQ(gather.launches[0].upTo, 8);
  EXPECT_FALSE(gather.launches[0].workspace.has_value());
  EXPECT_FALSE(gather.launches[1].upTo.has_value());
  EXPECT_EQ(*gather.launches[1].workspace, DimExpr::symbol("d0") * 512);
  const CudaCall &call = gather.launches[1].calls[0];
  EXPECT_EQ(call.function, "gather_blocks");
  EXPECT_EQ(call.grid[0].str(), "floordiv(d0 + 31, 32)");
  EXPECT_EQ(call.grid[1].asConstant(), 2);
  EXPECT_EQ(call.block[1], 4u);
  EXPECT_EQ(call.sharedBytes, 65536u);
  ASSERT_EQ(cuda.programs.size(), 1u);
  EXPECT_EQ(cuda.programs[0].arenaBytes, 4096u);
  EXPECT_EQ(cuda.programs[0].steps[0].buffers[2].index, 2u);
  EXPECT_EQ(cuda.images[0].target, "sm_90a");
  EXPECT_TRUE(cuda.images[1].isPtx);
  EXPECT_EQ(parts.images[0], test::bytesOf("cubin"));
  EXPECT_TRUE(write(test::cudaContents(), "cuda") ==
              golden("golden-v1-cuda.nbl"));
  std::vector<std::byte> encoded = encodeIndex(parts.index);
  EXPECT_FALSE(bool(decodeIndex(encoded, 0)));
  for (size_t size = encoded.size() - 600; size < encoded.size(); ++size)
    EXPECT_FALSE(
        bool(decodeIndex(std::span(encoded).first(size), featureCuda)));
  EXPECT_FALSE(bool(decodeIndex(encodeIndex(Parts().index), featureCuda)));
}

TEST(Bundle, EqualWeightsAreStoredOnceForGpus) {
  Parts parts("golden-v1-cuda.nbl");
  EXPECT_EQ(parts.index.weights[2].offset, parts.index.weights[1].offset);
  auto bundle = Bundle::parse(parts.bytes, nullptr);
  EXPECT_TRUE((*bundle)->verifyWeights().isOk());
  EXPECT_EQ((*bundle)->weight(2).data(), (*bundle)->weight(1).data());
  // Bundles for processors alone stay as older readers know them.
  BundleContents contents = test::cudaContents();
  contents.index.cuda.reset();
  contents.cudaImages.clear();
  std::vector<std::byte> bytes = write(contents, "twice");
  bundle = Bundle::parse(bytes, nullptr);
  ASSERT_TRUE(bool(bundle)) << bundle.status().message();
  EXPECT_EQ((*bundle)->index().weights[2].offset, 512u);
}

TEST(Bundle, ProgramsForGpusAlone) {
  BundleContents contents = test::cudaContents();
  BundleIndex &index = contents.index;
  index.variants.clear();
  index.kernels.clear();
  index.entries[0].steps.clear();
  index.entries[0].arenaBytes = 0;
  contents.images.clear();
  std::vector<std::byte> bytes = write(contents, "gpu");
  auto bundle = Bundle::parse(bytes, nullptr);
  ASSERT_TRUE(bool(bundle)) << bundle.status().message();
  EXPECT_EQ((*bundle)->index().cuda->programs[0].steps.size(), 2u);
}

TEST(Bundle, ProgramsForGpusDefineDimensions) {
  BundleContents contents = test::sizesContents();
  BundleIndex &index = contents.index;
  CudaSection &cuda = index.cuda.emplace();
  for (const KernelEntry &kernel : index.kernels) {
    CudaKernel &own = cuda.kernels.emplace_back();
    static_cast<KernelEntry &>(own) = kernel;
    own.launches.resize(1);
    own.launches[0].calls = {{"f", {1, 1, 1}, {1, 1, 1}, 0}};
  }
  cuda.programs = {index.entries[0]};
  for (Step &step : cuda.programs[0].steps)
    step.tasks = 1;
  cuda.images.resize(1);
  cuda.images[0].target = "sm_80";
  contents.cudaImages = {test::bytesOf("cubin")};
  std::vector<std::byte> bytes = write(contents, "defines");
  auto bundle = Bundle::parse(bytes, nullptr);
  ASSERT_TRUE(bool(bundle)) << bundle.status().message();
  const Program &program = (*bundle)->index().cuda->programs[0];
  EXPECT_EQ(program.steps[0].defines, std::vector<uint32_t>{1});
  contents.index.cuda->programs[0].steps[1].after = -1;
  EXPECT_NE(writeBundle(temporaryPath("none"), contents)
                .message()
                .find("CUDA program of 'main': step 1: uses dimension 'hits'"),
            std::string::npos);
}

TEST(Bundle, EachRuleOfCudaIsChecked) {
  struct Case {
    const char *name;
    void (*damage)(BundleIndex &index);
    const char *text;
  };
  static auto d0 = DimExpr::symbol("d0"), seq = DimExpr::symbol("seq");
  static auto call = [](BundleIndex &index) -> CudaCall & {
    return index.cuda->kernels[0].launches[1].calls[0];
  };
  const Case cases[] = {
      {"R2 place", [](BundleIndex &i) { i.cuda->images[1].offset += 65536; },
       "PTX for 'sm_80' starts at"},
      {"R4 repeated bytes", [](BundleIndex &i) { i.weights[2].bytes = 8; },
       "weight 'order on a GPU' starts at"},
      {"R4 repeated hash", [](BundleIndex &i) { i.weights[2].digest[0] ^= 1; },
       "weight 'order on a GPU' starts at"},
      {"R14 none", [](BundleIndex &i) { i.cuda->images.clear(); },
       "expected a CUDA image, found none"},
      {"R14 target", [](BundleIndex &i) { i.cuda->images[0].target = "sm_9"; },
       "a CUDA image is for 'sm_9'"},
      {"R14 letter",
       [](BundleIndex &i) { i.cuda->images[0].target = "sm_90b"; },
       "a CUDA image is for 'sm_90b'"},
      {"R14 twice",
       [](BundleIndex &i) {
         i.cuda->images[0].target = "sm_80";
         i.cuda->images[0].isPtx = true;
       },
       "PTX for 'sm_80' is there twice"},
      {"R14 hash", [](BundleIndex &i) { i.cuda->images[0].digest[0] ^= 1; },
       "the code for 'sm_90a' is damaged"},
      {"R15 count", [](BundleIndex &i) { i.cuda->programs.clear(); },
       "a CUDA program for each of 1 entry points, found 0"},
      {"R15 tasks",
       [](BundleIndex &i) { i.cuda->programs[0].steps[0].tasks = seq; },
       "has a step of seq tasks, expected 1"},
      {"R15 names",
       [](BundleIndex &i) { i.cuda->kernels[1].name = "gather_5"; },
       "CUDA kernel 'gather_5' is there twice"},
      {"R6 kernel",
       [](BundleIndex &i) { i.cuda->programs[0].steps[0].kernel = 2; },
       "CUDA program of 'main': step 0: there is no kernel 2"},
      {"R6 buffers", [](BundleIndex &i) { i.cuda->kernels[0].bufferCount = 3; },
       "takes 3 buffers"},
      {"R8 arena", [](BundleIndex &i) { i.cuda->programs[0].arenaBytes = 512; },
       "not inside the arena"},
      {"R16 target",
       [](BundleIndex &i) {
         i.cuda->kernels[0].launches[0].target = "sm_100a";
       },
       "a launch is for 'sm_100a', of which there is no image"},
      {"R16 no last",
       [](BundleIndex &i) { i.cuda->kernels[1].launches[0].upTo = 4; },
       "expected a last launch for 'sm_80' that is always taken"},
      {"R16 none for a target",
       [](BundleIndex &i) { i.cuda->kernels[1].launches[0].target = "sm_90a"; },
       "expected a last launch for 'sm_80' that is always taken"},
      {"R16 hidden",
       [](BundleIndex &i) { i.cuda->kernels[0].launches[0].upTo.reset(); },
       "launch 0 for 'sm_90a' hides the next"},
      {"R16 order",
       [](BundleIndex &i) {
         auto &launches = i.cuda->kernels[0].launches;
         launches.insert(launches.begin(), launches[0]);
       },
       "launch 1 for 'sm_90a' hides the next"},
      {"R16 no call",
       [](BundleIndex &i) { i.cuda->kernels[1].launches[0].calls.clear(); },
       "launch 0: calls no function"},
      {"R16 function", [](BundleIndex &i) { call(i).function = ""; },
       "a function has no name"},
      {"R16 block", [](BundleIndex &i) { call(i).block[2] = 65; },
       "blocks of 65 threads in dimension 2, expected 1 to 64"},
      {"R16 no block", [](BundleIndex &i) { call(i).block[0] = 0; },
       "blocks of 0 threads in dimension 0"},
      {"R16 threads", [](BundleIndex &i) { call(i).block = {512, 4, 1}; },
       "blocks of 2048 threads, expected at most 1024"},
      {"R16 shared", [](BundleIndex &i) { call(i).sharedBytes = 232449; },
       "uses 232449 bytes of shared memory, expected at most 232448"},
      {"R16 scalar", [](BundleIndex &i) { call(i).grid[0] = seq; },
       "uses 'seq', expected a scalar of the kernel"},
      {"R16 no scalar",
       [](BundleIndex &i) {
         i.cuda->kernels[0].launches[1].workspace = DimExpr::symbol("d1");
       },
       "uses 'd1', expected a scalar of the kernel"},
      {"R16 grid", [](BundleIndex &i) { call(i).grid[1] = d0 * 2048; },
       "a grid of up to 65536 blocks in dimension 1, expected at most 65535"},
      {"R16 bounds", [](BundleIndex &i) { call(i).grid[0] = d0 * INT64_MAX; },
       "grid of"},
  };
  EXPECT_EQ(Parts("golden-v1-cuda.nbl").error(), "");
  for (const Case &each : cases) {
    Parts parts("golden-v1-cuda.nbl");
    each.damage(parts.index);
    EXPECT_NE(parts.error().find(each.text), std::string::npos)
        << each.name << ": " << parts.error();
  }
  // A kernel that no step uses is checked as well.
  Parts parts("golden-v1-cuda.nbl");
  CudaKernel unused;
  unused.name = "unused";
  unused.scalarCount = UINT32_MAX;
  parts.index.cuda->kernels.push_back(unused);
  EXPECT_NE(parts.error().find("takes 0 buffers and 4294967295 scalars, "
                               "expected at most 511 together"),
            std::string::npos)
      << parts.error();
}

TEST(Bundle, KnowsTargetsOfGpus) {
  auto isTarget = [](const char *target, bool isPtx) {
    return architectureOf({.target = target, .isPtx = isPtx}).has_value();
  };
  for (const char *target : {"sm_80", "sm_90a", "sm_100f", "sm_1200"})
    EXPECT_TRUE(isTarget(target, false) && isTarget(target, true)) << target;
  EXPECT_TRUE(isTarget("compute_80", true));
  EXPECT_FALSE(isTarget("compute_80", false));
  for (const char *target : {"", "sm_", "sm_9", "sm_a", "sm_90b", "sm_90aa",
                             "sm_12000", "sm_ 90", "x86-64-v3", "compute_"})
    EXPECT_FALSE(isTarget(target, true)) << target;
  auto hopper = architectureOf({.target = "sm_90a"});
  EXPECT_EQ(hopper->capability, 90u);
  EXPECT_EQ(hopper->letter, 'a');
  EXPECT_EQ(architectureOf({.target = "sm_120"})->letter, 0);
}

TEST(Bundle, GridsAreCheckedAtTheSizesOfTheirLaunch) {
  // seq is 1 to 32: the first launch is for 1 to 8, the second for 9 to 32.
  Parts parts("golden-v1-cuda.nbl");
  std::vector<CudaLaunch> &launches = parts.index.cuda->kernels[0].launches;
  DimExpr d0 = DimExpr::symbol("d0");
  launches[0].calls[0].grid = {1, d0 * 8191, 1};
  launches[0].workspace = d0 * 4096;
  EXPECT_EQ(parts.error(), "");
  auto workspace = [&](const char *target) {
    return *maxWorkspaceBytes(*parts.index.cuda, parts.index.dims, target);
  };
  EXPECT_EQ(workspace("sm_90a"), 8 * 4096u);
  EXPECT_EQ(workspace("sm_80"), 32 * 512u);
  launches[0].calls[0].grid = {1, d0 * 8192, 1};
  EXPECT_NE(parts.error().find("up to 65536 blocks"), std::string::npos);
  // What no size reaches is not checked.
  parts.index.dims[2].min = 9;
  EXPECT_EQ(parts.error(), "");
  EXPECT_EQ(workspace("sm_90a"), 32 * 512u);
}

TEST(Bundle, DefinitionsAreRecordsInOrder) {
  // The record ends the index: how many, entry point, step, how many,
  // dimension.
  std::vector<std::byte> encoded =
      encodeIndex(Parts("golden-v1-sizes.nbl").index);
  auto error = [&](size_t field, uint32_t value) {
    std::vector<std::byte> changed = encoded;
    std::memcpy(changed.data() + changed.size() - 20 + 4 * field, &value, 4);
    auto index = decodeIndex(changed, featureDefinitions);
    return index ? "" : index.status().message();
  };
  EXPECT_EQ(error(0, 1), "");
  EXPECT_NE(error(0, 0).find("are none, though"), std::string::npos);
  EXPECT_NE(error(0, 2).find("counts 2 records"), std::string::npos);
  EXPECT_NE(error(1, 1).find("not there or not in order"), std::string::npos);
  EXPECT_NE(error(2, 2).find("not there or not in order"), std::string::npos);
  EXPECT_NE(error(3, 0).find("are none"), std::string::npos);
  // The same step twice.
  std::vector<std::byte> twice = encoded;
  twice.insert(twice.end(), encoded.end() - 16, encoded.end());
  uint32_t two = 2;
  std::memcpy(twice.data() + encoded.size() - 20, &two, 4);
  auto index = decodeIndex(twice, featureDefinitions);
  ASSERT_FALSE(bool(index));
  EXPECT_NE(index.status().message().find("not in order"), std::string::npos);
}

TEST(Bundle, EachRuleOfDefinitionsIsChecked) {
  struct Case {
    const char *name;
    void (*damage)(EntryPoint &entry);
    const char *text;
  };
  static auto hits = DimExpr::symbol("hits");
  const Case cases[] = {
      {"dimension", [](EntryPoint &e) { e.steps[0].defines = {4}; },
       "defines dimension 4 of 4"},
      {"twice", [](EntryPoint &e) { e.steps[0].defines = {1, 1}; },
       "which has a value"},
      {"two steps",
       [](EntryPoint &e) {
         e.steps.insert(e.steps.begin(), e.steps.front());
         e.steps[2].after = 1;
       },
       "which has a value"},
      {"results", [](EntryPoint &e) { e.steps[0].results = 0; },
       "last result has to be 8 bytes in the arena"},
      {"kind",
       [](EntryPoint &e) {
         e.steps[0].buffers[4] = {BufferRef::Kind::Output, 2, 0, 8};
       },
       "last result has to be 8 bytes in the arena"},
      {"bytes", [](EntryPoint &e) { e.steps[0].buffers[4].bytes = 16; },
       "last result has to be 8 bytes in the arena"},
      {"input", [](EntryPoint &e) { e.inputs[1].shape[1] = hits; },
       "input 'past_0' has dimension 'hits', which a step defines"},
      {"itself", [](EntryPoint &e) { e.steps[0].scalars[0] = hits; },
       "step 0: uses dimension 'hits' and does not wait for step 0"},
      {"tasks", [](EntryPoint &e) { e.steps[0].tasks = hits; },
       "step 0: uses dimension 'hits'"},
      {"order", [](EntryPoint &e) { e.steps[1].after = -1; },
       "step 1: uses dimension 'hits' and does not wait for step 0"},
      {"output",
       [](EntryPoint &e) {
         e.steps[0].buffers[3] = {BufferRef::Kind::Output, 2, 0, 8};
       },
       "step 0: uses dimension 'hits'"},
  };
  EXPECT_EQ(Parts("golden-v1-sizes.nbl").error(), "");
  for (const Case &each : cases) {
    Parts parts("golden-v1-sizes.nbl");
    each.damage(parts.index.entries[0]);
    EXPECT_NE(parts.error().find(each.text), std::string::npos)
        << each.name << ": " << parts.error();
  }
}

TEST(Bundle, WriterRefusesWhatTheReaderWould) {
  BundleContents contents = tinyContents();
  contents.index.entries[0].steps[0].kernel = 9;
  std::string path = temporaryPath("refused");
  Status status = writeBundle(path, contents);
  EXPECT_NE(status.message().find("no kernel 9"), std::string::npos);
  EXPECT_NE(access(path.c_str(), F_OK), 0) << "left a file behind";
}

TEST(Bundle, NonZeroPaddingIsRefused) {
  std::vector<std::byte> bytes = golden();
  bytes[65535] = std::byte{1}; // between index and code
  EXPECT_NE(parseError(bytes).find("between its segments"), std::string::npos);
  bytes = golden();
  bytes[131071] = std::byte{1}; // between code and weights
  EXPECT_NE(parseError(bytes).find("between its segments"), std::string::npos);
}

/// Random damage. With fresh checksums it reaches the checks behind them.
static void mutate(const std::string &name, bool withChecksums,
                   unsigned count) {
  const std::vector<std::byte> original = golden(name);
  uint64_t indexBytes;
  std::memcpy(&indexBytes, original.data() + 48, 8);
  std::mt19937 random(withChecksums ? 7 : 8);
  unsigned accepted = 0;
  for (unsigned round = 0; round < count; ++round) {
    std::vector<std::byte> bytes = original;
    unsigned changes = 1 + random() % 3;
    for (unsigned i = 0; i < changes; ++i) {
      size_t at = random() % (headerBytes + indexBytes);
      switch (random() % 4) {
      case 0:
        bytes[at] = static_cast<std::byte>(random());
        break;
      case 1:
        bytes[at] ^= static_cast<std::byte>(1u << random() % 8);
        break;
      case 2: // an interesting number
        for (size_t j = at; j < at + 4 && j < bytes.size(); ++j)
          bytes[j] = std::byte{0xff};
        break;
      case 3: { // bytes from elsewhere in the index
        size_t from = random() % (headerBytes + indexBytes);
        std::memmove(bytes.data() + at, bytes.data() + from,
                     std::min<size_t>(random() % 32, bytes.size() - at));
        break;
      }
      }
    }
    if (withChecksums)
      rehash(bytes);
    auto bundle = Bundle::parse(bytes, nullptr);
    if (!bundle)
      continue;
    ++accepted;
    (void)(*bundle)->verifyWeights().isOk();
  }
  // A name or a scheme may be changed without any harm; most fields may not.
  if (withChecksums)
    EXPECT_LT(accepted, count / 2);
  else
    EXPECT_LT(accepted, count / 100 + 1);
}

TEST(Bundle, RandomDamageIsFound) {
  mutate("golden-v1.nbl", /*withChecksums=*/false, 1000);
}
TEST(Bundle, RandomDamageWithChecksumsNeverCrashes) {
  mutate("golden-v1.nbl", /*withChecksums=*/true, 3000);
  mutate("golden-v1-sizes.nbl", /*withChecksums=*/true, 3000);
  mutate("golden-v1-states.nbl", /*withChecksums=*/true, 3000);
  mutate("golden-v1-cuda.nbl", /*withChecksums=*/true, 3000);
}
