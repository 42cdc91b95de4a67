//===- CpuSession.cpp - Sessions on a processor ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Kernels are called in order, each with its tasks among the threads. They read
// weights from the mapped file and inputs from the caller's memory.
//
//===----------------------------------------------------------------------===//

#include "SessionState.h"

#include "nibble/Base/ThreadPool.h"
#include "nibble/Runtime/Memory.h"
#include "nibble/Runtime/Variant.h"

#include <cstring>

using namespace nibble;
using namespace nibble::session;

namespace {

/// Steps that touch fewer bytes than this take about as long as it takes to
/// hand work to another thread; they run on the caller alone.
constexpr int64_t smallStepBytes = 32 * 1024;

struct CpuStates : StateMemory {
  std::vector<Pages> pages;
};

struct CpuDevice : Device {
  CpuDevice(std::shared_ptr<const Bundle> bundle, const CodeVariant &variant,
            const SessionOptions &options)
      : Device(std::move(bundle)), variant(variant),
        pool(options.threads, options.cores) {
    name = "cpu";
    target = variant.target;
  }
  Status loadCode();
  Status reserveArena();

  const Program &program(size_t entry) const override {
    return bundle->index().entries[entry];
  }
  Expected<std::shared_ptr<const StateMemory>> makeStates() const override;
  std::unique_ptr<State> makeState(std::shared_ptr<Device> self,
                                   std::shared_ptr<const StateMemory> states,
                                   size_t entry) const override;
  const std::byte *weight(uint32_t number) const override {
    return bundle->weight(number).empty() ? nullptr
                                          : bundle->weight(number).data();
  }
  unsigned threads() const override { return pool.threads(); }

  const CodeVariant &variant;
  ThreadPool pool;
  Pages code, arenaPages;
};

/// A step's kernel, and how its tasks are run.
struct CpuCall {
  CpuKernel kernel = nullptr;
  uint32_t tasks = 0; ///< number of the expression
  int64_t taskCount = 0;
  bool isSmall = false; ///< not worth a second thread in this run
};

struct CpuState : State {
  CpuState(std::shared_ptr<Device> device,
           std::shared_ptr<const StateMemory> states, size_t entry)
      : State(std::move(device), std::move(states), entry),
        cpu(static_cast<CpuDevice &>(*this->device)),
        placed(this->entry.inputs.size()), memory(this->entry.outputs.size()) {}

  Status addStep(const Step &step, PreparedStep &prepared) override;
  Status placeInputs() override;
  Status placeOutput(uint32_t output) override;
  std::byte *inputMemory(uint32_t input) const override {
    return const_cast<std::byte *>(placed[input].data);
  }
  std::byte *outputMemory(uint32_t output) const override {
    return memory[output].current.data();
  }
  Status sizeStep(uint32_t step) override;
  Status runSteps() override;
  const std::byte *outputData(uint32_t output) const override {
    return memory[output].current.data();
  }
  void keepOutput(uint32_t output) override {
    std::swap(memory[output].current, memory[output].spare);
  }

  /// What kernels read of an input: its bytes, or a copy of them where they are
  /// not aligned to an element.
  struct Placed {
    const std::byte *data = nullptr;
    Pages aligned;
  };
  /// Two buffers, so that a cache can be read from one and written to the
  /// other.
  struct Memory {
    Pages current, spare;
  };
  CpuDevice &cpu;
  std::vector<Placed> placed;
  std::vector<Memory> memory;
  std::vector<CpuCall> calls; ///< as steps
};

} // namespace

//===----------------------------------------------------------------------===//
// Once per bundle
//===----------------------------------------------------------------------===//

Status CpuDevice::loadCode() {
  std::span<const std::byte> image = bundle->code(variant);
  Expected<Pages> pages = Pages::reserve(image.size());
  if (!pages)
    return pages.status();
  code = pages.take();
  if (image.empty())
    return Status::success();
  std::memcpy(code.data(), image.data(), image.size());
  // The file may have changed since it was opened: what runs is what is hashed.
  if (sha256({code.data(), image.size()}) != variant.digest)
    return Status::error("the bundle's code has changed since it was opened");
  return code.makeExecutable();
}

Status CpuDevice::reserveArena() {
  uint64_t bytes = 0;
  for (const EntryPoint &entry : bundle->index().entries)
    bytes = std::max(bytes, entry.arenaBytes);
  Expected<Pages> pages = Pages::reserve(bytes);
  if (!pages)
    return pages.status();
  arenaPages = pages.take();
  arena = arenaPages.data();
  return Status::success();
}

Expected<std::shared_ptr<const StateMemory>> CpuDevice::makeStates() const {
  auto states = std::make_shared<CpuStates>();
  for (const StateEntry &state : bundle->index().states) {
    Expected<uint64_t> bytes =
        bundle::maxStateBytes(state, bundle->index().dims);
    if (!bytes)
      return bytes.status();
    Expected<Pages> pages = Pages::reserve(*bytes);
    if (!pages)
      return pages.status().withContext("state " + quoted(state.name));
    states->pages.push_back(pages.take());
    states->pointers.push_back(states->pages.back().data());
    states->bytes.push_back(*bytes);
  }
  return std::shared_ptr<const StateMemory>(std::move(states));
}

std::unique_ptr<State>
CpuDevice::makeState(std::shared_ptr<Device> self,
                     std::shared_ptr<const StateMemory> states,
                     size_t entry) const {
  return std::make_unique<CpuState>(std::move(self), std::move(states), entry);
}

Expected<std::shared_ptr<Device>>
session::makeCpuDevice(std::shared_ptr<const Bundle> bundle,
                       const SessionOptions &options) {
  Expected<uint32_t> variant = selectVariant(*bundle, options.variant);
  if (!variant)
    return variant.status();
  if (Status status = ThreadPool::checkCores(options.cores); !status.isOk())
    return status;
  const CodeVariant &code = bundle->index().variants[*variant];
  auto device = std::make_shared<CpuDevice>(std::move(bundle), code, options);
  if (Status status = device->loadCode(); !status.isOk())
    return status;
  if (Status status = device->reserveArena(); !status.isOk())
    return status;
  return std::shared_ptr<Device>(std::move(device));
}

//===----------------------------------------------------------------------===//
// Once per session
//===----------------------------------------------------------------------===//

Status CpuState::addStep(const Step &step, PreparedStep &prepared) {
  CpuCall &call = calls.emplace_back();
  call.kernel = reinterpret_cast<CpuKernel>(
      cpu.code.data() + cpu.variant.kernelOffsets[step.kernel]);
  call.tasks = numberOf(step.tasks);
  prepared.expressions = {call.tasks};
  return Status::success();
}

//===----------------------------------------------------------------------===//
// Once per run
//===----------------------------------------------------------------------===//

Status CpuState::placeInputs() {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Input &input = inputs[i];
    auto &[data, aligned] = placed[i];
    data = input.data;
    size_t alignment = std::max(entry.inputs[i].type.bits / 8, 1);
    if (reinterpret_cast<uintptr_t>(input.data) % alignment == 0)
      continue;
    if (aligned.size() < input.bytes) {
      Expected<Pages> pages = Pages::reserve(input.bytes);
      if (!pages)
        return pages.status();
      aligned = pages.take();
    }
    std::memcpy(aligned.data(), input.data, input.bytes);
    data = aligned.data();
  }
  return Status::success();
}

Status CpuState::placeOutput(uint32_t number) {
  const Output &output = outputs[number];
  if (memory[number].current.size() >= output.bytes)
    return Status::success();
  // All of it at once where the system allows: later runs find it there.
  Expected<Pages> pages = Pages::reserve(output.maxBytes);
  if (!pages)
    pages = Pages::reserve(output.bytes);
  if (!pages)
    return pages.status();
  memory[number].current = pages.take();
  return Status::success();
}

Status CpuState::sizeStep(uint32_t number) {
  const PreparedStep &step = steps[number];
  CpuCall &call = calls[number];
  call.taskCount = values[call.tasks];
  int64_t left = smallStepBytes;
  for (uint32_t i = 0; i < step.bufferCount && left > 0; ++i)
    left -= std::min(left, values[buffers[step.firstBuffer + i].bytes]);
  call.isSmall = left > 0;
  return Status::success();
}

Status CpuState::runSteps() {
  for (size_t i = 0; i < steps.size(); ++i) {
    const PreparedStep &step = steps[i];
    const CpuCall &call = calls[i];
    void *const *stepBuffers = pointers.data() + step.firstBuffer;
    const int64_t *stepScalars = scalarValues.data() + step.firstScalar;
    if (call.isSmall || call.taskCount <= 0) {
      if (call.taskCount > 0)
        call.kernel(stepBuffers, stepScalars, 0, call.taskCount);
    } else {
      cpu.pool.parallelFor(call.taskCount, [&](int64_t begin, int64_t end) {
        call.kernel(stepBuffers, stepScalars, begin, end);
      });
    }
    if (step.stage == 0)
      continue;
    if (call.taskCount <= 0)
      return Status::error("the bundle's program defines dimensions in a step "
                           "without tasks; compile the model again");
    const Stage &stage = stages[step.stage];
    if (Status status = enter(
            stage, static_cast<const std::byte *>(pointers[stage.values]));
        !status.isOk())
      return status;
  }
  return Status::success();
}
