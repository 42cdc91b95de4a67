//===- SessionRun.cpp - The buffers and steps of a run ----------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Checks the indices that the caller gives, and finds the memory of every
// buffer at the sizes of this run.
//
//===----------------------------------------------------------------------===//

#include "SessionState.h"

#include <algorithm>
#include <cstring>

using namespace nibble;
using namespace nibble::session;

namespace {

/// Elements that lie outside [check.min, check.limit): the first, if any.
template <typename T>
std::optional<uint64_t> firstOutside(const std::byte *data, uint64_t bytes,
                                     const IndexCheck &check) {
  for (uint64_t at = 0; at < bytes; at += sizeof(T)) {
    T value;
    std::memcpy(&value, data + at, sizeof(T));
    bool isInside;
    if constexpr (std::is_unsigned_v<T>)
      isInside = check.limit > 0 &&
                 value < static_cast<uint64_t>(check.limit) &&
                 (check.min <= 0 || value >= static_cast<uint64_t>(check.min));
    else
      isInside = value >= check.min && value < check.limit;
    if (!isInside)
      return at / sizeof(T);
  }
  return std::nullopt;
}

std::optional<uint64_t> firstOutside(ElementType type, const std::byte *data,
                                     uint64_t bytes, const IndexCheck &check) {
  bool isSigned = type.kind == ElementType::Kind::Signed;
  switch (type.bits) {
  case 8:
    return isSigned ? firstOutside<int8_t>(data, bytes, check)
                    : firstOutside<uint8_t>(data, bytes, check);
  case 16:
    return isSigned ? firstOutside<int16_t>(data, bytes, check)
                    : firstOutside<uint16_t>(data, bytes, check);
  case 32:
    return isSigned ? firstOutside<int32_t>(data, bytes, check)
                    : firstOutside<uint32_t>(data, bytes, check);
  default:
    return isSigned ? firstOutside<int64_t>(data, bytes, check)
                    : firstOutside<uint64_t>(data, bytes, check);
  }
}

} // namespace

Status State::checkIndices() {
  for (const IndexCheck &check : entry.checks) {
    const Port &port = entry.inputs[check.input];
    const Input &input = inputs[check.input];
    std::optional<uint64_t> wrong =
        firstOutside(port.type, input.data, input.bytes, check);
    if (!wrong)
      continue;
    Tensor tensor = Tensor::borrow(
        port.type, {static_cast<int64_t>(input.bytes / (port.type.bits / 8))},
        {input.data, input.bytes}, nullptr);
    return Status::error("input " + quoted(port.name) + ": element " +
                         std::to_string(*wrong) + " is " +
                         std::to_string(tensor.integerAt(*wrong)) +
                         ", expected at least " + std::to_string(check.min) +
                         " and less than " + std::to_string(check.limit));
  }
  return Status::success();
}

Status State::placeOutputs(const Stage &stage) {
  for (uint32_t i : stage.outputs) {
    Output &output = outputs[i];
    const Port &port = entry.outputs[i];
    output.shape.rank = outputShapes[i].size();
    for (size_t d = 0; d < output.shape.rank; ++d)
      output.shape.dims[d] = values[outputShapes[i][d]];
    std::optional<uint64_t> count = elementCount(output.shape.span());
    std::optional<uint64_t> bytes =
        count ? byteSize(port.type, *count) : std::nullopt;
    if (!bytes || *bytes > output.maxBytes)
      return Status::error("these inputs give output " + quoted(port.name) +
                           " the shape " + shapeText(output.shape.span()) +
                           ", which it cannot have");
    output.bytes = *bytes;
    if (Status status = placeOutput(i); !status.isOk())
      return status.withContext("output " + quoted(port.name));
  }
  return Status::success();
}

/// Finds the memory of a buffer, and checks that it is there.
Status State::placeBuffer(uint32_t number) {
  const PreparedBuffer &buffer = buffers[number];
  int64_t bytes = values[buffer.bytes];
  uint64_t room = 0;
  switch (buffer.kind) {
  case BufferRef::Kind::Input:
    room = inputs[buffer.index].bytes;
    pointers[number] = room ? inputMemory(buffer.index) : device->empty;
    break;
  case BufferRef::Kind::Output:
    room = outputs[buffer.index].bytes;
    pointers[number] = room ? outputMemory(buffer.index) : device->empty;
    break;
  case BufferRef::Kind::Weight:
    room = bundle().index().weights[buffer.index].bytes;
    break;
  case BufferRef::Kind::Arena:
    room = program.arenaBytes - buffer.offset;
    break;
  case BufferRef::Kind::State:
    room = states->bytes[buffer.index];
    break;
  }
  if (bytes < 0 || static_cast<uint64_t>(bytes) > room)
    return Status::error("the bundle's program uses " + std::to_string(bytes) +
                         " bytes of a buffer of " + std::to_string(room) +
                         "; compile the model again");
  return Status::success();
}

Status State::placeBuffers(const Stage &stage) {
  for (uint32_t i : stage.buffers)
    if (Status status = placeBuffer(i); !status.isOk())
      return status;
  for (uint32_t i : stage.scalars)
    scalarValues[i] = values[scalars[i]];
  for (uint32_t i : stage.steps)
    if (Status status = sizeStep(i); !status.isOk())
      return status;
  return Status::success();
}

/// Sets up all that the inputs decide.
Status State::prepareInputs() {
  const Stage &first = stages.front();
  isRepeated =
      isPrepared && std::ranges::all_of(inputs, [](const Input &input) {
        return input.shape == input.preparedShape;
      });
  isPrepared = false;
  if (!isRepeated) {
    if (Status status = solveDims(); !status.isOk())
      return status;
    if (Status status = evaluate(first); !status.isOk())
      return status;
    if (Status status = checkShapes(); !status.isOk())
      return status;
  }
  if (Status status = checkIndices(); !status.isOk())
    return status;
  if (Status status = placeInputs(); !status.isOk())
    return status;
  if (Status status = placeOutputs(first); !status.isOk())
    return status;
  if (!isRepeated) {
    if (Status status = placeBuffers(first); !status.isOk())
      return status;
  } else {
    for (uint32_t i : portBuffers)
      if (Status status = placeBuffer(i); !status.isOk())
        return status;
  }
  for (Input &input : inputs)
    input.preparedShape = input.shape;
  isPrepared = stages.size() == 1; // later stages change what the first found
  return Status::success();
}

/// Sets up all that the dimensions decide that the last step has found:
/// `defined` are their values.
Status State::enter(const Stage &stage, const std::byte *defined) {
  if (Status status = define(stage, defined); !status.isOk())
    return status;
  using Part = Status (State::*)(const Stage &);
  for (Part part :
       {&State::evaluate, &State::placeOutputs, &State::placeBuffers})
    if (Status status = (this->*part)(stage); !status.isOk())
      return status;
  return Status::success();
}

Status State::run() {
  hasRun = false;
  if (Status status = prepareInputs(); !status.isOk())
    return status;
  if (Status status = runSteps(); !status.isOk())
    return status;
  hasRun = true;
  return Status::success();
}
