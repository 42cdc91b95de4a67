//===- CheckSteps.cpp - The steps of a program ----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rules R6, R7, R8, R11 and R12 of docs/BundleFormat.md, for the program of any
// device: references that lead somewhere, and buffers with room at the bounds.
//
//===----------------------------------------------------------------------===//

#include "Checks.h"

namespace nibble::bundle {

StepChecker::StepChecker(const BundleIndex &index,
                         const std::vector<uint64_t> &stateBytes)
    : index(index), stateBytes(stateBytes), bounds(boundsOf(index.dims)) {}

Status StepChecker::check(const EntryPoint &entry, const Program &program,
                          const std::vector<const KernelEntry *> &kernels) {
  for (const Step &step : program.steps)
    if (Status status = checkStep(entry, program, kernels, step);
        !status.isOk())
      return status.withContext("step " +
                                std::to_string(&step - program.steps.data()));
  return checkDefinitions(entry, program, index.dims);
}

// R6: a step refers to a kernel with as many buffers and scalars, and to an
// earlier step. R7: expressions have bounds.
Status StepChecker::checkStep(const EntryPoint &entry, const Program &program,
                              const std::vector<const KernelEntry *> &kernels,
                              const Step &step) {
  if (step.kernel >= kernels.size())
    return Status::error("there is no kernel " + std::to_string(step.kernel));
  const KernelEntry &kernel = *kernels[step.kernel];
  if (step.buffers.size() != kernel.bufferCount ||
      step.scalars.size() != kernel.scalarCount)
    return Status::error("kernel " + quoted(kernel.name) + " takes " +
                         std::to_string(kernel.bufferCount) + " buffers and " +
                         std::to_string(kernel.scalarCount) +
                         " scalars, found " +
                         std::to_string(step.buffers.size()) + " and " +
                         std::to_string(step.scalars.size()));
  if (step.results > step.buffers.size())
    return Status::error("more results than buffers");
  if (step.after < -1 || step.after >= &step - program.steps.data())
    return Status::error("waits for step " + std::to_string(step.after) +
                         ", expected an earlier one or -1");
  if (Expected<int64_t> tasks = largest(step.tasks); !tasks)
    return tasks.status().withContext("tasks");
  for (const DimExpr &scalar : step.scalars)
    if (Expected<int64_t> value = largest(scalar); !value)
      return value.status().withContext("scalar");
  size_t firstResult = step.buffers.size() - step.results;
  for (size_t i = 0; i < step.buffers.size(); ++i)
    if (Status status = checkBuffer(entry, program, step.buffers[i],
                                    /*isResult=*/i >= firstResult);
        !status.isOk())
      return status.withContext("buffer " + std::to_string(i));
  return Status::success();
}

// R8: buffers exist and are large enough at the bounds; inputs and weights
// are never written.
Status StepChecker::checkBuffer(const EntryPoint &entry, const Program &program,
                                const BufferRef &buffer, bool isResult) {
  Expected<int64_t> bytes = largest(buffer.bytes);
  if (!bytes)
    return bytes.status();
  if (*bytes < 0)
    return Status::error("has a negative size");
  uint64_t size = static_cast<uint64_t>(*bytes);
  if (buffer.kind == BufferRef::Kind::Arena) {
    uint64_t end;
    if (buffer.index != 0 || buffer.offset % weightAlignment != 0 ||
        __builtin_add_overflow(buffer.offset, size, &end) ||
        end > program.arenaBytes)
      return Status::error("of at most " + std::to_string(size) + " bytes at " +
                           std::to_string(buffer.offset) +
                           " is not inside the arena's " +
                           std::to_string(program.arenaBytes) +
                           " bytes, or not on a multiple of 256");
    return Status::success();
  }
  if (buffer.offset != 0)
    return Status::error("has an offset outside the arena");
  if (buffer.kind == BufferRef::Kind::Weight) {
    if (buffer.index >= index.weights.size())
      return Status::error("there is no weight " +
                           std::to_string(buffer.index));
    if (isResult)
      return Status::error("is a weight, and written");
    const WeightEntry &weight = index.weights[buffer.index];
    if (size > weight.bytes)
      return Status::error("reads " + std::to_string(size) +
                           " bytes of weight " + quoted(weight.name) +
                           ", which has " + std::to_string(weight.bytes));
    return Status::success();
  }
  if (buffer.kind == BufferRef::Kind::State) {
    if (buffer.index >= index.states.size())
      return Status::error("there is no state " + std::to_string(buffer.index));
    if (size > stateBytes[buffer.index])
      return Status::error("uses " + std::to_string(size) + " bytes of state " +
                           quoted(index.states[buffer.index].name) +
                           ", which has " +
                           std::to_string(stateBytes[buffer.index]));
    return Status::success();
  }
  bool isInput = buffer.kind == BufferRef::Kind::Input;
  size_t count = isInput ? entry.inputs.size() : entry.outputs.size();
  if (buffer.index >= count)
    return Status::error("there is no " +
                         std::string(isInput ? "input " : "output ") +
                         std::to_string(buffer.index));
  if (isInput && isResult)
    return Status::error("is an input, and written");
  return Status::success();
}

Expected<int64_t> StepChecker::largest(const DimExpr &expression) {
  auto known = maxima.find(expression);
  if (known != maxima.end())
    return known->second;
  Expected<DimExpr::Bound> bound = expression.bound(bounds);
  if (!bound)
    return bound.status();
  maxima.emplace(expression, bound->max);
  return bound->max;
}

} // namespace nibble::bundle
