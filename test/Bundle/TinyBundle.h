//===- TinyBundle.h - A small bundle with everything in it ------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The contents of golden-v1.nbl and of its variants -sizes, -states and -cuda,
// spelled a second time (the first is make_golden.py).
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_TEST_BUNDLE_TINYBUNDLE_H
#define NIBBLE_TEST_BUNDLE_TINYBUNDLE_H

#include "nibble/Bundle/Bundle.h"

namespace nibble::test {

inline std::vector<std::byte> bytesOf(std::string_view text) {
  const auto *data = reinterpret_cast<const std::byte *>(text.data());
  return {data, data + text.size()};
}

inline BundleContents tinyContents() {
  using Kind = BufferRef::Kind;
  DimExpr batch = DimExpr::symbol("batch"), seq = DimExpr::symbol("seq"),
          past = DimExpr::symbol("past");
  BundleContents contents;
  BundleIndex &index = contents.index;
  index.producer = "nibble golden";
  index.dims = {{"batch", 1, 2}, {"past", 0, 31}, {"seq", 1, 32}};
  index.weights.resize(2);
  index.weights[0].name = "table";
  index.weights[1].name = "order";
  index.weights[1].indexLimit = 6;
  index.kernels = {{"gather_1", 4, 1}, {"finish_2", 3, 2}};

  EntryPoint &entry = index.entries.emplace_back();
  entry.name = "main";
  entry.inputs = {{"input_ids", ElementType::signedInt(64), {batch, seq}},
                  {"past_0", ElementType::float32(), {batch, past}}};
  entry.outputs = {{"logits", ElementType::float32(), {batch, seq, 6}},
                   {"present_0", ElementType::float32(), {batch, past + seq}}};
  entry.checks = {{0, 0, 6}};
  entry.arenaBytes = 2048;
  Step gather;
  gather.kernel = 0;
  gather.buffers = {{Kind::Input, 0, 0, batch * seq * 8},
                    {Kind::Weight, 0, 0, 96},
                    {Kind::Weight, 1, 0, 12},
                    {Kind::Arena, 0, 256, batch * seq * 16}};
  gather.scalars = {seq};
  gather.tasks = batch;
  Step finish;
  finish.kernel = 1;
  finish.buffers = {{Kind::Arena, 0, 256, batch * seq * 16},
                    {Kind::Output, 0, 0, batch * seq * 24},
                    {Kind::Output, 1, 0, batch * (past + seq) * 4}};
  finish.results = 2;
  finish.scalars = {past, seq};
  finish.tasks = batch;
  finish.after = 0;
  entry.steps = {gather, finish};

  CodeVariant &variant = index.variants.emplace_back();
  variant.target = "x86-64-v3";
  variant.kernelOffsets = {0, 64};
  std::vector<std::byte> image(65, std::byte{0xcc});
  image.front() = image.back() = std::byte{0xc3};
  contents.images = {image};

  LayerInfo &layer = index.layers.emplace_back();
  layer = {"layers.0.q", "linear", "ui4 1x32", 24, 4.625};
  GenerationInfo &generation = index.generation.emplace();
  generation.entry = "main";
  generation.tokens = 0;
  generation.logits = 0;
  generation.cache = {{1, 1}};
  generation.sequenceDim = "seq";
  generation.pastDim = "past";
  index.tokenizer = bytesOf("TOK");

  contents.weightBytes = [](uint32_t weight) -> Expected<Tensor> {
    if (weight == 0) {
      Tensor table = Tensor::allocate(ElementType::float32(), {6, 4});
      for (int i = 0; i < 24; ++i)
        table.asMutable<float>()[i] = static_cast<float>(i) / 2;
      return table;
    }
    Tensor order = Tensor::allocate(ElementType::signedInt(32), {3});
    order.asMutable<int32_t>()[0] = 5;
    order.asMutable<int32_t>()[1] = 0;
    order.asMutable<int32_t>()[2] = 2;
    return order;
  };
  return contents;
}

/// The same with a dimension that step 0 finds, of which step 1 makes an
/// output.
inline BundleContents sizesContents() {
  using Kind = BufferRef::Kind;
  DimExpr hits = DimExpr::symbol("hits");
  BundleContents contents = tinyContents();
  BundleIndex &index = contents.index;
  index.dims.insert(index.dims.begin() + 1, {"hits", 0, 64});
  index.kernels = {{"gather_1", 5, 1}, {"finish_2", 4, 3}};
  EntryPoint &entry = index.entries[0];
  entry.outputs.push_back({"found", ElementType::signedInt(64), {hits}});
  Step &gather = entry.steps[0], &finish = entry.steps[1];
  gather.buffers.push_back({Kind::Arena, 0, 1792, 8});
  gather.results = 2;
  gather.defines = {1};
  finish.buffers.push_back({Kind::Output, 2, 0, hits * 8});
  finish.results = 3;
  finish.scalars.push_back(hits);
  return contents;
}

/// The first with a decoder beside it: entry points prefill and decode of one
/// step each, which work on a state in place.
inline BundleContents statesContents() {
  using Kind = BufferRef::Kind;
  DimExpr batch = DimExpr::symbol("batch"), seq = DimExpr::symbol("seq");
  BundleContents contents = tinyContents();
  BundleIndex &index = contents.index;
  index.kernels.push_back({"fill_3", 6, 1});
  index.kernels.push_back({"next_4", 5, 0});
  index.variants[0].kernelOffsets = {0, 64, 0, 64};
  index.states = {{"key_0", ElementType::float32(), {batch, 32}}};
  index.decoder = {"prefill", "decode", 32};
  for (bool isDecode : {false, true}) {
    DimExpr length = isDecode ? DimExpr(1) : seq;
    ElementType integer = ElementType::signedInt(64);
    EntryPoint &entry = index.entries.emplace_back();
    entry.name = isDecode ? "decode" : "prefill";
    entry.inputs = {{"input_ids", integer, {batch, length}},
                    {"past_lengths", integer, {batch}}};
    entry.outputs = {{"logits", ElementType::float32(), {batch, 6}}};
    entry.checks = {{0, 0, 6}, {1, 0, 32}};
    Step &step = entry.steps.emplace_back();
    step.kernel = isDecode ? 3 : 2;
    step.buffers = {{Kind::Input, 0, 0, batch * length * 8},
                    {Kind::Input, 1, 0, batch * 8}};
    if (!isDecode) {
      entry.inputs.push_back({"last", integer, {batch}});
      step.buffers.push_back({Kind::Input, 2, 0, batch * 8});
      step.scalars = {seq};
    }
    BufferRef cache = {Kind::State, 0, 0, batch * 128};
    step.buffers.push_back(cache);
    step.buffers.push_back({Kind::Output, 0, 0, batch * 24});
    step.buffers.push_back(cache);
    step.results = 2;
    step.tasks = batch;
  }
  return contents;
}

/// The first with a program for GPUs beside it, one of whose weights has the
/// bytes of another. Its first kernel has a launch of its own for one target.
inline BundleContents cudaContents() {
  using Kind = BufferRef::Kind;
  DimExpr batch = DimExpr::symbol("batch"), seq = DimExpr::symbol("seq"),
          past = DimExpr::symbol("past");
  DimExpr d0 = DimExpr::symbol("d0"), d1 = DimExpr::symbol("d1");
  BundleContents contents = tinyContents();
  BundleIndex &index = contents.index;
  WeightEntry &order = index.weights.emplace_back();
  order.name = "order on a GPU";
  order.indexLimit = 6;

  CudaSection &cuda = index.cuda.emplace();
  cuda.kernels.resize(2);
  CudaKernel &gather = cuda.kernels[0], &finish = cuda.kernels[1];
  gather.name = "gather_5";
  gather.bufferCount = 4;
  gather.scalarCount = 1;
  gather.launches.resize(2);
  CudaLaunch &few = gather.launches[0], &many = gather.launches[1];
  few.target = "sm_90a";
  few.over = d0;
  few.upTo = 8;
  few.calls = {{"gather_rows", {d0, 1, 1}, {128, 1, 1}, 0}};
  many.calls = {
      {"gather_blocks", {(d0 + 31).floorDiv(32), 2, 1}, {32, 4, 1}, 65536},
      {"gather_sum", {1, 1, 1}, {64, 1, 1}, 0}};
  many.workspace = d0 * 512;
  finish.name = "finish_6";
  finish.bufferCount = 3;
  finish.scalarCount = 2;
  finish.launches.resize(1);
  finish.launches[0].calls = {{"finish", {d1, 1, 1}, {32, 1, 1}, 0}};

  Program &program = cuda.programs.emplace_back();
  program.arenaBytes = 4096;
  program.steps.resize(2);
  Step &first = program.steps[0], &second = program.steps[1];
  first.kernel = 0;
  first.buffers = {{Kind::Input, 0, 0, batch * seq * 8},
                   {Kind::Weight, 0, 0, 96},
                   {Kind::Weight, 2, 0, 12},
                   {Kind::Arena, 0, 512, batch * seq * 16}};
  first.scalars = {seq};
  first.tasks = 1;
  second.kernel = 1;
  second.buffers = {{Kind::Arena, 0, 512, batch * seq * 16},
                    {Kind::Output, 0, 0, batch * seq * 24},
                    {Kind::Output, 1, 0, batch * (past + seq) * 4}};
  second.results = 2;
  second.scalars = {past, seq};
  second.tasks = 1;
  second.after = 0;

  cuda.images.resize(2);
  cuda.images[0].target = "sm_90a";
  cuda.images[1].target = "sm_80";
  cuda.images[1].isPtx = true;
  contents.cudaImages = {bytesOf("cubin"), bytesOf(".version 8.0\n")};
  return contents;
}

} // namespace nibble::test

#endif // NIBBLE_TEST_BUNDLE_TINYBUNDLE_H
