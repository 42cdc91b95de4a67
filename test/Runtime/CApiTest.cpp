//===- CApiTest.cpp - The runtime from C ------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestBundle.h"

#include "nibble-c/runtime.h"

#include "gtest/gtest.h"

#include <cstdlib>
#include <cstring>
#include <thread>
#include <unistd.h>

using namespace nibble::test;

namespace {

struct Handles {
  explicit Handles(const nibble::BundleContents &contents,
                   const char *entry = nullptr) {
    std::string path = writeTemporary(contents);
    EXPECT_EQ(nibble_bundle_open(path.c_str(), &bundle), NIBBLE_OK)
        << nibble_error_text();
    unlink(path.c_str());
    nibble_session_options options = {};
    options.entry = entry;
    options.threads = 1;
    EXPECT_EQ(nibble_session_create(bundle, &options, &session), NIBBLE_OK)
        << nibble_error_text();
  }
  ~Handles() {
    nibble_session_destroy(session);
    nibble_bundle_close(bundle);
  }
  nibble_bundle *bundle = nullptr;
  nibble_session *session = nullptr;
};

bool errorHas(const char *text) {
  return std::strstr(nibble_error_text(), text) != nullptr;
}

} // namespace

TEST(CApi, RunsAnEntryPoint) {
  Handles handles(arithmeticContents(), "twice");
  nibble_session *session = handles.session;
  EXPECT_EQ(nibble_session_input_count(session), 1u);
  EXPECT_EQ(nibble_session_output_count(session), 1u);
  nibble_port port;
  ASSERT_EQ(nibble_session_input_port(session, 0, &port), NIBBLE_OK);
  EXPECT_STREQ(port.name, "x");
  EXPECT_EQ(port.type, NIBBLE_FLOAT32);
  EXPECT_EQ(port.rank, 2u);
  EXPECT_STREQ(port.dims[0], "rows");
  EXPECT_STREQ(port.dims[1], "3");
  EXPECT_EQ(port.min[0], 0);
  EXPECT_EQ(port.max[0], 64);
  EXPECT_EQ(port.max[1], 3);

  float x[] = {1, 2, 3, 4, 5, 6};
  int64_t shape[] = {2, 3};
  nibble_tensor y;
  EXPECT_EQ(nibble_session_output(session, "y", &y), NIBBLE_ERROR_USAGE);
  EXPECT_EQ(nibble_session_run(session), NIBBLE_ERROR_USAGE);
  EXPECT_TRUE(errorHas("'x' is not set"));
  ASSERT_EQ(nibble_session_set_input(session, "x", x, shape, 2), NIBBLE_OK);
  ASSERT_EQ(nibble_session_run(session), NIBBLE_OK) << nibble_error_text();
  ASSERT_EQ(nibble_session_output(session, "y", &y), NIBBLE_OK);
  EXPECT_EQ(y.rank, 2u);
  EXPECT_EQ(y.shape[0], 2);
  EXPECT_EQ(y.bytes, 24u);
  EXPECT_EQ(static_cast<const float *>(y.data)[5], 24.0f);
  EXPECT_EQ(nibble_session_output(session, "z", &y), NIBBLE_ERROR_INPUT);
  EXPECT_EQ(nibble_bundle_verify(handles.bundle), NIBBLE_OK);
}

TEST(CApi, GivesOutputsTheSizesThatDataDecide) {
  Handles handles(upToContents());
  nibble_session *session = handles.session;
  nibble_port port;
  ASSERT_EQ(nibble_session_output_port(session, 0, &port), NIBBLE_OK);
  EXPECT_STREQ(port.dims[0], "total");
  EXPECT_EQ(port.min[0], 0);
  EXPECT_EQ(port.max[0], 50000);

  int64_t ids[] = {2, 3}, shape[] = {2};
  nibble_tensor numbers;
  ASSERT_EQ(nibble_session_set_input(session, "ids", ids, shape, 1), NIBBLE_OK);
  ASSERT_EQ(nibble_session_run(session), NIBBLE_OK) << nibble_error_text();
  ASSERT_EQ(nibble_session_output(session, "numbers", &numbers), NIBBLE_OK);
  EXPECT_EQ(numbers.shape[0], 5);
  EXPECT_EQ(numbers.bytes, 40u);
  EXPECT_EQ(static_cast<const int64_t *>(numbers.data)[4], 4);

  // More than there is room for: no output, not the last one either.
  ids[0] = 50000;
  EXPECT_EQ(nibble_session_run(session), NIBBLE_ERROR_INPUT);
  EXPECT_TRUE(errorHas("make dimension 'total' 50003"));
  EXPECT_EQ(nibble_session_output(session, "numbers", &numbers),
            NIBBLE_ERROR_USAGE);
}

TEST(CApi, ReportsErrors) {
  nibble_bundle *bundle;
  EXPECT_EQ(nibble_bundle_open("/nonexistent.nbl", &bundle),
            NIBBLE_ERROR_INPUT);
  EXPECT_EQ(bundle, nullptr);
  EXPECT_TRUE(errorHas("/nonexistent.nbl"));
  EXPECT_EQ(nibble_bundle_open(nullptr, &bundle), NIBBLE_ERROR_USAGE);
  EXPECT_EQ(nibble_bundle_open("x", nullptr), NIBBLE_ERROR_USAGE);
  EXPECT_EQ(nibble_session_run(nullptr), NIBBLE_ERROR_USAGE);
  nibble_session_destroy(nullptr);
  nibble_bundle_close(nullptr);
  // The text belongs to the thread.
  std::thread([] { EXPECT_STREQ(nibble_error_text(), ""); }).join();

  Handles handles(arithmeticContents(), "twice");
  nibble_session_options options = {};
  options.variant = "none";
  nibble_session *session;
  EXPECT_EQ(nibble_session_create(handles.bundle, &options, &session),
            NIBBLE_ERROR_RESOURCE);
  nibble_port port;
  EXPECT_EQ(nibble_session_input_port(handles.session, 1, &port),
            NIBBLE_ERROR_USAGE);
  int64_t shape[] = {65, 3};
  EXPECT_EQ(nibble_session_set_input(handles.session, "x", shape, shape, 2),
            NIBBLE_ERROR_INPUT);
  EXPECT_EQ(nibble_session_set_input(handles.session, "x", shape, nullptr, 2),
            NIBBLE_ERROR_USAGE);
  // More dimensions than a tensor can have.
  std::vector<int64_t> many(100, 1);
  EXPECT_EQ(nibble_session_set_input(handles.session, "x", shape, many.data(),
                                     many.size()),
            NIBBLE_ERROR_INPUT);
}

TEST(CApi, Generates) {
  Handles handles(languageModelContents(/*withCache=*/true));
  nibble_generate_options options = {};
  options.max_tokens = 3;
  std::string text;
  auto append = [](const char *part, size_t bytes, void *context) {
    static_cast<std::string *>(context)->append(part, bytes);
    return 0;
  };
  nibble_generate_result result;
  ASSERT_EQ(
      nibble_generate(handles.session, "bad", &options, append, &text, &result),
      NIBBLE_OK)
      << nibble_error_text();
  EXPECT_EQ(text, expectedText("bad", 3));
  EXPECT_EQ(result.prompt_tokens, 4u);
  EXPECT_EQ(result.generated_tokens, 3u);
  EXPECT_EQ(result.reason, NIBBLE_STOP_MAX_TOKENS);
  EXPECT_EQ(
      nibble_generate(handles.session, "", nullptr, nullptr, nullptr, nullptr),
      NIBBLE_ERROR_USAGE);

  Handles other(arithmeticContents(), "twice");
  EXPECT_EQ(nibble_generate(other.session, "", nullptr, append, &text, nullptr),
            NIBBLE_ERROR_INPUT);
}

TEST(CApi, EndsTextsInFrontOfStopTexts) {
  Handles handles(decoderContents(), "main");
  std::string whole, text;
  auto append = [](const char *part, size_t bytes, void *context) {
    static_cast<std::string *>(context)->append(part, bytes);
    return 0;
  };
  nibble_generate_options options = {};
  options.ignore_end = 1;
  ASSERT_EQ(nibble_generate(handles.session, "abc", &options, append, &whole,
                            nullptr),
            NIBBLE_OK)
      << nibble_error_text();
  ASSERT_GT(whole.size(), 6u);
  std::string stop = whole.substr(4, 2);
  const char *stops[] = {"never", stop.c_str()};
  options.stops = stops;
  options.stop_count = 2;
  nibble_generate_result result;
  ASSERT_EQ(
      nibble_generate(handles.session, "abc", &options, append, &text, &result),
      NIBBLE_OK);
  EXPECT_EQ(text, whole.substr(0, whole.find(stop)));
  EXPECT_EQ(result.reason, NIBBLE_STOP_TEXT);
  options.stops = nullptr;
  EXPECT_EQ(
      nibble_generate(handles.session, "abc", &options, append, &text, nullptr),
      NIBBLE_ERROR_USAGE);
}

TEST(CApi, DrivesADecoder) {
  Handles handles(decoderContents(), "main");
  nibble_decoder *decoder;
  EXPECT_EQ(nibble_decoder_create(handles.session, 5, &decoder),
            NIBBLE_ERROR_INPUT);
  EXPECT_TRUE(errorHas("at most 4 sequences"));
  EXPECT_EQ(decoder, nullptr);
  ASSERT_EQ(nibble_decoder_create(handles.session, 2, &decoder), NIBBLE_OK)
      << nibble_error_text();
  EXPECT_EQ(nibble_decoder_capacity(decoder), size_t{maxPast + 1});
  EXPECT_EQ(nibble_decoder_vocabulary(decoder), size_t{vocabulary});
  const float *logits;
  EXPECT_EQ(nibble_decoder_logits(decoder, 0, &logits), NIBBLE_ERROR_USAGE);

  int32_t first[] = {1, 2, 3}, second[] = {4};
  const int32_t *tokens[] = {first, second};
  size_t counts[] = {3, 1};
  ASSERT_EQ(nibble_decoder_append(decoder, tokens, counts), NIBBLE_OK)
      << nibble_error_text();
  EXPECT_EQ(nibble_decoder_length(decoder, 0), 3u);
  EXPECT_EQ(nibble_decoder_length(decoder, 1), 1u);
  EXPECT_EQ(nibble_decoder_length(decoder, 2), 0u);
  ASSERT_EQ(nibble_decoder_logits(decoder, 0, &logits), NIBBLE_OK);
  EXPECT_EQ(logits[1 + 2 + 3 + 2], 1.0f); // the tokens and the last position
  ASSERT_EQ(nibble_decoder_logits(decoder, 1, &logits), NIBBLE_OK);
  EXPECT_EQ(logits[4], 1.0f);
  EXPECT_EQ(nibble_decoder_logits(decoder, 2, &logits), NIBBLE_ERROR_USAGE);

  // Only the second one goes on.
  counts[0] = 0;
  tokens[0] = nullptr;
  ASSERT_EQ(nibble_decoder_append(decoder, tokens, counts), NIBBLE_OK);
  EXPECT_EQ(nibble_decoder_length(decoder, 0), 3u);
  EXPECT_EQ(nibble_decoder_logits(decoder, 0, &logits), NIBBLE_ERROR_USAGE);
  ASSERT_EQ(nibble_decoder_logits(decoder, 1, &logits), NIBBLE_OK);
  EXPECT_EQ(logits[4 + 4 + 1], 1.0f);

  counts[1] = 100;
  std::vector<int32_t> many(100, 1);
  tokens[1] = many.data();
  EXPECT_EQ(nibble_decoder_append(decoder, tokens, counts), NIBBLE_ERROR_INPUT);
  EXPECT_TRUE(errorHas("at most 41 tokens"));
  EXPECT_EQ(nibble_decoder_reset(decoder), NIBBLE_OK);
  EXPECT_EQ(nibble_decoder_length(decoder, 1), 0u);
  EXPECT_EQ(nibble_decoder_append(decoder, nullptr, counts),
            NIBBLE_ERROR_USAGE);
  EXPECT_EQ(nibble_decoder_append(nullptr, tokens, counts), NIBBLE_ERROR_USAGE);
  nibble_decoder_destroy(decoder);
  nibble_decoder_destroy(nullptr);
}

TEST(CApi, RunsOnTheDeviceThatIsAskedFor) {
  setenv("NIBBLE_CUDA_DRIVER", NIBBLE_FAKE_CUDA, /*overwrite=*/1);
  std::string path = writeTemporary(withCuda(arithmeticContents()));
  nibble_bundle *bundle = nullptr;
  ASSERT_EQ(nibble_bundle_open(path.c_str(), &bundle), NIBBLE_OK);
  unlink(path.c_str());
  nibble_session_options options = {};
  options.entry = "twice";
  options.device = "cuda:0";
  nibble_session *session = nullptr;
  ASSERT_EQ(nibble_session_create(bundle, &options, &session), NIBBLE_OK)
      << nibble_error_text();
  const float x[3] = {1, 2, 3};
  const int64_t shape[] = {1, 3};
  ASSERT_EQ(nibble_session_set_input(session, "x", x, shape, 2), NIBBLE_OK);
  ASSERT_EQ(nibble_session_run(session), NIBBLE_OK) << nibble_error_text();
  nibble_tensor y;
  ASSERT_EQ(nibble_session_output(session, "y", &y), NIBBLE_OK);
  EXPECT_EQ(static_cast<const float *>(y.data)[2], 12);
  nibble_session_destroy(session);

  options.device = "cuda:9";
  EXPECT_EQ(nibble_session_create(bundle, &options, &session),
            NIBBLE_ERROR_RESOURCE);
  EXPECT_TRUE(errorHas("there is no device 'cuda:9'"));
  setenv("NIBBLE_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
  options.device = "cuda:0";
  EXPECT_EQ(nibble_session_create(bundle, &options, &session),
            NIBBLE_ERROR_RESOURCE);
  EXPECT_TRUE(errorHas("cannot load the NVIDIA driver"));
  EXPECT_EQ(session, nullptr);
  nibble_bundle_close(bundle);
}
