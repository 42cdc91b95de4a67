//===- Programs.cpp - The steps of a qkernel.program, by its launches -----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// lib/Reference runs the program; here is how the kernel of a step runs. Every
// buffer of a step has bounds of its own, so that a kernel cannot reach what
// lies beside it in the arena, and results have no values at first.
//
//===----------------------------------------------------------------------===//

#include "Programs.h"

#include "Warp.h"

#include "nibble/Reference/Interpreter.h"
#include "nibble/Target/CudaKernelAbi.h"
#include "nibble/dialects/QKernel/Launches.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <cstring>

using namespace mlir;
using namespace nibble;
using namespace nibble::emulator;

namespace {

/// Bytes that the emulator gives a step.
constexpr int64_t mostWorkspace = int64_t(1) << 34;

class Programs {
public:
  explicit Programs(ModuleOp module) : module(module), machine(module) {}

  /// A StepRunner.
  LogicalResult run(Operation *step, qkernel::KernelOp kernel,
                    const DimValues &scalars,
                    ArrayRef<std::span<std::byte>> buffers);

private:
  const qkernel::LaunchTable *launchesOf(qkernel::KernelOp kernel);
  FailureOr<int64_t> evaluate(const DimExpr &expression,
                              const DimValues &scalars, Operation *kernel);
  LogicalResult call(const qkernel::LaunchCall &call, qkernel::KernelOp kernel,
                     const DimValues &scalars, ArrayRef<Word> arguments);
  SmallVector<Buffer *> place(qkernel::KernelOp kernel,
                              ArrayRef<std::span<std::byte>> buffers);
  LogicalResult checkWritten(Operation *step, qkernel::KernelOp kernel,
                             unsigned result, Buffer &buffer);

  ModuleOp module;
  Machine machine;
  llvm::DenseMap<Operation *, qkernel::LaunchTable> tables;
};

const qkernel::LaunchTable *Programs::launchesOf(qkernel::KernelOp kernel) {
  auto found = tables.find(kernel);
  if (found == tables.end()) {
    FailureOr<qkernel::LaunchTable> read = qkernel::launchesOf(kernel);
    if (failed(read))
      return nullptr;
    found = tables.try_emplace(kernel, std::move(*read)).first;
  }
  return &found->second;
}

FailureOr<int64_t> Programs::evaluate(const DimExpr &expression,
                                      const DimValues &scalars,
                                      Operation *kernel) {
  Expected<int64_t> value = expression.evaluate(
      [&](const std::string &name) -> std::optional<int64_t> {
        auto found = scalars.find(name);
        return found == scalars.end() ? std::nullopt
                                      : std::optional(found->second);
      });
  if (!value)
    return kernel->emitOpError()
           << "'" << expression.str() << "': " << value.status().message();
  return *value;
}

LogicalResult Programs::call(const qkernel::LaunchCall &call,
                             qkernel::KernelOp kernel, const DimValues &scalars,
                             ArrayRef<Word> arguments) {
  auto name = SymbolRefAttr::get(
      module.getContext(), qkernel::gpuModuleName,
      FlatSymbolRefAttr::get(module.getContext(), call.function));
  auto function = dyn_cast_or_null<gpu::GPUFuncOp>(
      SymbolTable::lookupSymbolIn(module, name));
  std::optional<ArrayRef<int32_t>> block =
      function ? function.getKnownBlockSize() : std::nullopt;
  if (!block || block->size() != 3)
    return kernel.emitOpError()
           << "expects a gpu.func " << name << " with a known_block_size";
  size_t parameters = function.getFunctionType().getNumInputs();
  if (parameters + 1 < arguments.size() || parameters > arguments.size())
    return function.emitError("expects ")
           << arguments.size() - 1 << " parameters, and perhaps one for a "
           << "workspace, got " << parameters;
  FailureOr<int64_t> x = evaluate(call.grid.x, scalars, kernel),
                     y = evaluate(call.grid.y, scalars, kernel),
                     z = evaluate(call.grid.z, scalars, kernel);
  if (failed(x) || failed(y) || failed(z))
    return failure();
  if (*x > maxCudaGridX || *y > maxCudaGridYZ || *z > maxCudaGridYZ || *x < 0 ||
      *y < 0 || *z < 0)
    return kernel.emitOpError() << "launches " << name << " on " << *x << " x "
                                << *y << " x " << *z << " blocks";
  if (*x == 0 || *y == 0 || *z == 0)
    return success();
  const Program *program = machine.program(function);
  if (!program)
    return failure();
  uint32_t shared = 0;
  if (auto bytes =
          function->getAttrOfType<IntegerAttr>("dynamic_shared_memory"))
    shared = static_cast<uint32_t>(bytes.getInt());
  auto size = [](int64_t value) { return static_cast<uint32_t>(value); };
  return machine.launch(
      *program, {size(*x), size(*y), size(*z)},
      {size((*block)[0]), size((*block)[1]), size((*block)[2])}, shared,
      arguments.take_front(parameters), function.getLoc());
}

/// A kernel writes every element of its results (Target/CudaKernelAbi.h).
LogicalResult Programs::checkWritten(Operation *step, qkernel::KernelOp kernel,
                                     unsigned result, Buffer &buffer) {
  for (uint64_t at = 0; at < buffer.size(); ++at) {
    Cell *cell = buffer.shadow.find(at);
    if (cell && cell->write.instr)
      continue;
    InFlightDiagnostic error = step->emitOpError();
    error << "byte " << at << " of result #" << result << ", which has "
          << buffer.size() << " bytes, is not written";
    error.attachNote(kernel.getLoc()) << "by the functions of this kernel";
    return failure();
  }
  return success();
}

/// Copies of the buffers in memory of the device.
SmallVector<Buffer *> Programs::place(qkernel::KernelOp kernel,
                                      ArrayRef<std::span<std::byte>> buffers) {
  unsigned operands = kernel.getBody().front().getNumArguments();
  SmallVector<Buffer *> placed;
  for (auto [i, bytes] : llvm::enumerate(buffers)) {
    bool isResult = i >= operands;
    // In place: one buffer with two names.
    auto same = llvm::find_if(
        buffers.take_front(operands), [&, bytes = bytes](auto operand) {
          return isResult && !bytes.empty() && operand.data() == bytes.data() &&
                 operand.size() == bytes.size();
        });
    if (size_t at = same - buffers.begin(); isResult && at < operands) {
      placed.push_back(placed[at]);
      continue;
    }
    Buffer &buffer = machine.memory.allocate(
        (isResult ? "result " + std::to_string(i - operands)
                  : "operand " + std::to_string(i)) +
            " of " + kernel.getSymName().str(),
        bytes.size(), deviceAlignment);
    buffer.undefined = isResult;
    if (!isResult && !bytes.empty())
      std::memcpy(buffer.bytes.data(), bytes.data(), bytes.size());
    placed.push_back(&buffer);
  }
  return placed;
}

LogicalResult Programs::run(Operation *step, qkernel::KernelOp kernel,
                            const DimValues &scalars,
                            ArrayRef<std::span<std::byte>> buffers) {
  const qkernel::LaunchTable *table = launchesOf(kernel);
  if (!table)
    return failure();
  FailureOr<int64_t> value = evaluate(table->over, scalars, kernel);
  if (failed(value))
    return failure();
  const qkernel::Launch &launch =
      *llvm::find_if(table->launches, [&](const qkernel::Launch &each) {
        return !each.upTo || *value <= *each.upTo;
      });
  FailureOr<int64_t> workspace = evaluate(launch.workspace, scalars, kernel);
  if (failed(workspace))
    return failure();
  if (*workspace < 0 || *workspace > mostWorkspace)
    return kernel.emitOpError()
           << "expects a workspace of 0 to " << mostWorkspace << " bytes, got "
           << *workspace;

  unsigned operands = kernel.getBody().front().getNumArguments();
  SmallVector<Buffer *> placed = place(kernel, buffers);
  Buffer &scratch = machine.memory.allocate(
      "workspace of " + kernel.getSymName().str(), *workspace, deviceAlignment);
  SmallVector<Word> arguments;
  for (Buffer *buffer : placed)
    arguments.push_back(buffer->base);
  for (StringRef name : kernel.getScalars().getAsValueRange<StringAttr>())
    arguments.push_back(static_cast<Word>(scalars.at(name.str())));
  arguments.push_back(scratch.base);

  for (const qkernel::LaunchCall &each : launch.calls)
    if (failed(call(each, kernel, scalars, arguments)))
      return failure();
  for (unsigned i = operands; i < placed.size(); ++i) {
    if (placed[i]->undefined &&
        failed(checkWritten(step, kernel, i - operands, *placed[i])))
      return failure();
    if (!buffers[i].empty())
      std::memcpy(buffers[i].data(), placed[i]->bytes.data(),
                  buffers[i].size());
  }
  for (Buffer *buffer : placed)
    machine.memory.release(*buffer);
  machine.memory.release(scratch);
  return success();
}

} // namespace

FailureOr<NamedTensors>
nibble::emulator::emulateProgram(ModuleOp module, Operation *program,
                                 const NamedTensors &inputs) {
  Programs programs(module);
  return runProgram(program, inputs,
                    [&](Operation *step, Operation *kernel,
                        const DimValues &scalars,
                        ArrayRef<std::span<std::byte>> buffers) {
                      return programs.run(step, cast<qkernel::KernelOp>(kernel),
                                          scalars, buffers);
                    });
}
