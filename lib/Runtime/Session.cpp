//===- Session.cpp - Run an entry point of a bundle -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A session when it is made, and its interface: what the caller sets is checked
// here. SessionDims.cpp and SessionRun.cpp set up each run, CpuSession.cpp and
// CudaSession.cpp do it.
//
//===----------------------------------------------------------------------===//

#include "SessionState.h"

#include "nibble/Runtime/Variant.h"

#include <algorithm>

using namespace nibble;
using namespace nibble::session;

//===----------------------------------------------------------------------===//
// Once per session
//===----------------------------------------------------------------------===//

uint32_t State::numberOf(const DimExpr &expression) {
  auto [entry, isNew] = numbers.try_emplace(
      expression, static_cast<uint32_t>(expressions.size()));
  if (isNew)
    expressions.push_back(expression);
  return entry->second;
}

Status State::prepareStep(const Step &step) {
  PreparedStep prepared;
  prepared.firstBuffer = static_cast<uint32_t>(buffers.size());
  prepared.firstScalar = static_cast<uint32_t>(scalars.size());
  prepared.bufferCount = static_cast<uint32_t>(step.buffers.size());
  for (const BufferRef &buffer : step.buffers) {
    buffers.push_back(
        {buffer.kind, buffer.index, buffer.offset, numberOf(buffer.bytes)});
    const std::byte *pointer = nullptr;
    switch (buffer.kind) {
    case BufferRef::Kind::Input:
    case BufferRef::Kind::Output:
      portBuffers.push_back(static_cast<uint32_t>(buffers.size() - 1));
      break;
    case BufferRef::Kind::Weight:
      pointer = device->weight(buffer.index);
      break;
    case BufferRef::Kind::Arena:
      if (device->arena)
        pointer = device->arena + buffer.offset;
      break;
    case BufferRef::Kind::State:
      pointer = states->pointers[buffer.index];
      break;
    }
    // Results are never weights, so nothing writes to one through this pointer.
    pointers.push_back(
        const_cast<std::byte *>(pointer ? pointer : device->empty));
  }
  for (const DimExpr &scalar : step.scalars)
    scalars.push_back(numberOf(scalar));
  if (Status status = addStep(step, prepared); !status.isOk())
    return status;
  steps.push_back(std::move(prepared));
  return Status::success();
}

/// One stage for the inputs, and one for each step that defines dimensions.
void State::prepareStages() {
  stages.resize(1);
  for (const Step &step : program.steps) {
    if (step.defines.empty())
      continue;
    for (uint32_t dim : step.defines)
      definedIn[bundle().index().dims[dim].name] =
          static_cast<uint32_t>(stages.size());
    stages.emplace_back().dims = step.defines;
  }
}

/// The first stage in which all dimensions of an expression are known.
uint32_t State::stageOf(const DimExpr &expression) const {
  uint32_t stage = 0;
  for (const std::string &name : expression.symbols())
    if (auto found = definedIn.find(name); found != definedIn.end())
      stage = std::max(stage, found->second);
  return stage;
}

/// Everything is set up in the first stage in which that is possible. Bundle
/// has checked that no step needs it earlier.
void State::assignStages() {
  std::vector<uint32_t> ofExpression, ofOutput;
  for (uint32_t i = 0; i < expressions.size(); ++i) {
    ofExpression.push_back(stageOf(expressions[i]));
    stages[ofExpression[i]].expressions.push_back(i);
  }
  for (uint32_t i = 0; i < outputShapes.size(); ++i) {
    uint32_t stage = 0;
    for (uint32_t dim : outputShapes[i])
      stage = std::max(stage, ofExpression[dim]);
    ofOutput.push_back(stage);
    stages[stage].outputs.push_back(i);
  }
  for (uint32_t i = 0; i < scalars.size(); ++i)
    stages[ofExpression[scalars[i]]].scalars.push_back(i);
  for (uint32_t i = 0; i < steps.size(); ++i) {
    const PreparedStep &step = steps[i];
    uint32_t stage = 0;
    for (uint32_t expression : step.expressions)
      stage = std::max(stage, ofExpression[expression]);
    for (uint32_t b = 0; b < step.bufferCount; ++b) {
      const PreparedBuffer &buffer = buffers[step.firstBuffer + b];
      uint32_t own = ofExpression[buffer.bytes];
      if (buffer.kind == BufferRef::Kind::Output)
        own = std::max(own, ofOutput[buffer.index]);
      stages[own].buffers.push_back(step.firstBuffer + b);
      stage = std::max(stage, own);
    }
    stages[stage].steps.push_back(i);
  }
}

Status State::prepare() {
  const BundleIndex &index = bundle().index();
  bounds = bundle::boundsOf(index.dims);
  dims.resize(index.dims.size());
  inputs.resize(entry.inputs.size());
  outputs.resize(entry.outputs.size());
  plannedBytes = program.arenaBytes;

  for (size_t i = 0; i < inputs.size(); ++i)
    for (const DimExpr &dim : entry.inputs[i].shape) {
      InputDim &prepared = inputs[i].dims.emplace_back();
      for (const std::string &name : dim.symbols())
        prepared.symbols.push_back(static_cast<uint32_t>(dimNumber(name)));
      prepared.isBare = dim.asSymbol().has_value();
      prepared.expression = numberOf(dim);
      Expected<DimExpr::Bound> bound = dim.bound(bounds);
      if (!bound)
        return bound.status();
      prepared.bound = *bound;
    }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Port &port = entry.outputs[i];
    Expected<uint64_t> bytes = bundle::maxPortBytes(port, index.dims);
    if (!bytes)
      return bytes.status();
    outputs[i].maxBytes = *bytes;
    plannedBytes += *bytes;
    outputShapes.emplace_back();
    for (const DimExpr &dim : port.shape)
      outputShapes.back().push_back(numberOf(dim));
  }
  prepareStages();
  uint32_t stage = 0;
  for (const Step &step : program.steps) {
    if (Status status = prepareStep(step); !status.isOk())
      return status;
    if (step.defines.empty())
      continue;
    steps.back().stage = ++stage;
    stages[stage].values = static_cast<uint32_t>(buffers.size() - 1);
  }
  assignStages();
  values.resize(expressions.size());
  scalarValues.resize(scalars.size());
  if (Status status = checkSolvable(); !status.isOk())
    return status;
  return finishSteps();
}

//===----------------------------------------------------------------------===//
// Interface
//===----------------------------------------------------------------------===//

Session::Session() = default;
Session::~Session() = default;

static Expected<size_t> findEntry(const BundleIndex &index,
                                  const std::string &wanted) {
  std::string name = wanted.empty() ? "main" : wanted;
  std::string names;
  for (const EntryPoint &entry : index.entries) {
    if (entry.name == name)
      return static_cast<size_t>(&entry - index.entries.data());
    names += (names.empty() ? "" : ", ") + entry.name;
  }
  if (wanted.empty() && index.entries.size() == 1)
    return size_t{0};
  return Status::error("expected an entry point of the bundle, got '" + name +
                       "'; it has: " + (names.empty() ? "none" : names));
}

Expected<std::unique_ptr<Session>>
Session::create(std::shared_ptr<const Bundle> bundle,
                const SessionOptions &options) {
  Expected<size_t> entry = findEntry(bundle->index(), options.entry);
  if (!entry)
    return entry.status();
  std::string name = bundle->index().entries[*entry].name;
  Expected<std::optional<uint32_t>> gpu = findGpu(*bundle, options.device);
  if (!gpu)
    return gpu.status();
  Expected<std::shared_ptr<Device>> device =
      *gpu ? makeCudaDevice(std::move(bundle), **gpu)
           : makeCpuDevice(std::move(bundle), options);
  if (!device)
    return device.status();
  auto states = (*device)->makeStates();
  if (!states)
    return states.status();
  return create(*device, *states, name);
}

Expected<std::unique_ptr<Session>> Session::share(const std::string &entry,
                                                  States states) const {
  if (states == States::Shared)
    return create(state->device, state->states, entry);
  auto own = state->device->makeStates();
  if (!own)
    return own.status();
  return create(state->device, *own, entry);
}

Expected<std::unique_ptr<Session>>
Session::create(std::shared_ptr<Device> device,
                std::shared_ptr<const StateMemory> states,
                const std::string &name) {
  Expected<size_t> entry = findEntry(device->bundle->index(), name);
  if (!entry)
    return entry.status();
  std::unique_ptr<Session> session(new Session());
  session->state = device->makeState(device, std::move(states), *entry);
  if (Status status = session->state->prepare(); !status.isOk())
    return status.withContext("entry point " +
                              quoted(session->state->entry.name));
  return session;
}

const Bundle &Session::bundle() const { return state->bundle(); }
const EntryPoint &Session::entry() const { return state->entry; }
const Program &Session::program() const { return state->program; }
const std::string &Session::device() const { return state->device->name; }
const std::string &Session::target() const { return state->device->target; }
unsigned Session::threads() const { return state->device->threads(); }
uint64_t Session::plannedBytes() const { return state->plannedBytes; }
bool Session::hasRun() const { return state->hasRun; }

Status Session::setInput(uint32_t number, const void *data,
                         std::span<const int64_t> shape) {
  if (number >= state->inputs.size())
    return Status::error("there is no input " + std::to_string(number) +
                         ", the entry point has " +
                         std::to_string(state->inputs.size()));
  const Port &port = state->entry.inputs[number];
  Input &input = state->inputs[number];
  auto error = [&](const std::string &text) {
    return Status::error("input " + quoted(port.name) + ": " + text);
  };
  if (shape.size() != port.shape.size())
    return error("expected " + std::to_string(port.shape.size()) +
                 " dimensions, got " + std::to_string(shape.size()));
  for (size_t d = 0; d < shape.size(); ++d) {
    DimExpr::Bound bound = input.dims[d].bound;
    int64_t least = std::max<int64_t>(bound.min, 0);
    if (shape[d] >= least && shape[d] <= bound.max)
      continue;
    std::string range = least == bound.max ? std::to_string(least)
                                           : std::to_string(least) + " to " +
                                                 std::to_string(bound.max);
    return error("dimension " + std::to_string(d) + " ('" +
                 port.shape[d].str() + "') is " + std::to_string(shape[d]) +
                 ", but the model was compiled for " + range +
                 "; use another input or compile with a larger --dim bound");
  }
  std::optional<uint64_t> count = elementCount(shape);
  std::optional<uint64_t> bytes =
      count ? byteSize(port.type, *count) : std::nullopt;
  if (!bytes)
    return error("the shape " + shapeText(shape) + " has too many elements");
  if (!data && *bytes != 0)
    return error("expected data, got a null pointer");
  input.data = *bytes ? static_cast<const std::byte *>(data) : nothing;
  std::copy(shape.begin(), shape.end(), input.shape.dims.begin());
  input.shape.rank = shape.size();
  input.bytes = *bytes;
  input.isSet = true;
  input.fedBack = -1;
  input.keepAlive = Tensor();
  return Status::success();
}

Status Session::setInput(const std::string &name, const Tensor &tensor) {
  const std::vector<Port> &ports = state->entry.inputs;
  std::string names;
  for (uint32_t i = 0; i < ports.size(); ++i) {
    names += (i ? ", " : "") + ports[i].name;
    if (ports[i].name != name)
      continue;
    if (tensor.type() != ports[i].type)
      return Status::error("input " + quoted(name) + ": expected elements of " +
                           ports[i].type.str() + ", got " +
                           tensor.type().str());
    if (Status status = setInput(i, tensor.bytes().data(), tensor.shape());
        !status.isOk())
      return status;
    state->inputs[i].keepAlive = tensor;
    return Status::success();
  }
  return Status::error(
      "there is no input " + quoted(name) +
      "; the entry point has: " + (names.empty() ? "none" : names));
}

Status Session::feedBack(uint32_t from, uint32_t to) {
  if (from >= state->outputs.size() || to >= state->inputs.size() ||
      state->entry.outputs[from].type != state->entry.inputs[to].type)
    return Status::error("expected an output and an input of the same type");
  if (!state->hasRun)
    return Status::error("expected a run before its output is fed back");
  if (Status status = setInput(to, state->outputData(from),
                               state->outputs[from].shape.span());
      !status.isOk())
    return status;
  state->inputs[to].fedBack = static_cast<int32_t>(from);
  state->keepOutput(from);
  return Status::success();
}

bool Session::isSet(uint32_t input) const {
  return input < state->inputs.size() && state->inputs[input].isSet;
}

std::vector<int64_t> Session::shape(uint32_t input) const {
  if (!isSet(input))
    return {};
  auto shape = state->inputs[input].shape.span();
  return {shape.begin(), shape.end()};
}

std::string Session::missingInput() const {
  for (size_t i = 0; i < state->inputs.size(); ++i)
    if (!state->inputs[i].isSet)
      return state->entry.inputs[i].name;
  return "";
}

Status Session::run() {
  if (std::string name = missingInput(); !name.empty())
    return Status::error("input " + quoted(name) +
                         " is not set; all inputs must be set before a run");
  return state->run();
}

std::span<const std::byte> Session::outputBytes(uint32_t number) const {
  if (!state->hasRun || number >= state->outputs.size())
    return {};
  const Output &output = state->outputs[number];
  return {output.bytes ? state->outputData(number) : nothing, output.bytes};
}

std::span<const int64_t> Session::outputShape(uint32_t number) const {
  if (!state->hasRun || number >= state->outputs.size())
    return {};
  return state->outputs[number].shape.span();
}

Tensor Session::output(uint32_t number) const {
  if (!state->hasRun || number >= state->outputs.size())
    return Tensor();
  auto shape = outputShape(number);
  return Tensor::borrow(state->entry.outputs[number].type,
                        {shape.begin(), shape.end()}, outputBytes(number),
                        nullptr);
}
