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

#include "nibble/Bundle/Generation.h"
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

/// Inputs that were not given, where only the tokens matter. What cannot be
/// made is left out: the session will ask for it.
Status setDefaults(Session &session, const std::vector<bool> &isGiven,
                   const std::vector<int64_t> &tokenShape) {
  const GenerationInfo &info = *session.bundle().index().generation;
  if (tokenShape.size() != 2)
    return Status::success();
  for (uint32_t i = 0; i < isGiven.size(); ++i) {
    auto number = static_cast<int32_t>(i);
    bool isCache = std::any_of(info.cache.begin(), info.cache.end(),
                               [&](auto pair) { return pair.first == i; });
    if (isGiven[i] ||
        (!isCache && number != info.attentionMask && number != info.positions))
      continue;
    Expected<Tensor> made =
        companionInput(session.entry(), info, i, tokenShape[0], tokenShape[1]);
    if (!made)
      continue;
    if (Status status = session.setInput(session.entry().inputs[i].name, *made);
        !status.isOk())
      return status;
  }
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
