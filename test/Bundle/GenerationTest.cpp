//===- GenerationTest.cpp - Which port plays which part -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Bundle/Generation.h"

#include <gtest/gtest.h>

using namespace nibble;

namespace {

Port port(const std::string &name, ElementType type,
          const std::vector<std::string> &dims) {
  Port result{name, type, {}};
  for (const std::string &dim : dims)
    result.shape.push_back(*DimExpr::parse(dim));
  return result;
}

Port integers(const std::string &name, const std::vector<std::string> &dims) {
  return port(name, ElementType::signedInt(64), dims);
}

Port floats(const std::string &name, const std::vector<std::string> &dims) {
  return port(name, ElementType::float32(), dims);
}

/// The form that text-generation-with-past exports have.
EntryPoint withPast() {
  EntryPoint entry;
  entry.name = "main";
  entry.inputs = {integers("input_ids", {"b", "s"}),
                  integers("attention_mask", {"b", "p + s"}),
                  integers("position_ids", {"b", "s"}),
                  floats("past.0.key", {"b", "4", "p", "8"}),
                  floats("past.0.value", {"b", "4", "p", "8"})};
  entry.outputs = {floats("logits", {"b", "s", "512"}),
                   floats("present.0.key", {"b", "4", "p + s", "8"}),
                   floats("present.0.value", {"b", "4", "p + s", "8"})};
  return entry;
}

TEST(Generation, HalfPrecisionLogits) {
  for (ElementType type : {ElementType::float16(), ElementType::bfloat16()}) {
    EntryPoint entry = withPast();
    entry.outputs[0].type = type;
    auto info = findGeneration(entry);
    ASSERT_TRUE(info);
    EXPECT_EQ(info->logits, 0);
  }
}

TEST(Generation, CompanionInputs) {
  EntryPoint entry = withPast();
  auto info = findGeneration(entry);
  ASSERT_TRUE(info);
  Expected<Tensor> mask = companionInput(entry, *info, 1, 2, 3);
  Expected<Tensor> positions = companionInput(entry, *info, 2, 2, 3);
  Expected<Tensor> cache = companionInput(entry, *info, 3, 2, 3);
  ASSERT_TRUE(mask && positions && cache);
  EXPECT_EQ(mask->shape(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(cache->shape(), (std::vector<int64_t>{2, 4, 0, 8}));
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_EQ(mask->integerAt(i), 1);
    EXPECT_EQ(positions->integerAt(i), i % 3);
  }
}

TEST(Generation, WithoutCache) {
  EntryPoint entry;
  entry.name = "main";
  entry.inputs = {integers("input_ids", {"b", "s"})};
  entry.outputs = {floats("logits", {"b", "s", "512"})};
  auto info = findGeneration(entry);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->entry, "main");
  EXPECT_EQ(info->tokens, 0);
  EXPECT_EQ(info->attentionMask, -1);
  EXPECT_EQ(info->positions, -1);
  EXPECT_EQ(info->logits, 0);
  EXPECT_EQ(info->sequenceDim, "s");
  EXPECT_EQ(info->pastDim, "");
  EXPECT_TRUE(info->cache.empty());
}

TEST(Generation, WithCache) {
  auto info = findGeneration(withPast());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->attentionMask, 1);
  EXPECT_EQ(info->positions, 2);
  EXPECT_EQ(info->pastDim, "p");
  using Pairs = std::vector<std::pair<uint32_t, uint32_t>>;
  EXPECT_EQ(info->cache, (Pairs{{3, 1}, {4, 2}}));
}

TEST(Generation, CacheOfKeysAndValuesTogether) {
  EntryPoint entry = withPast();
  entry.inputs.resize(3);
  entry.inputs.push_back(floats("past_0", {"2", "b", "4", "p", "8"}));
  entry.outputs.resize(1);
  entry.outputs.push_back(floats("present_0", {"2", "b", "4", "p + s", "8"}));
  auto info = findGeneration(entry);
  ASSERT_TRUE(info);
  ASSERT_EQ(info->cache.size(), 1u);
}

TEST(Generation, LogitsAmongOthers) {
  EntryPoint entry = withPast();
  entry.outputs.insert(entry.outputs.begin(),
                       floats("hidden", {"b", "s", "64"}));
  entry.outputs.push_back(floats("last_hidden", {"b", "s", "64"}));
  auto info = findGeneration(entry);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->logits, 1);
}

TEST(Generation, NoLanguageModel) {
  EntryPoint noTokens = withPast();
  noTokens.inputs[0].name = "pixels";
  EXPECT_FALSE(findGeneration(noTokens));

  EntryPoint fixedLength = withPast();
  fixedLength.inputs[0] = integers("input_ids", {"b", "16"});
  EXPECT_FALSE(findGeneration(fixedLength));

  EntryPoint noLogits = withPast();
  noLogits.outputs[0] = floats("logits", {"b", "512"});
  EXPECT_FALSE(findGeneration(noLogits));

  EntryPoint unknownInput = withPast();
  unknownInput.inputs.push_back(floats("speaker", {"b", "16"}));
  EXPECT_FALSE(findGeneration(unknownInput));

  // A cache input without the output that would become its next value.
  EntryPoint lostCache = withPast();
  lostCache.outputs.pop_back();
  EXPECT_FALSE(findGeneration(lostCache));

  EXPECT_FALSE(findGeneration(EntryPoint()));
}

} // namespace
