//===- SessionTest.cpp - Running programs by hand ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestBundle.h"

#include "nibble/Runtime/Session.h"
#include "nibble/Runtime/Variant.h"

#include "gtest/gtest.h"

#include <cstring>
#include <numeric>
#include <sched.h>
#include <thread>

using namespace nibble;
using namespace nibble::test;

namespace {

std::unique_ptr<Session>
makeSession(const std::string &entry, unsigned threads = 1,
            BundleContents (*contents)() = arithmeticContents) {
  SessionOptions options;
  options.entry = entry;
  options.threads = threads;
  auto session = Session::create(openTemporary(contents()), options);
  EXPECT_TRUE(bool(session)) << session.status().message();
  return session.take();
}

Tensor ids(std::vector<int64_t> values) {
  Tensor tensor = Tensor::allocate(ElementType::signedInt(64),
                                   {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.asMutable<int64_t>().begin());
  return tensor;
}

bool contains(const Status &status, const std::string &text) {
  return status.message().find(text) != std::string::npos;
}

} // namespace

TEST(Session, RunsStepsThroughTheArena) {
  for (unsigned threads : {1u, 2u, 3u}) {
    auto session = makeSession("twice", threads);
    EXPECT_EQ(session->threads(), threads);
    for (int64_t rows : {1, 64, 7}) {
      std::vector<float> x(rows * 3);
      std::iota(x.begin(), x.end(), -5.0f);
      int64_t shape[] = {rows, 3};
      ASSERT_TRUE(session->setInput(0, x.data(), shape).isOk());
      Status status = session->run();
      ASSERT_TRUE(status.isOk()) << status.message();
      Tensor y = session->output(0);
      ASSERT_EQ(y.shape(), (std::vector<int64_t>{rows, 3}));
      for (size_t i = 0; i < x.size(); ++i)
        EXPECT_EQ(y.as<float>()[i], 4 * x[i]);
    }
  }
}

TEST(Session, TakesEmptyInputs) {
  auto session = makeSession("twice");
  int64_t shape[] = {0, 3};
  ASSERT_TRUE(session->setInput(0, nullptr, shape).isOk());
  Status status = session->run();
  ASSERT_TRUE(status.isOk()) << status.message();
  EXPECT_EQ(session->output(0).size(), 0u);
  EXPECT_NE(session->output(0).bytes().data(), nullptr);
}

TEST(Session, TakesUnalignedInputs) {
  auto session = makeSession("twice");
  alignas(4) char bytes[13];
  float x[] = {1, -2, 3};
  std::memcpy(bytes + 1, x, 12);
  int64_t shape[] = {1, 3};
  ASSERT_TRUE(session->setInput(0, bytes + 1, shape).isOk());
  ASSERT_TRUE(session->run().isOk());
  EXPECT_EQ(session->output(0).as<float>()[1], -8.0f);
  // The caller may write to its buffer between runs.
  x[1] = 10;
  std::memcpy(bytes + 1, x, 12);
  ASSERT_TRUE(session->run().isOk());
  EXPECT_EQ(session->output(0).as<float>()[1], 40.0f);
}

TEST(Session, LooksUpWeights) {
  auto session = makeSession("lookup");
  ASSERT_TRUE(session->setInput("ids", ids({4, 0, 2})).isOk());
  ASSERT_TRUE(session->run().isOk());
  Tensor values = session->output(0);
  std::vector<float> expected = {64, 81, 0, 1, 16, 25};
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_EQ(values.as<float>()[i], expected[i]);
}

TEST(Session, ChecksIndices) {
  auto session = makeSession("lookup");
  for (int64_t wrong : {int64_t{5}, int64_t{-1}, INT64_MIN, INT64_MAX}) {
    ASSERT_TRUE(session->setInput("ids", ids({1, wrong})).isOk());
    Status status = session->run();
    EXPECT_TRUE(contains(status, "input 'ids': element 1 is " +
                                     std::to_string(wrong) +
                                     ", expected at least 0 and less than 5"))
        << status.message();
    EXPECT_FALSE(session->hasRun());
  }
}

TEST(Session, ChecksShapesAndTypes) {
  auto session = makeSession("twice");
  float x[3 * 65] = {};
  int64_t tooMany[] = {65, 3}, wrongColumns[] = {1, 4}, negative[] = {-1, 3};
  Status status = session->setInput(0, x, tooMany);
  EXPECT_TRUE(contains(status, "input 'x': dimension 0 ('rows') is 65, but the "
                               "model was compiled for 0 to 64"))
      << status.message();
  status = session->setInput(0, x, wrongColumns);
  EXPECT_TRUE(contains(status, "dimension 1 ('3') is 4")) << status.message();
  EXPECT_FALSE(session->setInput(0, x, negative).isOk());
  EXPECT_TRUE(contains(session->setInput(0, x, std::span(tooMany).first(1)),
                       "expected 2 dimensions, got 1"));
  int64_t one[] = {1, 3};
  EXPECT_TRUE(contains(session->setInput(0, nullptr, one), "null pointer"));
  EXPECT_TRUE(contains(session->setInput("x", ids({1, 2, 3})),
                       "expected elements of f32, got si64"));
  EXPECT_TRUE(contains(session->setInput("z", ids({1})),
                       "there is no input 'z'; the entry point has: x"));
  EXPECT_TRUE(contains(session->run(), "input 'x' is not set"));
  EXPECT_TRUE(session->output(0).shape().empty());
}

TEST(Session, ChecksThatInputsAgree) {
  auto session = Session::create(openTemporary(languageModelContents(true)));
  ASSERT_TRUE(bool(session)) << session.status().message();
  int64_t tokens[4] = {3, 4, 5, 6}, ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
  float past[8] = {};
  auto set = [&](uint32_t input, const void *data, std::vector<int64_t> shape) {
    Status status = (*session)->setInput(input, data, shape);
    EXPECT_TRUE(status.isOk()) << status.message();
  };
  set(0, tokens, {1, 4});
  set(1, ones, {1, 6});
  set(2, ones, {1, 4});
  set(3, past, {1, 2});
  EXPECT_TRUE((*session)->run().isOk());
  set(1, ones, {1, 7});
  Status status = (*session)->run();
  EXPECT_TRUE(contains(status,
                       "input 'attention_mask': dimension 1 ('past + seq') is "
                       "7, but the other inputs make it 6"))
      << status.message();
}

TEST(Session, FindsEntriesAndVariants) {
  auto bundle = openTemporary(arithmeticContents());
  SessionOptions options;
  EXPECT_TRUE(contains(Session::create(bundle, options).status(),
                       "got 'main'; it has: twice, lookup"));
  options.entry = "twice";
  options.variant = "x86-64-v9";
  EXPECT_TRUE(contains(Session::create(bundle, options).status(),
                       "got 'x86-64-v9'; it has: "));
  // The only entry point needs no name.
  EXPECT_TRUE(
      bool(Session::create(openTemporary(languageModelContents(false)))));

  BundleContents foreign = arithmeticContents();
  foreign.index.variants[0].target = "riscv64";
  options.variant = "";
  EXPECT_TRUE(
      contains(Session::create(openTemporary(foreign), options).status(),
               "cannot run the bundle's code (riscv64: "));
}

TEST(Session, SolvesDimensionsFromSums) {
  // "past" appears in no shape on its own.
  BundleContents contents = arithmeticContents();
  BundleIndex &index = contents.index;
  index.dims = {{"seq", 1, 8}, {"past", 0, 8}, {"rows", 0, 64}, {"n", 1, 9}};
  EntryPoint &entry = index.entries[0];
  DimExpr seq = DimExpr::symbol("seq"), past = DimExpr::symbol("past");
  entry.inputs = {{"x", ElementType::float32(), {past * 2 + seq, 3}},
                  {"s", ElementType::boolean(), {seq}}};
  entry.outputs = {{"y", ElementType::float32(), {past, 3}}};
  entry.steps.resize(1);
  entry.steps[0].buffers = {{BufferRef::Kind::Input, 0, 0, past * 12},
                            {BufferRef::Kind::Output, 0, 0, past * 12}};
  entry.steps[0].tasks = past;
  SessionOptions options;
  options.entry = "twice";
  auto session = Session::create(openTemporary(contents), options);
  ASSERT_TRUE(bool(session)) << session.status().message();
  float x[30] = {1, 2, 3};
  bool s[3] = {};
  auto run = [&](int64_t rows, int64_t sequence) {
    int64_t xShape[] = {rows, 3}, sShape[] = {sequence};
    EXPECT_TRUE((*session)->setInput(0, x, xShape).isOk());
    EXPECT_TRUE((*session)->setInput(1, s, sShape).isOk());
    return (*session)->run();
  };
  ASSERT_TRUE(run(7, 3).isOk());
  EXPECT_EQ((*session)->output(0).shape(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ((*session)->output(0).as<float>()[2], 6.0f);
  EXPECT_FALSE(run(8, 3).isOk()); // past would be 2.5
  EXPECT_TRUE(contains(run(1, 3), "dimension 'past' -1"));
}

TEST(Session, RunsAgainWithOtherData) {
  // The set-up is kept while the shapes stay; the pointers may change.
  auto session = makeSession("twice");
  float x[] = {1, 2, 3, 4, 5, 6}, other[] = {10, 20, 30, 40, 50, 60};
  int64_t one[] = {1, 3}, two[] = {2, 3};
  auto last = [&](const float *data, const int64_t *shape) {
    EXPECT_TRUE(session->setInput(0, data, {shape, 2}).isOk());
    EXPECT_TRUE(session->run().isOk());
    return session->output(0).as<float>().back();
  };
  EXPECT_EQ(last(x, two), 24);
  EXPECT_EQ(last(other, two), 240);
  EXPECT_EQ(last(x, one), 12);
  EXPECT_EQ(last(other, one), 120);
  EXPECT_EQ(last(other, two), 240);
}

TEST(Session, StaysOnCores) {
  SessionOptions options;
  options.entry = "twice";
  options.cores = {0};
  auto bundle = openTemporary(arithmeticContents());
  // On a thread of its own, which is pinned with the session.
  std::thread([&] {
    auto session = Session::create(bundle, options);
    ASSERT_TRUE(bool(session)) << session.status().message();
    EXPECT_EQ((*session)->threads(), 1u);
    EXPECT_EQ(sched_getcpu(), 0);
  }).join();
  options.cores = {0, 100000};
  EXPECT_TRUE(
      contains(Session::create(bundle, options).status(), "got 100000"));
}

TEST(Session, TakesDimensionsFromData) {
  for (unsigned threads : {1u, 3u}) {
    auto session = makeSession("up to", threads, upToContents);
    EXPECT_EQ(session->plannedBytes(), 8u + 8 * 50000);
    // Small ones run on the caller alone, large ones on all threads.
    for (std::vector<int64_t> given :
         {std::vector<int64_t>{3, 4}, {0}, {49999, 1}, {-5, 6, 1}}) {
      int64_t total = std::accumulate(given.begin(), given.end(), int64_t{0});
      Tensor input = ids(given);
      ASSERT_TRUE(session->setInput("ids", input).isOk());
      Status status = session->run();
      ASSERT_TRUE(status.isOk()) << status.message();
      Tensor numbers = session->output(0);
      ASSERT_EQ(numbers.shape(), std::vector<int64_t>{total});
      for (int64_t i = 0; i < total; ++i)
        EXPECT_EQ(numbers.as<int64_t>()[i], i);
    }
  }
}

TEST(Session, ChecksDimensionsFromData) {
  auto session = makeSession("up to", 1, upToContents);
  for (int64_t total : {int64_t{-1}, int64_t{50001}, INT64_MAX, INT64_MIN}) {
    Tensor input = ids({total});
    ASSERT_TRUE(session->setInput("ids", input).isOk());
    Status status = session->run();
    EXPECT_TRUE(contains(status, "the data of the inputs make dimension "
                                 "'total' " +
                                     std::to_string(total) +
                                     ", but the model was compiled for 0 to "
                                     "50000"))
        << status.message();
    EXPECT_FALSE(session->hasRun());
    EXPECT_EQ(session->output(0).size(), 0u);
  }
  // The next run is not harmed.
  Tensor input = ids({2});
  ASSERT_TRUE(session->setInput("ids", input).isOk());
  EXPECT_TRUE(session->run().isOk());
  EXPECT_EQ(session->output(0).shape(), std::vector<int64_t>{2});
}

TEST(Session, RefusesProgramsThatOverrunABuffer) {
  // The plan holds at the bounds, but not for this input: found before a step.
  BundleContents contents = arithmeticContents();
  contents.index.entries[0].steps[0].buffers[0].bytes = 64 * 12;
  SessionOptions options;
  options.entry = "twice";
  auto session = Session::create(openTemporary(contents), options);
  ASSERT_TRUE(bool(session));
  float x[3] = {};
  int64_t shape[] = {1, 3};
  ASSERT_TRUE((*session)->setInput(0, x, shape).isOk());
  EXPECT_TRUE(contains((*session)->run(), "uses 768 bytes of a buffer of 12"));
}

TEST(Variant, NamesWhatIsMissing) {
  VariantScore unknown = scoreVariant("x86-64-v1");
  EXPECT_EQ(unknown.score, 0);
  EXPECT_NE(unknown.reason.find("not a target"), std::string::npos);
#if defined(__x86_64__)
  // Agrees with the compiler's own detection.
  EXPECT_EQ(scoreVariant("x86-64-v3").score > 0,
            __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi2"));
  EXPECT_EQ(scoreVariant("x86-64-v4-vnni").score > 0,
            __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512vnni"));
#endif
}
