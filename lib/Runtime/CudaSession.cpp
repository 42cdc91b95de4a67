//===- CudaSession.cpp - Sessions on an NVIDIA GPU ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A run is a list of work on one stream: copies of the inputs, launches, copies
// of the outputs. When a run has the shapes of the one before, its list is
// captured into a graph, which runs like it are from then on: one call of the
// driver for a decode step. Other shapes choose other functions and grids, so
// that each node would change; a graph is then captured anew instead of being
// updated, which takes a call for each node like launching them. Tokens and
// lengths are data in the inputs and change nothing.
//
// Every run ends when its outputs are there. After a failure the stream is
// drained, so that nothing of it is left when the next one begins.
//
//===----------------------------------------------------------------------===//

#include "CudaDevice.h"

#include <algorithm>
#include <cstring>

using namespace nibble;
using namespace nibble::session;

namespace {

struct PreparedCall {
  cuda::FunctionHandle function = nullptr;
  const CudaCall *call = nullptr;
  std::array<uint32_t, 3> grid{}; ///< numbers of expressions
};

/// A launch of a kernel with the scalars of a step put in.
struct PreparedLaunch {
  std::optional<int64_t> upTo;
  uint32_t over = 0;                 ///< number of the expression
  std::optional<uint32_t> workspace; ///< the same
  std::vector<PreparedCall> calls;
};

struct CudaCalls {
  std::vector<PreparedLaunch> launches;
  size_t chosen = 0; ///< in this run
  /// Addresses of the parameters' values: buffers, scalars, workspace.
  std::vector<void *> parameters;
};

/// An input or output on the device, and the host's memory that is copied.
struct Mirror {
  cuda::DeviceMemory device;
  cuda::PinnedMemory host;
};

struct CudaState : State {
  CudaState(std::shared_ptr<Device> device,
            std::shared_ptr<const StateMemory> states, size_t entry)
      : State(std::move(device), std::move(states), entry),
        gpu(static_cast<CudaDevice &>(*this->device)),
        placed(this->entry.inputs.size()), memory(this->entry.outputs.size()),
        spare(memory.size()), addresses(placed.size()) {}

  Status addStep(const Step &step, PreparedStep &prepared) override;
  Status finishSteps() override;
  Status placeInputs() override;
  Status placeOutput(uint32_t output) override;
  std::byte *inputMemory(uint32_t input) const override {
    return addresses[input];
  }
  std::byte *outputMemory(uint32_t output) const override {
    return memory[output].device.data();
  }
  Status sizeStep(uint32_t step) override;
  Status runSteps() override;
  const std::byte *outputData(uint32_t output) const override {
    return memory[output].host.data();
  }
  void keepOutput(uint32_t output) override {
    std::swap(memory[output], spare[output]);
  }

  Status makeRoom(Mirror &mirror, uint64_t bytes, uint64_t maxBytes,
                  const Port &port);
  Status checkCalls(uint32_t step, const PreparedLaunch &launch) const;
  Status runWork();
  Status enqueue();
  Status enqueueInputs();
  Status enqueueStep(uint32_t step);
  Status enterStage(uint32_t step);
  Status enqueueOutputs();
  Status capture();
  bool hasSamePorts();

  CudaDevice &gpu;
  std::vector<Mirror> placed, memory, spare;
  std::vector<std::byte *> addresses; ///< of the inputs, on the device
  std::vector<uint64_t> mostBytes;    ///< of the inputs, at the bounds
  std::vector<CudaCalls> calls;       ///< as steps
  cuda::PinnedMemory defined; ///< values of dimensions that a step finds
  std::byte *workspace = nullptr;
  /// What runs of this shape do, with inputs and outputs at these addresses.
  cuda::GraphExec graph;
  std::vector<std::byte *> lastPorts;
};

} // namespace

//===----------------------------------------------------------------------===//
// Once per session
//===----------------------------------------------------------------------===//

Status CudaState::addStep(const Step &step, PreparedStep &prepared) {
  const CudaKernel &kernel = bundle().index().cuda->kernels[step.kernel];
  std::map<std::string, DimExpr> scalars;
  for (size_t i = 0; i < step.scalars.size(); ++i)
    scalars.emplace(bundle::scalarName(i), step.scalars[i]);
  auto number = [&](const DimExpr &expression) {
    prepared.expressions.push_back(numberOf(expression.substitute(scalars)));
    return prepared.expressions.back();
  };
  CudaCalls &own = calls.emplace_back();
  for (const CudaLaunch *launch : bundle::launchesOf(kernel, gpu.target)) {
    PreparedLaunch &to = own.launches.emplace_back();
    to.upTo = launch->upTo;
    if (launch->upTo)
      to.over = number(launch->over);
    if (launch->workspace)
      to.workspace = number(*launch->workspace);
    for (const CudaCall &call : launch->calls) {
      PreparedCall &each = to.calls.emplace_back();
      each.function = gpu.model->function(call.function);
      each.call = &call;
      for (size_t i = 0; i < 3; ++i)
        each.grid[i] = number(call.grid[i]);
    }
  }
  return Status::success();
}

Status CudaState::finishSteps() {
  workspace = gpu.workspace.data() ? gpu.workspace.data() : gpu.empty;
  for (const Port &port : entry.inputs) {
    Expected<uint64_t> bytes =
        bundle::maxPortBytes(port, bundle().index().dims);
    if (!bytes)
      return bytes.status();
    mostBytes.push_back(*bytes);
  }
  uint32_t mostDefined = 0;
  for (uint32_t i = 0; i < steps.size(); ++i) {
    const PreparedStep &step = steps[i];
    for (uint32_t b = 0; b < step.bufferCount; ++b)
      calls[i].parameters.push_back(&pointers[step.firstBuffer + b]);
    for (uint32_t s = 0; s < program.steps[i].scalars.size(); ++s)
      calls[i].parameters.push_back(&scalarValues[step.firstScalar + s]);
    calls[i].parameters.push_back(&workspace);
    mostDefined = std::max(
        mostDefined, static_cast<uint32_t>(program.steps[i].defines.size()));
  }
  plannedBytes += gpu.workspace.size();
  auto allocated =
      cuda::PinnedMemory::allocate(gpu.context, mostDefined * sizeof(int64_t));
  if (!allocated)
    return allocated.status();
  defined = allocated.take();
  return Status::success();
}

//===----------------------------------------------------------------------===//
// Set-up of a run
//===----------------------------------------------------------------------===//

/// Grows by doubling up to the bounds, so that a sequence that becomes longer
/// with each run does not allocate in each.
Status CudaState::makeRoom(Mirror &mirror, uint64_t bytes, uint64_t maxBytes,
                           const Port &port) {
  if (mirror.device.size() >= bytes && mirror.host.size() >= bytes)
    return Status::success();
  uint64_t size = std::min(maxBytes, std::max(bytes, 2 * mirror.device.size()));
  std::string what = quoted(port.name);
  auto device = cuda::DeviceMemory::allocate(gpu.context, size, what);
  if (!device)
    return device.status();
  auto host = cuda::PinnedMemory::allocate(gpu.context, size);
  if (!host)
    return host.status().withContext(what);
  mirror.device = device.take();
  mirror.host = host.take();
  return Status::success();
}

Status CudaState::placeInputs() {
  if (Status status = gpu.context->checkUsable(); !status.isOk())
    return status;
  for (uint32_t i = 0; i < inputs.size(); ++i) {
    const Input &input = inputs[i];
    if (input.bytes == 0) {
      addresses[i] = gpu.empty;
      continue;
    }
    if (input.fedBack >= 0) { // it has not left the device
      addresses[i] = spare[input.fedBack].device.data();
      continue;
    }
    if (Status status =
            makeRoom(placed[i], input.bytes, mostBytes[i], entry.inputs[i]);
        !status.isOk())
      return status;
    std::memcpy(placed[i].host.data(), input.data, input.bytes);
    addresses[i] = placed[i].device.data();
  }
  return Status::success();
}

Status CudaState::placeOutput(uint32_t output) {
  return makeRoom(memory[output], outputs[output].bytes,
                  outputs[output].maxBytes, entry.outputs[output]);
}

/// Sizes of a run, which Bundle::open has checked at the bounds only.
Status CudaState::checkCalls(uint32_t step,
                             const PreparedLaunch &launch) const {
  auto error = [&](const std::string &what, int64_t value) {
    return Status::error("step " + std::to_string(step) + " has " + what +
                         " of " + std::to_string(value) +
                         "; compile the model again");
  };
  for (const PreparedCall &call : launch.calls)
    for (size_t i = 0; i < 3; ++i)
      if (int64_t size = values[call.grid[i]];
          size < 0 || size > bundle::maxGrid[i] ||
          (size == 0 && steps[step].stage != 0)) // defines dimensions
        return error("a grid", size);
  if (launch.workspace)
    if (int64_t bytes = values[*launch.workspace];
        bytes < 0 || static_cast<uint64_t>(bytes) > gpu.workspace.size())
      return error("a workspace", bytes);
  return Status::success();
}

Status CudaState::sizeStep(uint32_t step) {
  CudaCalls &own = calls[step];
  own.chosen = 0;
  while (const std::optional<int64_t> &upTo = own.launches[own.chosen].upTo) {
    if (values[own.launches[own.chosen].over] <= *upTo)
      break;
    ++own.chosen; // the last one has no limit
  }
  return checkCalls(step, own.launches[own.chosen]);
}

//===----------------------------------------------------------------------===//
// Work of a run
//===----------------------------------------------------------------------===//

Status CudaState::enqueueInputs() {
  for (uint32_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].bytes != 0 && inputs[i].fedBack < 0)
      if (Status status = gpu.driver.memcpyHtoD(
              cuda::address(addresses[i]), placed[i].host.data(),
              inputs[i].bytes, gpu.stream.get());
          !status.isOk())
        return status;
  return Status::success();
}

Status CudaState::enqueueOutputs() {
  for (uint32_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].bytes != 0)
      if (Status status = gpu.driver.memcpyDtoH(
              memory[i].host.data(), cuda::address(memory[i].device.data()),
              outputs[i].bytes, gpu.stream.get());
          !status.isOk())
        return status;
  return Status::success();
}

Status CudaState::enqueueStep(uint32_t step) {
  CudaCalls &own = calls[step];
  for (const PreparedCall &each : own.launches[own.chosen].calls) {
    const CudaCall &call = *each.call;
    std::array<unsigned, 3> grid;
    for (size_t i = 0; i < 3; ++i)
      grid[i] = static_cast<unsigned>(values[each.grid[i]]);
    if (std::ranges::count(grid, 0u) != 0)
      continue;
    if (Status status = gpu.driver.launchKernel(
            each.function, grid[0], grid[1], grid[2], call.block[0],
            call.block[1], call.block[2], call.sharedBytes, gpu.stream.get(),
            own.parameters.data(), /*extra=*/nullptr);
        !status.isOk())
      return status.withContext("step " + std::to_string(step) +
                                ", function '" + call.function + "'");
  }
  return Status::success();
}

/// Reads the dimensions that a step has found.
Status CudaState::enterStage(uint32_t step) {
  const Stage &stage = stages[steps[step].stage];
  auto *found = static_cast<const std::byte *>(pointers[stage.values]);
  if (Status status = gpu.driver.memcpyDtoH(
          defined.data(), cuda::address(found),
          stage.dims.size() * sizeof(int64_t), gpu.stream.get());
      !status.isOk())
    return status;
  if (Status status = gpu.driver.streamSynchronize(gpu.stream.get());
      !status.isOk())
    return status;
  return enter(stage, defined.data());
}

Status CudaState::enqueue() {
  if (Status status = enqueueInputs(); !status.isOk())
    return status;
  for (uint32_t i = 0; i < steps.size(); ++i) {
    if (Status status = enqueueStep(i); !status.isOk())
      return status;
    if (steps[i].stage != 0)
      if (Status status = enterStage(i); !status.isOk())
        return status;
  }
  return enqueueOutputs();
}

/// Makes `graph` of the work of this run.
Status CudaState::capture() {
  const cuda::Driver &driver = gpu.driver;
  if (Status status =
          driver.streamBeginCapture(gpu.stream.get(), cuda::captureThreadLocal);
      !status.isOk())
    return status;
  Status enqueued = enqueue();
  // Also after an error: the stream must leave the capture.
  cuda::GraphHandle handle = nullptr;
  Status ended = driver.streamEndCapture(gpu.stream.get(), &handle);
  cuda::Graph captured(gpu.context, handle, &cuda::Driver::graphDestroy);
  for (const Status &status : {enqueued, ended})
    if (!status.isOk())
      return status;
  cuda::GraphExecHandle exec = nullptr;
  if (Status status =
          driver.graphInstantiate(&exec, captured.get(), /*flags=*/0);
      !status.isOk())
    return status;
  graph = {gpu.context, exec, &cuda::Driver::graphExecDestroy};
  return Status::success();
}

/// Whether inputs and outputs are where they were in the last run. Not so where
/// a cache is fed back, which has two places.
bool CudaState::hasSamePorts() {
  bool isSame = lastPorts.size() == addresses.size() + memory.size();
  lastPorts.resize(addresses.size() + memory.size());
  for (size_t i = 0; i < lastPorts.size(); ++i) {
    std::byte *now = i < addresses.size()
                         ? addresses[i]
                         : memory[i - addresses.size()].device.data();
    isSame &= std::exchange(lastPorts[i], now) == now;
  }
  return isSame;
}

Status CudaState::runWork() {
  bool isSame = hasSamePorts() && isRepeated;
  if (!isSame)
    graph = {};
  else if (!graph)
    if (Status status = capture(); !status.isOk())
      return status;
  if (!graph)
    return enqueue();
  return gpu.driver.graphLaunch(graph.get(), gpu.stream.get());
}

Status CudaState::runSteps() {
  cuda::Context::Current current(*gpu.context);
  if (!current.status.isOk())
    return current.status;
  Status status = runWork();
  if (status.isOk())
    status = gpu.driver.streamSynchronize(gpu.stream.get());
  if (status.isOk())
    return status;
  gpu.context->noteFailure(gpu.stream.get(), status);
  // What failed is done anew from the start.
  lastPorts.clear();
  graph = {};
  return status.withContext(gpu.context->info().name);
}

std::unique_ptr<State>
CudaDevice::makeState(std::shared_ptr<Device> self,
                      std::shared_ptr<const StateMemory> states,
                      size_t entry) const {
  return std::make_unique<CudaState>(std::move(self), std::move(states), entry);
}
