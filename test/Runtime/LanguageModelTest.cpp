//===- LanguageModelTest.cpp - Tokens in, logits out ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The model's next token is a sum over everything before it. What a step costs
// besides its kernels is shown by what it would stumble over: allocations are
// counted, and system calls end the process.
//
//===----------------------------------------------------------------------===//

#include "TestBundle.h"

#include "nibble/Runtime/LanguageModel.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <new>
#include <numeric>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace nibble;
using namespace nibble::test;

/// Of all threads.
static std::atomic<uint64_t> allocations = 0;

void *operator new(size_t size) {
  ++allocations;
  if (void *memory = std::malloc(size ? size : 1))
    return memory;
  throw std::bad_alloc();
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, size_t) noexcept { std::free(memory); }

namespace {

using Tokens = std::vector<int32_t>;

/// Forms of the same model.
enum class Form { WithoutCache, WithCache, Decoder };
constexpr Form forms[] = {Form::WithoutCache, Form::WithCache, Form::Decoder};

std::unique_ptr<Session> makeSession(Form form, unsigned threads = 2) {
  SessionOptions options;
  options.entry = "main";
  options.threads = threads;
  auto session = Session::create(
      openTemporary(form == Form::Decoder
                        ? decoderContents()
                        : languageModelContents(form == Form::WithCache)),
      options);
  EXPECT_TRUE(bool(session)) << session.status().message();
  return session.take();
}

LanguageModel makeModel(Session &session,
                        const LanguageModelOptions &options = {}) {
  auto model = LanguageModel::create(session, options);
  EXPECT_TRUE(bool(model)) << model.status().message();
  return model.take();
}

/// What the model says next, and what it should.
int32_t best(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) -
                              logits.begin());
}
int32_t expected(const Tokens &context) {
  int64_t sum = std::accumulate(context.begin(), context.end(), int64_t{0}) +
                static_cast<int64_t>(context.size()) - 1;
  return static_cast<int32_t>(sum % vocabulary);
}

/// Appends one list of tokens to each sequence.
Status append(LanguageModel &model, const std::vector<Tokens> &added) {
  std::vector<std::span<const int32_t>> spans(added.begin(), added.end());
  return model.append(spans);
}

bool contains(const Status &status, const std::string &text) {
  return status.message().find(text) != std::string::npos;
}

} // namespace

TEST(LanguageModel, SequencesOfDifferentLengthsGoTogether) {
  auto session = makeSession(Form::Decoder);
  LanguageModel model = makeModel(*session, {.sequences = 3});
  EXPECT_EQ(model.sequences(), 3u);
  EXPECT_EQ(model.capacity(), uint64_t{maxPast + 1});
  std::vector<Tokens> contexts(3);
  // More than 16 tokens run in pieces; a sequence without new ones waits.
  std::vector<std::vector<Tokens>> calls = {{{1, 5, 7}, {1}, Tokens(33, 4)},
                                            {{2}, {3}, {4}},
                                            {{9}, {}, {8}},
                                            {{}, {6, 7, 8, 9}, {3}},
                                            {{4, 4}, {}, {}},
                                            {{}, Tokens(17, 11), {}},
                                            {{1}, {2}, {3}}};
  for (const std::vector<Tokens> &call : calls) {
    Status status = append(model, call);
    ASSERT_TRUE(status.isOk()) << status.message();
    for (size_t i = 0; i < call.size(); ++i) {
      contexts[i].insert(contexts[i].end(), call[i].begin(), call[i].end());
      EXPECT_EQ(model.length(i), contexts[i].size());
      if (call[i].empty())
        continue;
      ASSERT_EQ(model.logits(i).size(), size_t{vocabulary});
      EXPECT_EQ(best(model.logits(i)), expected(contexts[i])) << i;
    }
  }
}

TEST(LanguageModel, FullSequencesStayInTheBatch) {
  auto session = makeSession(Form::Decoder);
  LanguageModel model = makeModel(*session, {.sequences = 2});
  Tokens full(maxPast + 1, 3), other = {1, 2};
  ASSERT_TRUE(append(model, {full, other}).isOk());
  EXPECT_EQ(best(model.logits(0)), expected(full));
  for (int32_t token = 0; token < 20; ++token) {
    other.push_back(token % 5);
    ASSERT_TRUE(append(model, {{}, {token % 5}}).isOk());
    EXPECT_EQ(best(model.logits(1)), expected(other));
    EXPECT_EQ(model.length(0), full.size());
  }
  EXPECT_TRUE(contains(append(model, {{1}, {1}}),
                       "expected at most 41 tokens in the context, got 42"));
}

TEST(LanguageModel, DecodersHaveStatesOfTheirOwn) {
  auto session = makeSession(Form::Decoder);
  LanguageModel one = makeModel(*session), two = makeModel(*session);
  Tokens first, second;
  for (int32_t token = 1; token < 12; ++token) {
    first.push_back(token);
    second.push_back(18 - token);
    auto logits = one.append({&first.back(), 1});
    ASSERT_TRUE(bool(logits));
    EXPECT_EQ(best(*logits), expected(first));
    logits = two.append({&second.back(), 1});
    ASSERT_TRUE(bool(logits));
    EXPECT_EQ(best(*logits), expected(second));
  }
  one.reset();
  EXPECT_EQ(one.length(), 0u);
  ASSERT_TRUE(bool(one.append(first)));
  EXPECT_EQ(best(one.logits(0)), expected(first));
}

TEST(LanguageModel, SessionsShareStates) {
  auto main = makeSession(Form::Decoder);
  auto prefill = main->share("prefill", Session::States::Own);
  ASSERT_TRUE(bool(prefill));
  auto decode = (*prefill)->share("decode", Session::States::Shared);
  auto other = (*prefill)->share("decode", Session::States::Own);
  ASSERT_TRUE(bool(decode) && bool(other));
  EXPECT_TRUE(contains(main->share("x", Session::States::Own).status(),
                       "it has: main, prefill, decode"));
  int64_t tokens[] = {5, 6}, past = 0, last = 1, shape[] = {1, 2};
  ASSERT_TRUE((*prefill)->setInput(0, tokens, shape).isOk());
  ASSERT_TRUE((*prefill)->setInput(1, &past, {shape, 1}).isOk());
  ASSERT_TRUE((*prefill)->setInput(2, &last, {shape, 1}).isOk());
  ASSERT_TRUE((*prefill)->run().isOk());
  auto step = [&](Session &session) {
    int64_t token = 7, length = 2, one[] = {1, 1};
    EXPECT_TRUE(session.setInput(0, &token, one).isOk());
    EXPECT_TRUE(session.setInput(1, &length, {one, 1}).isOk());
    EXPECT_TRUE(session.run().isOk());
    std::span<const std::byte> bytes = session.outputBytes(0);
    return best({reinterpret_cast<const float *>(bytes.data()),
                 bytes.size() / sizeof(float)});
  };
  EXPECT_EQ(step(**decode), expected({5, 6, 7}));
  EXPECT_EQ(step(**other), expected({0, 0, 7})); // states are zero at first
}

TEST(LanguageModel, SaysWhatItCannotDo) {
  auto session = makeSession(Form::Decoder);
  EXPECT_EQ(LanguageModel::mostSequences(session->bundle()), 4u);
  EXPECT_TRUE(
      contains(LanguageModel::create(*session, {.sequences = 5}).status(),
               "expected at most 4 sequences at once, got 5"));
  EXPECT_FALSE(bool(LanguageModel::create(*session, {.sequences = 0})));
  LanguageModel model = makeModel(*session, {.sequences = 2});
  EXPECT_TRUE(
      contains(append(model, {{1}}), "expected tokens for 2 sequences, got 1"));
  EXPECT_TRUE(contains(append(model, {{}, {}}), "at least one token"));
  // A run that fails leaves nothing behind.
  ASSERT_TRUE(append(model, {{1}, {1}}).isOk());
  EXPECT_TRUE(contains(append(model, {{1, 2}, {1, vocabulary}}),
                       "element 3 is 19, expected at least 0"));
  EXPECT_EQ(model.length(0), 0u);

  auto exported = makeSession(Form::WithCache);
  EXPECT_EQ(LanguageModel::mostSequences(exported->bundle()), 1u);
  EXPECT_TRUE(
      contains(LanguageModel::create(*exported, {.sequences = 2}).status(),
               "the bundle has no decoder for several"));
}

TEST(LanguageModel, ThreadsChangeNothing) {
  std::vector<std::vector<float>> found;
  for (unsigned threads : {1u, 2u, 3u, 5u}) {
    auto session = makeSession(Form::Decoder, threads);
    LanguageModel model = makeModel(*session, {.sequences = 4});
    ASSERT_TRUE(append(model, {{1, 2, 3}, {4}, Tokens(20, 5), {6, 7}}).isOk());
    std::vector<float> &all = found.emplace_back();
    for (int32_t token = 0; token < 10; ++token) {
      ASSERT_TRUE(append(model, {{token}, {token}, {token}, {token}}).isOk());
      for (uint64_t i = 0; i < 4; ++i)
        all.insert(all.end(), model.logits(i).begin(), model.logits(i).end());
    }
    EXPECT_EQ(all, found.front());
  }
}

TEST(LanguageModel, StepsAllocateNothing) {
  for (Form form : forms) {
    auto session = makeSession(form);
    LanguageModel model = makeModel(*session);
    int32_t token = 4;
    ASSERT_TRUE(bool(model.append({&token, 1})));
    ASSERT_TRUE(bool(model.append({&token, 1})));
    uint64_t before = allocations;
    for (int i = 0; i < 12; ++i)
      EXPECT_TRUE(bool(model.append({&token, 1})));
    EXPECT_EQ(allocations, before) << static_cast<int>(form);
  }
}

//===----------------------------------------------------------------------===//
// System calls
//===----------------------------------------------------------------------===//

/// From here on, all threads of the process may wait for each other (futex) and
/// end; any other system call kills it.
static bool forbidSystemCalls() {
  auto is = [](uint32_t number) -> sock_filter {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
  };
  sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      is(SYS_futex),
      allow,
      is(SYS_exit_group),
      allow,
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
  sock_fprog program = {std::size(rules), rules};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                 SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

/// How a child process ends that takes 12 steps and then, if asked for, makes a
/// system call. 77: the system has no such filters.
static int waitStatusOfSteps(Form form, bool withSystemCall) {
  pid_t child = fork();
  if (child == 0) {
    auto session = makeSession(form);
    LanguageModel model = makeModel(*session);
    int32_t token = 4;
    bool isOk =
        bool(model.append({&token, 1})) && bool(model.append({&token, 1}));
    if (!forbidSystemCalls())
      _exit(77);
    for (int i = 0; i < 12; ++i)
      isOk &= bool(model.append({&token, 1}));
    if (withSystemCall)
      syscall(SYS_getppid);
    _exit(isOk ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST(LanguageModel, StepsMakeNoSystemCalls) {
  for (Form form : forms) {
    int status = waitStatusOfSteps(form, /*withSystemCall=*/false);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
      GTEST_SKIP() << "no filters for system calls here";
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << static_cast<int>(form) << ": " << status;
    status = waitStatusOfSteps(form, /*withSystemCall=*/true);
    EXPECT_TRUE(WIFSIGNALED(status)) << status;
  }
}
