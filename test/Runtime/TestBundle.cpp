//===- TestBundle.cpp - Bundles with hand-written kernels -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestBundle.h"

#include "gtest/gtest.h"

#include <cstring>
#include <fstream>
#include <unistd.h>

using namespace nibble;
using Kind = BufferRef::Kind;

namespace {

enum KernelNumber : uint32_t {
  Double,
  Lookup,
  Concat,
  Predict,
  Sum,
  CountUp,
  Remember,
  Answer,
  AnswerOne
};
constexpr const char *kernelNames[] = {"double",   "lookup", "concat",
                                       "predict",  "sum",    "count_up",
                                       "remember", "answer", "answer_one"};

DimExpr symbol(const char *name) { return DimExpr::symbol(name); }

/// One image with all kernels; they are small enough to be in every bundle.
void addCode(BundleContents &contents) {
  contents.index.kernels = {
      {"double_0", 2, 1},   {"lookup_1", 3, 1}, {"concat_2", 3, 2},
      {"predict_3", 4, 3},  {"sum_4", 2, 1},    {"count_up_5", 1, 0},
      {"remember_6", 4, 2}, {"answer_7", 4, 2}, {"answer_one_8", 3, 2}};
  CodeVariant &variant = contents.index.variants.emplace_back();
#if defined(__aarch64__)
  variant.target = "aarch64-dotprod";
#else
  variant.target = "x86-64-v3";
#endif
  std::vector<std::byte> &image = contents.images.emplace_back();
  for (const char *name : kernelNames) {
    std::ifstream file(std::string(NIBBLE_TEST_KERNELS "/") + name + ".bin",
                       std::ios::binary);
    std::string code((std::istreambuf_iterator<char>(file)),
                     std::istreambuf_iterator<char>());
    EXPECT_FALSE(code.empty()) << name;
    image.resize((image.size() + 63) / 64 * 64);
    variant.kernelOffsets.push_back(image.size());
    const auto *bytes = reinterpret_cast<const std::byte *>(code.data());
    image.insert(image.end(), bytes, bytes + code.size());
  }
}

Step makeStep(KernelNumber kernel, std::vector<BufferRef> buffers,
              std::vector<DimExpr> scalars, DimExpr tasks) {
  Step step;
  step.kernel = kernel;
  step.buffers = std::move(buffers);
  step.scalars = std::move(scalars);
  step.tasks = std::move(tasks);
  return step;
}

//===----------------------------------------------------------------------===//
// A SentencePiece model, field by field (sentencepiece_model.proto)
//===----------------------------------------------------------------------===//

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7)
    bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string numberField(unsigned field, uint64_t value) {
  return varint(field << 3) + varint(value);
}

std::string bytesField(unsigned field, const std::string &bytes) {
  return varint(field << 3 | 2) + varint(bytes.size()) + bytes;
}

std::string piece(const std::string &text, unsigned type) {
  std::string score(4, '\0');
  return bytesField(1, bytesField(1, text) + varint(2 << 3 | 5) + score +
                           numberField(3, type));
}

/// <unk>, <s>, </s> and the letters a to p: 19 tokens.
std::string tokenizerModel() {
  std::string model = piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3);
  for (char letter = 'a'; letter <= 'p'; ++letter)
    model += piece(std::string(1, letter), 1);
  model += bytesField(2, numberField(3, 2) + numberField(40, 0) +
                             numberField(41, 1) + numberField(42, 2));
  model += bytesField(3, numberField(3, 0) + numberField(4, 0));
  return model;
}

} // namespace

BundleContents test::arithmeticContents() {
  BundleContents contents;
  BundleIndex &index = contents.index;
  index.producer = "nibble test";
  index.dims = {{"rows", 0, 64}, {"n", 1, 1000}};
  addCode(contents);
  index.weights.resize(1);
  index.weights[0].name = "table";
  contents.weightBytes = [](uint32_t) -> Expected<Tensor> {
    Tensor table = Tensor::allocate(ElementType::float32(), {5, 2});
    for (int i = 0; i < 10; ++i)
      table.asMutable<float>()[i] = static_cast<float>(i * i);
    return table;
  };

  DimExpr rows = symbol("rows"), n = symbol("n");
  EntryPoint &twice = index.entries.emplace_back();
  twice.name = "twice";
  twice.inputs = {{"x", ElementType::float32(), {rows, 3}}};
  twice.outputs = {{"y", ElementType::float32(), {rows, 3}}};
  twice.arenaBytes = 64 * 12 + 256;
  twice.steps = {makeStep(Double,
                          {{Kind::Input, 0, 0, rows * 12},
                           {Kind::Arena, 0, 256, rows * 12}},
                          {3}, rows),
                 makeStep(Double,
                          {{Kind::Arena, 0, 256, rows * 12},
                           {Kind::Output, 0, 0, rows * 12}},
                          {3}, rows)};

  EntryPoint &lookup = index.entries.emplace_back();
  lookup.name = "lookup";
  lookup.inputs = {{"ids", ElementType::signedInt(64), {n}}};
  lookup.outputs = {{"values", ElementType::float32(), {n, 2}}};
  lookup.checks = {{0, 0, 5}};
  lookup.steps = {makeStep(Lookup,
                           {{Kind::Input, 0, 0, n * 8},
                            {Kind::Weight, 0, 0, 40},
                            {Kind::Output, 0, 0, n * 8}},
                           {2}, n)};
  return contents;
}

BundleContents test::upToContents() {
  BundleContents contents;
  BundleIndex &index = contents.index;
  index.producer = "nibble test";
  index.dims = {{"n", 1, 1000}, {"total", 0, 50000}};
  addCode(contents);
  DimExpr n = symbol("n"), total = symbol("total");
  EntryPoint &upTo = index.entries.emplace_back();
  upTo.name = "up to";
  upTo.inputs = {{"ids", ElementType::signedInt(64), {n}}};
  upTo.outputs = {{"numbers", ElementType::signedInt(64), {total}}};
  upTo.arenaBytes = 8;
  upTo.steps = {
      makeStep(Sum, {{Kind::Input, 0, 0, n * 8}, {Kind::Arena, 0, 0, 8}}, {n},
               1),
      makeStep(CountUp, {{Kind::Output, 0, 0, total * 8}}, {}, total)};
  upTo.steps[0].defines = {1};
  upTo.steps[1].after = 0;
  return contents;
}

BundleContents test::languageModelContents(bool withCache) {
  BundleContents contents;
  BundleIndex &index = contents.index;
  index.producer = "nibble test";
  index.dims = {{"batch", 1, 1}, {"seq", 1, maxSequence}};
  if (withCache)
    index.dims.push_back({"past", 0, maxPast});
  addCode(contents);

  DimExpr batch = symbol("batch"), seq = symbol("seq");
  DimExpr past = withCache ? symbol("past") : DimExpr(0);
  DimExpr total = past + seq;
  EntryPoint &entry = index.entries.emplace_back();
  entry.name = "main";
  ElementType integer = ElementType::signedInt(64);
  entry.inputs = {{"input_ids", integer, {batch, seq}},
                  {"attention_mask", integer, {batch, total}},
                  {"position_ids", integer, {batch, seq}}};
  entry.outputs = {
      {"logits", ElementType::float32(), {batch, seq, vocabulary}}};
  entry.checks = {{0, 0, vocabulary}};
  entry.arenaBytes = 256;
  BufferRef before = {Kind::Arena, 0, 0, 0},
            present = {Kind::Output, 1, 0, total * 4};
  if (withCache) {
    entry.inputs.push_back({"past_0", ElementType::float32(), {batch, past}});
    before = {Kind::Input, 3, 0, past * 4};
  }
  // Without a cache this is an output that nobody feeds back.
  entry.outputs.push_back(
      {"present_0", ElementType::float32(), {batch, total}});
  entry.steps = {makeStep(Concat,
                          {before, {Kind::Input, 0, 0, seq * 8}, present},
                          {past, seq}, 1),
                 makeStep(Predict,
                          {present,
                           {Kind::Input, 1, 0, total * 8},
                           {Kind::Input, 2, 0, seq * 8},
                           {Kind::Output, 0, 0, seq * (4 * vocabulary)}},
                          {past, seq, vocabulary}, seq)};

  GenerationInfo &generation = index.generation.emplace();
  generation.entry = "main";
  generation.tokens = 0;
  generation.attentionMask = 1;
  generation.positions = 2;
  generation.logits = 0;
  generation.sequenceDim = "seq";
  if (withCache) {
    generation.cache = {{3, 1}};
    generation.pastDim = "past";
  }
  std::string tokenizer = tokenizerModel();
  const auto *bytes = reinterpret_cast<const std::byte *>(tokenizer.data());
  index.tokenizer.assign(bytes, bytes + tokenizer.size());
  return contents;
}

BundleContents test::decoderContents() {
  BundleContents contents = languageModelContents(/*withCache=*/true);
  BundleIndex &index = contents.index;
  index.dims[0].max = 4;
  constexpr int64_t capacity = maxPast + 1;
  DimExpr batch = symbol("batch");
  index.states = {{"cache_0", ElementType::float32(), {batch, capacity}}};
  index.decoder = {"prefill", "decode", capacity};
  ElementType integer = ElementType::signedInt(64);
  for (bool isDecode : {false, true}) {
    DimExpr length = isDecode ? DimExpr(1) : symbol("seq");
    EntryPoint &entry = index.entries.emplace_back();
    entry.name = isDecode ? "decode" : "prefill";
    entry.inputs = {{"input_ids", integer, {batch, length}},
                    {"past_lengths", integer, {batch}}};
    entry.outputs = {{"logits", ElementType::float32(), {batch, vocabulary}}};
    entry.checks = {{0, 0, vocabulary}, {1, 0, capacity}};
    BufferRef past = {Kind::Input, 1, 0, batch * 8},
              cache = {Kind::State, 0, 0, batch * (4 * capacity)},
              logits = {Kind::Output, 0, 0, batch * (4 * vocabulary)};
    Step remember = makeStep(
        Remember, {{Kind::Input, 0, 0, batch * length * 8}, past, cache, cache},
        {length, capacity}, batch);
    Step answer = makeStep(isDecode ? AnswerOne : Answer, {cache, past, logits},
                           {capacity, vocabulary}, batch);
    answer.after = 0;
    if (!isDecode) {
      entry.inputs.push_back({"last", integer, {batch}});
      entry.checks.push_back({2, 0, maxSequence});
      answer.buffers.insert(answer.buffers.begin() + 2,
                            {Kind::Input, 2, 0, batch * 8});
    }
    // Too large for one thread, so that all of them take part.
    constexpr int64_t half = 65536, row = 64;
    entry.arenaBytes = 2 * half;
    Step shared = makeStep(
        Double, {{Kind::Arena, 0, 0, half}, {Kind::Arena, 0, half, half}},
        {row}, half / 4 / row);
    entry.steps = {remember, answer, shared};
  }
  return contents;
}

/// Kernels have one more scalar on a GPU: the number of tasks, which is the
/// number of blocks.
BundleContents test::withCuda(BundleContents contents) {
  BundleIndex &index = contents.index;
  CudaSection &cuda = index.cuda.emplace();
  for (const KernelEntry &kernel : index.kernels) {
    CudaKernel &own = cuda.kernels.emplace_back();
    own.name = kernel.name;
    own.bufferCount = kernel.bufferCount;
    own.scalarCount = kernel.scalarCount + 1;
    CudaLaunch &launch = own.launches.emplace_back();
    CudaCall &call = launch.calls.emplace_back();
    call.function = kernelNames[cuda.kernels.size() - 1];
    call.grid[0] = symbol(("d" + std::to_string(kernel.scalarCount)).c_str());
    call.block = {64, 1, 1};
  }
  for (const EntryPoint &entry : index.entries) {
    Program &program = cuda.programs.emplace_back(entry);
    for (Step &step : program.steps)
      step.scalars.push_back(std::exchange(step.tasks, 1));
  }
  cuda.images.resize(2);
  cuda.images[0].target = "sm_90a";
  cuda.images[1].target = "sm_80";
  cuda.images[1].isPtx = true;
  contents.cudaImages.resize(2, std::vector<std::byte>(8, std::byte{'x'}));
  return contents;
}

BundleContents test::cudaOnly(BundleContents contents) {
  contents = withCuda(std::move(contents));
  for (EntryPoint &entry : contents.index.entries)
    static_cast<Program &>(entry) = {};
  contents.index.kernels.clear();
  contents.index.variants.clear();
  contents.images.clear();
  return contents;
}

std::string test::expectedText(const std::string &prompt, size_t maxTokens) {
  int64_t sum = 1, length = 1; // the start token
  for (char letter : prompt) {
    sum += letter - 'a' + 3;
    ++length;
  }
  std::string text;
  for (size_t i = 0; i < maxTokens; ++i) {
    int64_t next = (sum + length - 1) % vocabulary;
    if (next == 2)
      break;
    if (next >= 3)
      text += static_cast<char>('a' + next - 3);
    else if (next == 0)
      text += " \xe2\x81\x87 "; // SentencePiece's text of an unknown token
    sum += next;
    ++length;
  }
  return text;
}

std::string test::writeTemporary(const BundleContents &contents) {
  static int number = 0;
  std::string path = testing::TempDir() + "nibble-runtime-" +
                     std::to_string(getpid()) + "-" + std::to_string(number++) +
                     ".nbl";
  Status status = writeBundle(path, contents);
  EXPECT_TRUE(status.isOk()) << status.message();
  return path;
}

std::shared_ptr<const Bundle>
test::openTemporary(const BundleContents &contents) {
  std::string path = writeTemporary(contents);
  auto bundle = Bundle::open(path);
  unlink(path.c_str()); // the mapping keeps it
  EXPECT_TRUE(bool(bundle)) << bundle.status().message();
  return bundle ? *bundle : nullptr;
}
