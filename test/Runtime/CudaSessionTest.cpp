//===- CudaSessionTest.cpp - Sessions on a GPU that is not there ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The programs of the other tests on the driver of FakeCuda.h, whose kernels
// compute the same. After each test, everything has been given back and nothing
// was used in a way that the driver forbids.
//
//===----------------------------------------------------------------------===//

#include "FakeCuda.h"
#include "TestBundle.h"

#include "nibble/Runtime/LanguageModel.h"
#include "nibble/Runtime/Variant.h"

#include "gtest/gtest.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <numeric>

using namespace nibble;
using namespace nibble::test;

namespace {

class CudaSession : public testing::Test {
protected:
  void SetUp() override {
    setenv("NIBBLE_CUDA_DRIVER", NIBBLE_FAKE_CUDA, /*overwrite=*/1);
    void *library = dlopen(NIBBLE_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
    ASSERT_TRUE(library) << dlerror();
    auto find = reinterpret_cast<FakeCuda *(*)()>(dlsym(library, "fakeCuda"));
    ASSERT_TRUE(find) << dlerror();
    fake = find();
    fake->restart();
    fake->devices = 1;
    fake->capability = 90;
    fake->memoryBytes = 1 << 30;
  }
  void TearDown() override { expectClean("at the end"); }

  void expectClean(const std::string &when) {
    EXPECT_EQ(fake->leaks(), "") << when;
    EXPECT_EQ(fake->usedBytes, 0u) << when;
    for (const std::string &text : fake->misuse)
      ADD_FAILURE() << when << ": " << text;
    fake->misuse.clear();
  }

  /// How often a function has been called since the last restart.
  long calls(const std::string &function) const {
    return std::ranges::count(fake->calls, function);
  }

  FakeCuda *fake = nullptr;
};

Expected<std::unique_ptr<Session>> open(std::shared_ptr<const Bundle> bundle,
                                        const std::string &entry,
                                        const std::string &device = "cuda:0") {
  SessionOptions options;
  options.entry = entry;
  options.device = device;
  return Session::create(std::move(bundle), options);
}

std::unique_ptr<Session> make(std::shared_ptr<const Bundle> bundle,
                              const std::string &entry,
                              const std::string &device = "cuda:0") {
  auto session = open(std::move(bundle), entry, device);
  EXPECT_TRUE(bool(session)) << session.status().message();
  return session ? session.take() : nullptr;
}

std::shared_ptr<const Bundle> arithmetic() {
  static auto bundle = openTemporary(withCuda(arithmeticContents()));
  return bundle;
}

/// A run of "twice"; what should come out is 4 x.
Status runTwice(Session &session, int64_t rows, float first,
                std::vector<float> &y) {
  std::vector<float> x(static_cast<size_t>(rows) * 3);
  std::iota(x.begin(), x.end(), first);
  int64_t shape[] = {rows, 3};
  if (Status status = session.setInput(0, x.data(), shape); !status.isOk())
    return status;
  if (Status status = session.run(); !status.isOk())
    return status;
  std::span<const std::byte> bytes = session.outputBytes(0);
  y.resize(bytes.size() / sizeof(float));
  std::memcpy(y.data(), bytes.data(), bytes.size());
  return Status::success();
}

void expectTwice(Session &session, int64_t rows, float first) {
  std::vector<float> y;
  Status status = runTwice(session, rows, first, y);
  ASSERT_TRUE(status.isOk()) << status.message();
  ASSERT_EQ(y.size(), static_cast<size_t>(rows) * 3);
  for (size_t i = 0; i < y.size(); ++i)
    EXPECT_EQ(y[i], 4 * (first + static_cast<float>(i)));
}

bool contains(const Status &status, const std::string &text) {
  return status.message().find(text) != std::string::npos;
}

#define EXPECT_ERROR(status, text)                                             \
  do {                                                                         \
    Status found = (status);                                                   \
    EXPECT_TRUE(contains(found, text)) << found.message();                     \
  } while (false)

using Names = std::vector<std::string>;

} // namespace

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

TEST_F(CudaSession, ComputesWhatTheProcessorDoes) {
  auto twice = make(arithmetic(), "twice");
  EXPECT_EQ(twice->device(), "cuda:0");
  EXPECT_EQ(twice->target(), "sm_90a");
  for (int64_t rows : {1, 64, 7, 7, 7, 0, 2, 2})
    expectTwice(*twice, rows, static_cast<float>(rows));
  auto lookup = make(arithmetic(), "lookup");
  std::vector<int64_t> ids = {4, 0, 3};
  int64_t shape[] = {3};
  ASSERT_TRUE(lookup->setInput(0, ids.data(), shape).isOk());
  ASSERT_TRUE(lookup->run().isOk());
  Tensor values = lookup->output(0);
  EXPECT_EQ(values.numberAt(0), 64);
  EXPECT_EQ(values.numberAt(5), 49);
  ids[1] = 5;
  EXPECT_ERROR(lookup->run(), "element 1 is 5");
}

TEST_F(CudaSession, BundlesForGpusAloneRunThereByDefault) {
  auto bundle = openTemporary(cudaOnly(arithmeticContents()));
  auto session = make(bundle, "twice", "");
  EXPECT_EQ(session->device(), "cuda:0");
  expectTwice(*session, 5, 1);
  EXPECT_ERROR(open(bundle, "twice", "cpu").status(),
               "the bundle has no code for a processor");
  EXPECT_EQ(make(arithmetic(), "twice", "")->device(), "cpu");
}

TEST_F(CudaSession, StepsDefineDimensions) {
  auto session = make(openTemporary(withCuda(upToContents())), "up to");
  for (int64_t sum : {3, 100, 100, 0, 7}) {
    std::vector<int64_t> ids = {sum - 1, 1};
    int64_t shape[] = {2};
    ASSERT_TRUE(session->setInput(0, ids.data(), shape).isOk());
    Status status = session->run();
    ASSERT_TRUE(status.isOk()) << status.message();
    Tensor numbers = session->output(0);
    ASSERT_EQ(numbers.size(), static_cast<uint64_t>(sum));
    for (int64_t i = 0; i < sum; ++i)
      EXPECT_EQ(numbers.integerAt(i), i);
  }
  EXPECT_EQ(calls("cuGraphLaunch"), 0); // sizes come from data
  std::vector<int64_t> ids = {50000, 1};
  int64_t shape[] = {2};
  ASSERT_TRUE(session->setInput(0, ids.data(), shape).isOk());
  EXPECT_ERROR(session->run(), "dimension 'total' 50001");
  // A step that defines one must run.
  BundleContents contents = withCuda(upToContents());
  contents.index.cuda->kernels[4].launches[0].calls[0].grid[0] = 0;
  session = make(openTemporary(contents), "up to");
  ASSERT_TRUE(session->setInput(0, ids.data(), shape).isOk());
  EXPECT_ERROR(session->run(), "step 0 has a grid of 0");
}

TEST_F(CudaSession, RepeatedRunsAreOneGraph) {
  auto session = make(arithmetic(), "twice");
  const Names work = {"cuMemcpyHtoDAsync", "cuLaunchKernel", "cuLaunchKernel",
                      "cuMemcpyDtoHAsync"};
  auto run = [&](int64_t rows) {
    fake->restart();
    expectTwice(*session, rows, 3);
    Names names;
    for (const std::string &name : fake->calls)
      if (name != "cuCtxPushCurrent" && name != "cuCtxPopCurrent")
        names.push_back(name);
    return names;
  };
  auto around = [&](Names before, Names after) {
    before.insert(before.end(), work.begin(), work.end());
    before.insert(before.end(), after.begin(), after.end());
    return before;
  };
  const Names launched = around({}, {"cuStreamSynchronize"});
  Names first = run(4);
  // Memory for input and output is made with the first run.
  EXPECT_EQ(first, around({"cuMemAlloc", "cuMemHostAlloc", "cuMemAlloc",
                           "cuMemHostAlloc"},
                          {"cuStreamSynchronize"}));
  EXPECT_EQ(run(4),
            around({"cuStreamBeginCapture"},
                   {"cuStreamEndCapture", "cuGraphInstantiateWithFlags",
                    "cuGraphDestroy", "cuGraphLaunch", "cuStreamSynchronize"}));
  const Names replayed = {"cuGraphLaunch", "cuStreamSynchronize"};
  EXPECT_EQ(run(4), replayed);
  EXPECT_EQ(run(4), replayed);
  Names other = launched;
  other.insert(other.begin(), "cuGraphExecDestroy");
  EXPECT_EQ(run(3), other);
  EXPECT_EQ(run(4), launched);
  EXPECT_EQ(run(4).front(), "cuStreamBeginCapture");
}

TEST_F(CudaSession, LaunchesAreChosenBySize) {
  BundleContents contents = withCuda(arithmeticContents());
  CudaSection &cuda = *contents.index.cuda;
  DimExpr rows = DimExpr::symbol("d1");
  // Up to 8 rows in one call; more in two, whose halves are no matter here.
  std::vector<CudaLaunch> &launches = cuda.kernels[0].launches;
  CudaLaunch few = launches[0], many = launches[0];
  few.over = rows;
  few.upTo = 8;
  many.calls.push_back(many.calls[0]);
  many.calls[1].sharedBytes = 100 * 1024;
  many.calls[0].grid[1] = rows.floorDiv(9);
  many.workspace = rows * 1000;
  CudaLaunch other = few; // of another target: never taken here
  other.target = "sm_80";
  other.upTo = 4;
  other.calls = {{"no such function", {1, 1, 1}, {1, 1, 1}, 0}};
  launches = {other, few, many};
  auto session = make(openTemporary(contents), "twice");
  EXPECT_EQ(calls("cuFuncSetAttribute"), 1);
  EXPECT_EQ(session->plannedBytes(), 64u * 12 + 256 + 64 * 12 + 64000);
  for (auto [count, expected] : {std::pair(8, 2), {9, 4}, {64, 4}, {1, 2}}) {
    fake->restart();
    expectTwice(*session, count, 1);
    EXPECT_EQ(calls("cuLaunchKernel"), expected) << count;
  }
}

//===----------------------------------------------------------------------===//
// Language models
//===----------------------------------------------------------------------===//

namespace {

int32_t best(std::span<const float> logits) {
  return static_cast<int32_t>(std::ranges::max_element(logits) -
                              logits.begin());
}

/// The tokens that a model goes on with, one after the other.
std::vector<int32_t> continued(Session &session, const std::string &prompt,
                               size_t count) {
  auto model = LanguageModel::create(session);
  EXPECT_TRUE(bool(model)) << model.status().message();
  std::vector<int32_t> tokens = {1};
  for (char letter : prompt)
    tokens.push_back(letter - 'a' + 3);
  std::vector<int32_t> result;
  for (size_t i = 0; i < count; ++i) {
    auto logits = model->append(tokens);
    EXPECT_TRUE(bool(logits)) << logits.status().message();
    if (!logits)
      break;
    result.push_back(best(*logits));
    tokens = {result.back()};
  }
  return result;
}

} // namespace

TEST_F(CudaSession, LanguageModelsSayTheSame) {
  for (const BundleContents &contents :
       {languageModelContents(false), languageModelContents(true),
        decoderContents()}) {
    auto bundle = openTemporary(withCuda(contents));
    auto cpu = make(bundle, "main", "cpu"), gpu = make(bundle, "main");
    for (const char *prompt : {"", "abc", "ponmlkjihgfedcbaabcdef"}) {
      size_t count = 14 - std::strlen(prompt) % 7;
      if (std::strlen(prompt) > 15 && !contents.index.decoder &&
          contents.index.generation->cache.empty())
        continue; // longer than its context
      EXPECT_EQ(continued(*gpu, prompt, count), continued(*cpu, prompt, count))
          << prompt;
    }
  }
}

TEST_F(CudaSession, DecodeStepsAreReplayed) {
  auto session = make(openTemporary(withCuda(decoderContents())), "main");
  auto model = LanguageModel::create(*session, {.sequences = 3});
  ASSERT_TRUE(bool(model)) << model.status().message();
  EXPECT_EQ(model->stepSession().device(), "cuda:0");
  auto append = [&](int32_t token) {
    std::vector<int32_t> one = {token};
    std::vector<std::span<const int32_t>> all(3, one);
    Status status = model->append(all);
    EXPECT_TRUE(status.isOk()) << status.message();
  };
  append(3);
  append(4);
  fake->restart();
  int64_t sum = 7;
  for (int32_t token = 5; token < 15; ++token) {
    append(token);
    sum += token;
    for (uint64_t i = 0; i < 3; ++i)
      EXPECT_EQ(best(model->logits(i)),
                (sum + token - 3) % vocabulary); // the position is token - 3
  }
  EXPECT_EQ(calls("cuGraphLaunch"), 10);
  EXPECT_EQ(calls("cuLaunchKernel"), 0);
  EXPECT_EQ(calls("cuMemAlloc"), 0);
}

TEST_F(CudaSession, CachesStayOnTheDevice) {
  auto session =
      make(openTemporary(withCuda(languageModelContents(true))), "main");
  auto model = LanguageModel::create(*session);
  ASSERT_TRUE(bool(model));
  for (int32_t token = 3; token < 10; ++token)
    ASSERT_TRUE(bool(model->append({&token, 1})));
  fake->restart();
  int32_t token = 10;
  ASSERT_TRUE(bool(model->append({&token, 1})));
  // The token, its position, and the mask of 8; not the 7 cached values.
  EXPECT_EQ(fake->copiedToDevice, 8u + 8 + 8 * 8);
}

//===----------------------------------------------------------------------===//
// Sharing
//===----------------------------------------------------------------------===//

TEST_F(CudaSession, SessionsShareWeights) {
  auto first = make(arithmetic(), "lookup");
  uint64_t one = fake->usedBytes;
  EXPECT_EQ(fake->copiedToDevice, 40u);
  fake->restart();
  auto second = make(arithmetic(), "lookup");
  EXPECT_EQ(fake->copiedToDevice, 0u);
  EXPECT_EQ(calls("cuModuleLoadDataEx"), 0);
  EXPECT_EQ(calls("cuDevicePrimaryCtxRetain"), 0);
  EXPECT_LT(fake->usedBytes, 2 * one);
  first.reset();
  std::vector<int64_t> ids = {2};
  int64_t shape[] = {1};
  ASSERT_TRUE(second->setInput(0, ids.data(), shape).isOk());
  ASSERT_TRUE(second->run().isOk());
  EXPECT_EQ(second->output(0).numberAt(1), 25);
  // Another bundle has weights of its own.
  auto other = make(openTemporary(withCuda(arithmeticContents())), "lookup");
  EXPECT_EQ(fake->copiedToDevice, 40u + 8);
}

TEST_F(CudaSession, LargeWeightsAreCopiedInPieces) {
  BundleContents contents = withCuda(arithmeticContents());
  constexpr int64_t rows = 3000001; // 24 MB, and a bit
  contents.weightBytes = [](uint32_t) -> Expected<Tensor> {
    Tensor table = Tensor::allocate(ElementType::float32(), {rows, 2});
    for (int64_t i = 0; i < 2 * rows; ++i)
      table.asMutable<float>()[i] = static_cast<float>(i);
    return table;
  };
  contents.index.entries[1].checks[0].limit = rows;
  contents.index.cuda->programs[1].steps[0].buffers[1].bytes = rows * 8;
  auto session = make(openTemporary(contents), "lookup");
  EXPECT_EQ(fake->copiedToDevice, static_cast<uint64_t>(rows) * 8);
  EXPECT_EQ(calls("cuMemcpyHtoDAsync"), 3);
  std::vector<int64_t> ids = {0, 1048575, 1048576, 2097151, 2097152, rows - 1};
  int64_t shape[] = {6};
  ASSERT_TRUE(session->setInput(0, ids.data(), shape).isOk());
  ASSERT_TRUE(session->run().isOk());
  for (int64_t i = 0; i < 6; ++i)
    EXPECT_EQ(session->output(0).numberAt(2 * i + 1),
              static_cast<double>(static_cast<float>(2 * ids[i] + 1)));
}

//===----------------------------------------------------------------------===//
// Errors
//===----------------------------------------------------------------------===//

TEST_F(CudaSession, SaysWhatIsMissing) {
  auto device = [&](const char *name) {
    return open(arithmetic(), "twice", name).status();
  };
  EXPECT_ERROR(device("gpu"), "expected the device 'cpu' or one such as "
                              "'cuda:0', got 'gpu'");
  for (const char *name :
       {"cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:0x", "cuda:99999999999"})
    EXPECT_ERROR(device(name), "expected the device 'cpu'");
  EXPECT_ERROR(open(openTemporary(arithmeticContents()), "twice").status(),
               "the bundle has no code for GPUs");
  fake->devices = 2;
  EXPECT_ERROR(device("cuda:2"),
               "there is no device 'cuda:2'; the GPUs here are: cuda:0 (Fake "
               "GPU 0), cuda:1 (Fake GPU 1)");
  fake->devices = 0;
  EXPECT_ERROR(device("cuda:0"), "the GPUs here are: none");
  fake->devices = 1;
  fake->capability = 75;
  EXPECT_ERROR(device("cuda:0"),
               "expected code for cuda:0 (Fake GPU 0) of compute capability "
               "7.5, the bundle has: sm_90a, PTX for sm_80; compile it with "
               "--target=sm_75");
}

TEST_F(CudaSession, DriversThatAreNotThereOrOld) {
  setenv("NIBBLE_CUDA_DRIVER", "/nowhere/libcuda.so.1", 1);
  EXPECT_ERROR(open(arithmetic(), "twice").status(),
               "cannot load the NVIDIA driver (/nowhere/libcuda.so.1: cannot "
               "open shared object file");
  EXPECT_ERROR(open(arithmetic(), "twice").status(), "use --device=cpu");
  // Under another name it is loaded again.
  std::string name = NIBBLE_FAKE_CUDA;
  setenv("NIBBLE_CUDA_DRIVER",
         (name.substr(0, name.rfind('/')) + "/." + name.substr(name.rfind('/')))
             .c_str(),
         1);
  fake->version = 11080;
  EXPECT_ERROR(
      open(arithmetic(), "twice").status(),
      "expected an NVIDIA driver for CUDA 12.0 or newer, found one for "
      "CUDA 11.8");
  fake->version = 12040;
  fake->initResult = 100;
  EXPECT_ERROR(open(arithmetic(), "twice").status(),
               "the NVIDIA driver for CUDA 12.4 finds no GPU that it can use: "
               "cuInit failed: CUDA_ERROR_NO_DEVICE");
  fake->initResult = 0;
  EXPECT_TRUE(bool(open(arithmetic(), "twice")));
}

TEST_F(CudaSession, SaysHowMuchMemoryIsMissing) {
  BundleContents contents = withCuda(arithmeticContents());
  contents.index.cuda->programs[0].arenaBytes = 600000000;
  auto bundle = openTemporary(contents);
  fake->memoryBytes = 500000000;
  EXPECT_ERROR(open(bundle, "twice").status(),
               "too little memory on cuda:0 (Fake GPU 0) for scratch memory: "
               "needed 600 MB, free are 500 MB of 500 MB");
  expectClean("after an error");
  fake->memoryBytes = 1 << 30;
  expectTwice(*make(bundle, "twice"), 3, 1);
}

TEST_F(CudaSession, TakesTheBestImage) {
  auto target = [&](std::vector<std::pair<const char *, bool>> images,
                    int capability) {
    BundleContents contents = withCuda(arithmeticContents());
    contents.index.cuda->images.resize(images.size());
    contents.cudaImages.resize(images.size());
    for (size_t i = 0; i < images.size(); ++i) {
      contents.index.cuda->images[i].target = images[i].first;
      contents.index.cuda->images[i].isPtx = images[i].second;
      contents.cudaImages[i] = {std::byte{'x'}};
    }
    auto bundle = openTemporary(contents);
    fake->capability = capability;
    auto scores = scoreImages(*bundle, 0);
    EXPECT_TRUE(bool(scores));
    auto best = std::ranges::max_element(
        *scores, {}, [](const VariantScore &score) { return score.score; });
    auto session = open(bundle, "twice");
    EXPECT_EQ(bool(session), best->score > 0);
    if (session) {
      EXPECT_TRUE(best->target.ends_with((*session)->target()));
    }
    return session ? best->target : "none";
  };
  EXPECT_EQ(target({{"sm_80", false}, {"sm_90", false}, {"sm_90a", false}}, 90),
            "sm_90a");
  EXPECT_EQ(target({{"sm_80", false}, {"sm_86", false}}, 89), "sm_86");
  EXPECT_EQ(target({{"sm_86", false}, {"sm_80", false}}, 80), "sm_80");
  EXPECT_EQ(target({{"sm_86", false}, {"sm_80", true}}, 80), "PTX for sm_80");
  EXPECT_EQ(target({{"sm_86", false}, {"sm_75", true}, {"sm_80", true}}, 90),
            "PTX for sm_80");
  EXPECT_EQ(target({{"sm_90a", false}, {"sm_90a", true}}, 100), "none");
  EXPECT_EQ(target({{"sm_100f", false}, {"sm_100a", false}}, 103), "sm_100f");
  EXPECT_EQ(target({{"sm_100", false}, {"sm_100f", false}}, 120), "none");
  EXPECT_EQ(target({{"sm_90a", true}, {"sm_120", false}}, 90),
            "PTX for sm_90a");
  EXPECT_EQ(target({{"sm_90", false}, {"compute_80", true}}, 120),
            "PTX for compute_80");
}

TEST_F(CudaSession, FallsBackToPtxAndTellsWhatTheDriverSays) {
  auto bytes = [](std::string_view text) {
    const auto *data = reinterpret_cast<const std::byte *>(text.data());
    return std::vector<std::byte>(data, data + text.size());
  };
  BundleContents contents = withCuda(arithmeticContents());
  contents.cudaImages[0] = bytes("code of a new compiler");
  auto session = make(openTemporary(contents), "twice");
  EXPECT_EQ(session->target(), "sm_80");
  expectTwice(*session, 2, 1);
  session.reset();
  contents.cudaImages[1] = bytes("PTX with an error");
  EXPECT_ERROR(
      open(openTemporary(contents), "twice").status(),
      "cuda:0: the driver for CUDA 12.4 does not take the bundle's code "
      "(sm_90a: cuModuleLoadDataEx failed: CUDA_ERROR_INVALID_IMAGE; PTX for "
      "sm_80: cuModuleLoadDataEx failed: CUDA_ERROR_INVALID_PTX: ptxas "
      "application ptx input, line 7; error: unknown); update the driver");
  contents = withCuda(arithmeticContents());
  contents.index.cuda->kernels[0].launches[0].calls[0].function = "nothing";
  EXPECT_ERROR(open(openTemporary(contents), "twice").status(),
               "function 'nothing' of sm_90a: cuModuleGetFunction failed: "
               "CUDA_ERROR_NOT_FOUND");
}

/// Whether a function of the driver takes something back.
static bool isRelease(const std::string &name) {
  for (const char *word : {"Destroy", "Free", "Unload", "Release", "Pop"})
    if (name.find(word) != std::string::npos)
      return true;
  return false;
}

TEST_F(CudaSession, LeavesNothingBehindWhateverFails) {
  auto bundle = openTemporary(withCuda(decoderContents()));
  // Everything that sessions do: each call of the driver fails once.
  uint64_t endOfWork = 0;
  auto work = [&]() -> Status {
    auto session = open(bundle, "main");
    if (!session)
      return session.status();
    auto model = LanguageModel::create(**session);
    if (!model)
      return model.status();
    std::vector<int32_t> prompt = {1, 2, 3};
    for (int i = 0; i < 5; ++i) {
      if (auto logits = model->append(prompt); !logits)
        return logits.status();
      prompt = {4};
    }
    endOfWork = fake->callCount;
    return Status::success();
  };
  ASSERT_TRUE(work().isOk());
  uint64_t count = fake->callCount;
  EXPECT_GT(count, 100u);
  uint64_t failures = 0;
  for (int result : {999, 2})
    for (uint64_t call = 1; call <= count; ++call) {
      fake->restart();
      fake->failCall = call;
      fake->failResult = result;
      Status status = work();
      std::string name = fake->calls[call - 1];
      std::string when = "call " + std::to_string(call) + ", " + name;
      expectClean(when);
      // Nothing can be done about what fails when it is given back.
      bool isForgiven =
          call > endOfWork || isRelease(name) ||
          (name == "cuCtxPushCurrent" && isRelease(fake->calls[call]));
      failures += !status.isOk();
      EXPECT_TRUE(isForgiven || !status.isOk()) << when;
      if (!status.isOk() && result == 999) {
        EXPECT_ERROR(status, "CUDA_ERROR_UNKNOWN");
      }
    }
  EXPECT_GT(failures, count);
  fake->restart();
  EXPECT_TRUE(work().isOk());
}

TEST_F(CudaSession, RunsGoOnAfterAFailure) {
  auto session = make(arithmetic(), "twice");
  expectTwice(*session, 4, 1);
  fake->restart();
  expectTwice(*session, 4, 1); // captures
  uint64_t capturing = fake->callCount;
  for (int runs = 1; runs <= 3; ++runs)
    for (uint64_t call = 1; call <= capturing; ++call) {
      // Make the run that fails be one that launches, captures or replays.
      expectTwice(*session, 5, 1);
      for (int i = 1; i < runs; ++i)
        expectTwice(*session, 4, 1);
      fake->restart();
      fake->failCall = call;
      std::vector<float> y;
      Status status = runTwice(*session, 4, 2, y);
      EXPECT_EQ(session->hasRun(), status.isOk());
      EXPECT_EQ(session->outputBytes(0).empty(), !status.isOk());
      fake->restart();
      for (int i = 0; i < 3; ++i)
        expectTwice(*session, 4, static_cast<float>(i));
    }
}

TEST_F(CudaSession, LostDevicesComeBackWithNewSessions) {
  auto first = make(arithmetic(), "twice"),
       second = make(arithmetic(), "twice");
  expectTwice(*first, 4, 1);
  fake->restart();
  fake->failCall = 3;
  fake->failResult = 700;
  fake->staysLost = true;
  std::vector<float> y;
  EXPECT_ERROR(runTwice(*first, 3, 1, y), "CUDA_ERROR_ILLEGAL_ADDRESS");
  for (Session *session : {first.get(), second.get()})
    EXPECT_ERROR(runTwice(*session, 4, 1, y),
                 "cannot be used any more after an earlier failure (step 0, "
                 "function 'double': cuLaunchKernel failed: "
                 "CUDA_ERROR_ILLEGAL_ADDRESS); close all sessions on cuda:0");
  EXPECT_ERROR(open(arithmetic(), "twice").status(),
               "close all sessions on cuda:0 and make new ones");
  first.reset();
  second.reset();
  fake->restart();
  expectTwice(*make(arithmetic(), "twice"), 4, 1);
}
