//===- EncodeIndex.cpp - An index as bytes --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Bundle/Format.h"

#include "Fields.h"

#include <map>

namespace nibble::bundle {
namespace {

/// The expressions of an index, each text once, numbered by first use.
class ExpressionTable {
public:
  uint32_t add(const DimExpr &expression) {
    auto [entry, isNew] = numbers.try_emplace(
        expression.str(), static_cast<uint32_t>(texts.size()));
    if (isNew)
      texts.push_back(entry->first);
    return entry->second;
  }
  const std::vector<std::string> &all() const { return texts; }

private:
  std::map<std::string, uint32_t> numbers;
  std::vector<std::string> texts;
};

void encodeTensor(Encoder &to, const std::string &name, ElementType type,
                  const std::vector<DimExpr> &shape,
                  ExpressionTable &expressions) {
  to.string(name);
  to.number(static_cast<uint8_t>(type.kind));
  to.number(type.bits);
  to.count(shape.size());
  for (const DimExpr &dim : shape)
    to.number(expressions.add(dim));
}

void encodePorts(Encoder &to, const std::vector<Port> &ports,
                 ExpressionTable &expressions) {
  to.count(ports.size());
  for (const Port &port : ports)
    encodeTensor(to, port.name, port.type, port.shape, expressions);
}

void encodeStep(Encoder &to, const Step &step, ExpressionTable &expressions) {
  to.number(step.kernel);
  to.count(step.buffers.size());
  for (const BufferRef &buffer : step.buffers) {
    to.number(static_cast<uint8_t>(buffer.kind));
    to.number(buffer.index);
    to.number(buffer.offset);
    to.number(expressions.add(buffer.bytes));
  }
  to.number(step.results);
  to.count(step.scalars.size());
  for (const DimExpr &scalar : step.scalars)
    to.number(expressions.add(scalar));
  to.number(expressions.add(step.tasks));
  to.number(step.after);
}

void encodeProgram(Encoder &to, const Program &program,
                   ExpressionTable &expressions) {
  to.number(program.arenaBytes);
  to.count(program.steps.size());
  for (const Step &step : program.steps)
    encodeStep(to, step, expressions);
}

void encodeEntry(Encoder &to, const EntryPoint &entry,
                 ExpressionTable &expressions) {
  to.string(entry.name);
  encodePorts(to, entry.inputs, expressions);
  encodePorts(to, entry.outputs, expressions);
  to.count(entry.checks.size());
  for (const IndexCheck &check : entry.checks) {
    to.number(check.input);
    to.number(check.min);
    to.number(check.limit);
  }
  encodeProgram(to, entry, expressions);
}

void encodeGeneration(Encoder &to, const GenerationInfo &info) {
  to.string(info.entry);
  to.number(info.tokens);
  to.number(info.attentionMask);
  to.number(info.positions);
  to.number(info.logits);
  to.count(info.cache.size());
  for (auto [input, output] : info.cache) {
    to.number(input);
    to.number(output);
  }
  to.string(info.sequenceDim);
  to.string(info.pastDim);
}

/// Which steps define dimensions, with their number in front.
void encodeDefinitions(Encoder &to,
                       const std::vector<const Program *> &programs) {
  Encoder records;
  size_t count = 0;
  for (size_t p = 0; p < programs.size(); ++p)
    for (size_t s = 0; s < programs[p]->steps.size(); ++s) {
      const std::vector<uint32_t> &defines = programs[p]->steps[s].defines;
      if (defines.empty())
        continue;
      ++count;
      records.number(static_cast<uint32_t>(p));
      records.number(static_cast<uint32_t>(s));
      records.count(defines.size());
      for (uint32_t dim : defines)
        records.number(dim);
    }
  to.count(count);
  to.raw(records.out.data(), records.out.size());
}

/// The states and who uses them; nothing if there is none.
void encodeStates(Encoder &to, const BundleIndex &index,
                  ExpressionTable &expressions) {
  if (!(featuresOf(index) & featureStates))
    return;
  to.count(index.states.size());
  for (const StateEntry &state : index.states)
    encodeTensor(to, state.name, state.type, state.shape, expressions);
  to.number(static_cast<uint8_t>(index.decoder ? 1 : 0));
  if (!index.decoder)
    return;
  to.string(index.decoder->prefill);
  to.string(index.decoder->decode);
  to.number(index.decoder->capacity);
}

void encodeLaunch(Encoder &to, const CudaLaunch &launch,
                  ExpressionTable &expressions) {
  to.string(launch.target);
  to.number(static_cast<uint8_t>(launch.upTo ? 1 : 0));
  if (launch.upTo) {
    to.number(expressions.add(launch.over));
    to.number(*launch.upTo);
  }
  to.number(static_cast<uint8_t>(launch.workspace ? 1 : 0));
  if (launch.workspace)
    to.number(expressions.add(*launch.workspace));
  to.count(launch.calls.size());
  for (const CudaCall &call : launch.calls) {
    to.string(call.function);
    for (const DimExpr &size : call.grid)
      to.number(expressions.add(size));
    for (uint32_t size : call.block)
      to.number(size);
    to.number(call.sharedBytes);
  }
}

/// Programs for NVIDIA GPUs; nothing if there are none.
void encodeCuda(Encoder &to, const BundleIndex &index,
                ExpressionTable &expressions) {
  if (!index.cuda)
    return;
  to.count(index.cuda->kernels.size());
  for (const CudaKernel &kernel : index.cuda->kernels) {
    to.string(kernel.name);
    to.number(kernel.bufferCount);
    to.number(kernel.scalarCount);
    to.count(kernel.launches.size());
    for (const CudaLaunch &launch : kernel.launches)
      encodeLaunch(to, launch, expressions);
  }
  to.count(index.cuda->programs.size());
  std::vector<const Program *> programs;
  for (const Program &program : index.cuda->programs) {
    encodeProgram(to, program, expressions);
    programs.push_back(&program);
  }
  encodeDefinitions(to, programs);
  to.count(index.cuda->images.size());
  for (const CudaImage &image : index.cuda->images) {
    to.string(image.target);
    to.number(static_cast<uint8_t>(image.isPtx ? 1 : 0));
    to.number(image.offset);
    to.number(image.bytes);
    to.digest(image.digest);
  }
}

} // namespace

std::vector<std::byte> encodeIndex(const BundleIndex &index) {
  // The expressions stand before the records that refer to them, and are known
  // only after these.
  ExpressionTable expressions;
  Encoder entries;
  entries.count(index.entries.size());
  for (const EntryPoint &entry : index.entries)
    encodeEntry(entries, entry, expressions);
  Encoder states, cuda;
  encodeStates(states, index, expressions);
  encodeCuda(cuda, index, expressions);

  Encoder to;
  to.string(index.producer);
  to.count(index.dims.size());
  for (const DimSymbol &dim : index.dims) {
    to.string(dim.name);
    to.number(dim.min);
    to.number(dim.max);
  }
  to.count(expressions.all().size());
  for (const std::string &text : expressions.all())
    to.string(text);
  to.number(index.weightOffset);
  to.number(index.weightBytes);
  to.count(index.weights.size());
  for (const WeightEntry &weight : index.weights) {
    to.string(weight.name);
    to.number(weight.offset);
    to.number(weight.bytes);
    to.number(weight.indexLimit);
    to.number(weight.indexBits);
    to.digest(weight.digest);
  }
  to.count(index.kernels.size());
  for (const KernelEntry &kernel : index.kernels) {
    to.string(kernel.name);
    to.number(kernel.bufferCount);
    to.number(kernel.scalarCount);
  }
  to.raw(entries.out.data(), entries.out.size());
  to.count(index.variants.size());
  for (const CodeVariant &variant : index.variants) {
    to.string(variant.target);
    to.number(variant.offset);
    to.number(variant.bytes);
    to.digest(variant.digest);
    to.count(variant.kernelOffsets.size());
    for (uint64_t offset : variant.kernelOffsets)
      to.number(offset);
  }
  to.count(index.layers.size());
  for (const LayerInfo &layer : index.layers) {
    to.string(layer.id);
    to.string(layer.kind);
    to.string(layer.scheme);
    to.number(layer.parameters);
    to.number(layer.bitsPerWeight);
  }
  to.number(static_cast<uint8_t>(index.generation ? 1 : 0));
  if (index.generation)
    encodeGeneration(to, *index.generation);
  to.count(index.tokenizer.size());
  to.raw(index.tokenizer.data(), index.tokenizer.size());
  if (featuresOf(index) & featureDefinitions) {
    std::vector<const Program *> programs;
    for (const EntryPoint &entry : index.entries)
      programs.push_back(&entry);
    encodeDefinitions(to, programs);
  }
  to.raw(states.out.data(), states.out.size());
  to.raw(cuda.out.data(), cuda.out.size());
  return std::move(to.out);
}

uint64_t featuresOf(const BundleIndex &index) {
  uint64_t features = 0;
  for (const EntryPoint &entry : index.entries)
    for (const Step &step : entry.steps)
      if (!step.defines.empty())
        features |= featureDefinitions;
  if (!index.states.empty() || index.decoder)
    features |= featureStates;
  if (index.cuda)
    features |= featureCuda;
  return features;
}

} // namespace nibble::bundle
