//===- Execute.cpp - One run on arrays from files ---------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Inputs that a language model needs beside its tokens are made when they are
// not given: a mask of ones, positions from 0, an empty past.
//
//===----------------------------------------------------------------------===//

#include "RunTool.h"

#include "nibble/Formats/Npy.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::tool;

namespace {

bool endsWith(const std::string &text, const std::string &end) {
  return text.size() >= end.size() &&
         text.compare(text.size() - end.size(), end.size(), end) == 0;
}

Status setFromFile(Session &session, const std::string &argument) {
  size_t equals = argument.find('=');
  if (equals == std::string::npos) {
    if (!endsWith(argument, ".npz"))
      return Status::error("expected --input NAME=F.npy or --input F.npz, "
                           "got '" +
                           argument + "'");
    Expected<NamedTensors> arrays = readNpz(argument);
    if (!arrays)
      return arrays.status();
    // Archives of references hold outputs as well; only inputs count here, and
    // one that is missing is reported before the run.
    for (const Port &port : session.entry().inputs)
      if (const Tensor *tensor = find(*arrays, port.name))
        if (Status status =
                session.setInput(port.name, fromNumpy(*tensor, port.type));
            !status.isOk())
          return status.withContext(argument);
    return Status::success();
  }
  std::string path = argument.substr(equals + 1);
  Expected<Tensor> tensor = readNpy(path);
  if (!tensor)
    return tensor.status();
  std::string name = argument.substr(0, equals);
  for (const Port &port : session.entry().inputs)
    if (port.name == name)
      *tensor = fromNumpy(*tensor, port.type);
  return session.setInput(name, *tensor).withContext(path);
}

/// What the other inputs of a language model are when only its tokens matter.
class DefaultInputs {
public:
  DefaultInputs(Session &session, const GenerationInfo &info,
                const std::vector<int64_t> &tokenShape)
      : session(session), info(info) {
    const Port &tokens = session.entry().inputs[info.tokens];
    for (size_t d = 0; d < tokenShape.size(); ++d)
      if (auto name = tokens.shape[d].asSymbol())
        dims[*name] = tokenShape[d];
    if (!info.pastDim.empty())
      dims.try_emplace(info.pastDim, 0);
  }

  Status set(uint32_t number) {
    const Port &port = session.entry().inputs[number];
    auto input = static_cast<int32_t>(number);
    bool isCache = std::any_of(info.cache.begin(), info.cache.end(),
                               [&](auto pair) { return pair.first == number; });
    if (!isCache && input != info.attentionMask && input != info.positions)
      return Status::success(); // the session will ask for it
    std::vector<int64_t> shape;
    for (const DimExpr &dim : port.shape) {
      Expected<int64_t> size =
          dim.evaluate([&](const std::string &name) -> std::optional<int64_t> {
            auto known = dims.find(name);
            if (known == dims.end())
              return std::nullopt;
            return known->second;
          });
      if (!size)
        return Status::success();
      shape.push_back(*size);
    }
    if (!elementCount(shape))
      return Status::success();
    Tensor tensor = Tensor::allocate(port.type, shape);
    int64_t row = shape.empty() ? 1 : shape.back();
    for (uint64_t i = 0; !isCache && i < tensor.size(); ++i)
      tensor.setNumberAt(
          i, input == info.attentionMask
                 ? 1
                 : static_cast<double>(i % static_cast<uint64_t>(row)));
    return session.setInput(port.name, tensor);
  }

private:
  Session &session;
  const GenerationInfo &info;
  std::map<std::string, int64_t> dims;
};

Status setDefaults(Session &session, const std::vector<bool> &isGiven,
                   const std::vector<int64_t> &tokenShape) {
  DefaultInputs defaults(session, *session.bundle().index().generation,
                         tokenShape);
  for (uint32_t i = 0; i < isGiven.size(); ++i)
    if (!isGiven[i])
      if (Status status = defaults.set(i); !status.isOk())
        return status;
  return Status::success();
}

std::string summary(const std::string &name, const Tensor &tensor) {
  std::string text =
      name + ": " + describe(tensor.type(), tensor.shape()) + "\n";
  if (tensor.size() == 0)
    return text;
  double least = tensor.numberAt(0), most = least, sum = 0;
  for (uint64_t i = 0; i < tensor.size(); ++i) {
    double value = tensor.numberAt(i);
    least = std::min(least, value);
    most = std::max(most, value);
    sum += value;
  }
  return text + "  min " + std::to_string(least) + ", max " +
         std::to_string(most) + ", mean " +
         std::to_string(sum / static_cast<double>(tensor.size())) + "\n";
}

} // namespace

Status tool::execute(Session &session, const RunOptions &options) {
  const EntryPoint &entry = session.entry();
  for (const std::string &argument : options.inputs)
    if (Status status = setFromFile(session, argument); !status.isOk())
      return status;
  const std::optional<GenerationInfo> &generation =
      session.bundle().index().generation;
  if (generation && generation->entry == entry.name) {
    std::vector<bool> isGiven;
    for (uint32_t i = 0; i < entry.inputs.size(); ++i)
      isGiven.push_back(session.isSet(i));
    if (isGiven[generation->tokens])
      if (Status status =
              setDefaults(session, isGiven, session.shape(generation->tokens));
          !status.isOk())
        return status;
  }
  if (std::string name = session.missingInput(); !name.empty())
    return Status::error("input '" + name + "' is not given; add --input " +
                         name + "=F.npy (--inspect lists all inputs)");
  if (Status status = session.run(); !status.isOk())
    return status;

  NamedTensors outputs;
  for (uint32_t i = 0; i < entry.outputs.size(); ++i)
    outputs.emplace_back(entry.outputs[i].name, session.output(i));
  if (!options.output.empty())
    return writeNpz(options.output, outputs);
  for (const auto &[name, tensor] : outputs)
    if (Status status = print(summary(name, tensor)); !status.isOk())
      return status;
  return Status::success();
}
