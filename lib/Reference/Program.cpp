//===- Program.cpp - Runs lowered programs on tensors ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Executes the steps of a qkernel.program on the buffers that the runtime would
// use: the same arena offsets, so that overlapping buffers show up as wrong
// results here. A step evaluates the body of its kernel, or calls who runs
// kernels otherwise. States are zero unless the inputs have an array of their
// name; the outputs have them after the run.
//
//===----------------------------------------------------------------------===//

#include "Strided.h"

#include "nibble/Support/Dims.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "llvm/ADT/StringSet.h"

#include <cstring>
#include <set>

using namespace mlir;

namespace nibble::reference {
namespace {

/// One run of a program.
class ProgramRun {
public:
  ProgramRun(qkernel::ProgramOp program, const Observer &observer,
             const StepRunner &runner)
      : program(program), observer(observer), runner(runner) {}

  FailureOr<NamedTensors> run(const NamedTensors &inputs);

private:
  LogicalResult bindInputs(const NamedTensors &inputs);
  LogicalResult allocateOutputs();
  LogicalResult allocateStates(const NamedTensors &inputs);
  /// The buffer's tensor among `states`; null if the module has no such state.
  Tensor *stateOf(qkernel::BufferAttr buffer);
  LogicalResult runStep(qkernel::StepOp step);
  /// Runs the step by what the ops of its kernel mean.
  LogicalResult interpretStep(qkernel::StepOp step, qkernel::KernelOp kernel,
                              DimValues &scalars,
                              ArrayRef<std::span<std::byte>> buffers);
  LogicalResult bindDefinitions(qkernel::StepOp step);
  FailureOr<int64_t> evaluate(Operation *op, StringRef expression,
                              const DimValues &values);
  /// The bytes behind a buffer; those of inputs and weights are read only.
  FailureOr<std::span<std::byte>> locate(qkernel::StepOp step,
                                         qkernel::BufferAttr buffer);

  qkernel::ProgramOp program;
  const Observer &observer;
  const StepRunner &runner;
  DimValues dims;
  std::set<std::string> pending; ///< dimensions that later steps define
  std::vector<Tensor> inputTensors;
  std::vector<std::optional<Tensor>> outputTensors;
  llvm::StringMap<Tensor> weights;
  NamedTensors states; ///< those that steps use
  Tensor arena;
};

} // namespace

FailureOr<int64_t> ProgramRun::evaluate(Operation *op, StringRef expression,
                                        const DimValues &values) {
  Expected<DimExpr> parsed = DimExpr::parse(expression.str());
  if (!parsed)
    return op->emitOpError() << "expression '" << expression
                             << "': " << parsed.status().message();
  Expected<int64_t> value = evaluateDim(*parsed, values);
  if (!value)
    return op->emitOpError()
           << "expression '" << expression << "': " << value.status().message();
  return *value;
}

LogicalResult ProgramRun::bindInputs(const NamedTensors &inputs) {
  DimBinder binder;
  for (Attribute attribute : program.getInputs()) {
    auto port = dyn_cast<qkernel::PortAttr>(attribute);
    if (!port)
      return program.emitOpError() << "expects inputs to be #qkernel.port";
    std::string name = port.getName().str();
    const Tensor *array = find(inputs, name);
    if (!array)
      return program.emitOpError()
             << "expects input '" << name << "', which is not given";
    auto element = fromMlirType(port.getElement());
    Tensor tensor = element ? fromNumpy(*array, *element) : *array;
    if (!element || *element != tensor.type() ||
        static_cast<int64_t>(port.getDims().size()) != tensor.rank())
      return program.emitOpError()
             << "input '" << name << "' expects rank " << port.getDims().size()
             << " of " << port.getElement() << ", got " << describe(tensor);
    std::vector<DimExpr> expressions;
    for (Attribute attribute : port.getDims()) {
      auto text = dyn_cast<StringAttr>(attribute);
      Expected<DimExpr> dim = DimExpr::parse(text ? text.str() : std::string());
      if (!dim)
        return program.emitOpError()
               << "input '" << name << "': " << dim.status().message();
      expressions.push_back(*dim);
    }
    binder.add("input '" + name + "'", expressions, tensor.shape());
    inputTensors.push_back(tensor);
  }
  if (Status status = binder.solve(dims); !status.isOk())
    return program.emitOpError() << status.message();
  return success();
}

/// Whether all dimensions in the texts are known by now, or no run will know
/// them.
static bool isDecided(ArrayAttr texts, const std::set<std::string> &pending) {
  return llvm::none_of(texts, [&](Attribute attribute) {
    auto text = dyn_cast<StringAttr>(attribute);
    Expected<DimExpr> dim = DimExpr::parse(text ? text.str() : std::string());
    return dim && llvm::any_of(dim->symbols(), [&](const std::string &name) {
             return pending.count(name) != 0;
           });
  });
}

/// Allocates the outputs whose sizes no later step decides.
LogicalResult ProgramRun::allocateOutputs() {
  outputTensors.resize(program.getOutputs().size());
  for (auto [attribute, output] :
       llvm::zip(program.getOutputs(), outputTensors)) {
    auto port = dyn_cast<qkernel::PortAttr>(attribute);
    auto element = port ? fromMlirType(port.getElement()) : std::nullopt;
    if (!element)
      return program.emitOpError() << "expects outputs to be #qkernel.port";
    if (output || !isDecided(port.getDims(), pending))
      continue;
    Shape shape;
    for (Attribute attribute : port.getDims()) {
      auto text = dyn_cast<StringAttr>(attribute);
      FailureOr<int64_t> size =
          evaluate(program, text ? text.getValue() : StringRef(), dims);
      if (failed(size))
        return failure();
      shape.push_back(*size);
    }
    Expected<Tensor> tensor = Tensor::tryAllocate(*element, shape);
    if (!tensor)
      return program.emitOpError() << "output '" << port.getName()
                                   << "': " << tensor.status().message();
    output = *tensor;
  }
  return success();
}

/// Allocates the states that steps use, with what the inputs say is in them.
LogicalResult ProgramRun::allocateStates(const NamedTensors &inputs) {
  llvm::StringSet<> used;
  for (auto step : program.getBody().front().getOps<qkernel::StepOp>())
    for (Attribute attribute : step.getBuffers())
      if (auto buffer = dyn_cast<qkernel::BufferAttr>(attribute);
          buffer && buffer.getKind() == qkernel::BufferKind::State &&
          buffer.getSymbol())
        used.insert(buffer.getSymbol().getValue());
  for (auto state :
       cast<ModuleOp>(program->getParentOp()).getOps<qkernel::StateOp>()) {
    if (!used.contains(state.getSymName()))
      continue;
    Shape shape;
    for (Attribute dim : state.getDims()) {
      FailureOr<int64_t> size =
          evaluate(state, cast<StringAttr>(dim).getValue(), dims);
      if (failed(size))
        return failure();
      shape.push_back(*size);
    }
    std::string name = state.getSymName().str();
    Expected<Tensor> tensor =
        Tensor::tryAllocate(*fromMlirType(state.getElement()), shape);
    if (!tensor)
      return program.emitOpError()
             << "state '" << name << "': " << tensor.status().message();
    if (const Tensor *given = find(inputs, name)) {
      if (given->type() != tensor->type() || given->shape() != shape)
        return program.emitOpError() << "state '" << name << "' expects "
                                     << nibble::describe(tensor->type(), shape)
                                     << ", got " << describe(*given);
      tensor = given->clone();
    }
    states.emplace_back(name, *tensor);
  }
  return success();
}

Tensor *ProgramRun::stateOf(qkernel::BufferAttr buffer) {
  for (auto &[name, tensor] : states)
    if (buffer.getSymbol() && buffer.getSymbol().getValue() == name)
      return &tensor;
  return nullptr;
}

/// Gives the dimensions that the step defines their values.
LogicalResult ProgramRun::bindDefinitions(qkernel::StepOp step) {
  auto buffer = cast<qkernel::BufferAttr>(step.getBuffers().getValue().back());
  FailureOr<std::span<std::byte>> bytes = locate(step, buffer);
  if (failed(bytes))
    return failure();
  auto bounds = dimBounds(step->getParentOfType<ModuleOp>());
  size_t at = 0;
  for (StringRef name : step.getDefines()->getAsValueRange<StringAttr>()) {
    int64_t value;
    std::memcpy(&value, bytes->data() + at, sizeof value);
    at += sizeof value;
    auto bound = bounds.find(name.str());
    if (value < 0 || (bound != bounds.end() &&
                      (value < bound->second.min || value > bound->second.max)))
      return step.emitOpError() << "dimension '" << name << "' would be "
                                << value << ", which is out of its bounds";
    dims[name.str()] = value;
    pending.erase(name.str());
  }
  return allocateOutputs();
}

FailureOr<std::span<std::byte>> ProgramRun::locate(qkernel::StepOp step,
                                                   qkernel::BufferAttr buffer) {
  FailureOr<int64_t> bytes = evaluate(step, buffer.getBytes(), dims);
  if (failed(bytes))
    return failure();
  std::span<std::byte> whole;
  auto readOnly = [](const Tensor &tensor) {
    return std::span<std::byte>(const_cast<std::byte *>(tensor.bytes().data()),
                                tensor.bytes().size());
  };
  size_t index = buffer.getIndex();
  switch (buffer.getKind()) {
  case qkernel::BufferKind::Input:
    if (index < inputTensors.size())
      whole = readOnly(inputTensors[index]);
    break;
  case qkernel::BufferKind::Output:
    if (index < outputTensors.size() && outputTensors[index])
      whole = outputTensors[index]->mutableBytes();
    break;
  case qkernel::BufferKind::Arena:
    whole = arena.mutableBytes();
    break;
  case qkernel::BufferKind::State:
    if (Tensor *state = stateOf(buffer))
      whole = state->mutableBytes();
    break;
  case qkernel::BufferKind::Weight: {
    if (!buffer.getSymbol())
      return step.emitOpError() << "expects a weight buffer to have a symbol";
    StringRef name = buffer.getSymbol().getValue();
    auto found = weights.find(name);
    if (found == weights.end()) {
      auto weight = SymbolTable::lookupNearestSymbolFrom<qmodel::WeightOp>(
          program->getParentOp(), buffer.getSymbol());
      auto type = weight ? dyn_cast<RankedTensorType>(weight.getType())
                         : RankedTensorType();
      if (!type)
        return step.emitOpError() << "expects a weight '" << name << "'";
      FailureOr<Tensor> tensor =
          qmodel::readWeight(weight, weight.getValue(), type);
      if (failed(tensor))
        return failure();
      found = weights.try_emplace(name, *tensor).first;
    }
    whole = readOnly(found->second);
    break;
  }
  }
  int64_t offset = buffer.getOffset();
  if (*bytes < 0 || offset < 0 || offset > static_cast<int64_t>(whole.size()) ||
      *bytes > static_cast<int64_t>(whole.size()) - offset)
    return step.emitOpError()
           << "buffer " << buffer << " needs " << *bytes << " bytes at "
           << offset << ", but there are " << whole.size();
  return whole.subspan(offset, *bytes);
}

/// The shape of a kernel's argument, from its dimensions over the scalars.
static FailureOr<Shape> argumentShape(qkernel::KernelOp kernel, unsigned index,
                                      const DimValues &scalars) {
  Shape shape;
  auto list = index < kernel.getArgDims().size()
                  ? dyn_cast<ArrayAttr>(kernel.getArgDims()[index])
                  : ArrayAttr();
  if (!list)
    return kernel.emitOpError() << "expects dimensions of argument #" << index;
  for (Attribute attribute : list) {
    auto text = dyn_cast<StringAttr>(attribute);
    Expected<DimExpr> dim =
        DimExpr::parse(text ? text.str() : std::string("a string"));
    Expected<int64_t> size =
        dim ? evaluateDim(*dim, scalars) : Expected<int64_t>(dim.status());
    if (!size)
      return kernel.emitOpError() << "dimension of argument #" << index << ": "
                                  << size.status().message();
    shape.push_back(*size);
  }
  return shape;
}

LogicalResult ProgramRun::runStep(qkernel::StepOp step) {
  auto kernel = SymbolTable::lookupNearestSymbolFrom<qkernel::KernelOp>(
      program->getParentOp(), step.getKernelAttr());
  if (!kernel)
    return step.emitOpError()
           << "expects a kernel '" << step.getKernel() << "' in the module";
  Block &body = kernel.getBody().front();
  unsigned arguments = body.getNumArguments();
  unsigned results = body.back().getNumOperands();
  if (step.getBuffers().size() != arguments + results ||
      step.getScalars().size() != kernel.getScalars().size())
    return step.emitOpError()
           << "expects " << arguments + results << " buffers and "
           << kernel.getScalars().size() << " scalars";
  DimValues scalars;
  for (auto [name, text] :
       llvm::zip(kernel.getScalars().getAsValueRange<StringAttr>(),
                 step.getScalars().getAsValueRange<StringAttr>())) {
    FailureOr<int64_t> value = evaluate(step, text, dims);
    if (failed(value))
      return failure();
    scalars[name.str()] = *value;
  }
  SmallVector<std::span<std::byte>> buffers;
  for (Attribute attribute : step.getBuffers()) {
    auto buffer = dyn_cast<qkernel::BufferAttr>(attribute);
    if (!buffer)
      return step.emitOpError() << "expects buffers to be #qkernel.buffer";
    FailureOr<std::span<std::byte>> bytes = locate(step, buffer);
    if (failed(bytes))
      return failure();
    buffers.push_back(*bytes);
  }
  if (failed(runner ? runner(step, kernel, scalars, buffers)
                    : interpretStep(step, kernel, scalars, buffers)))
    return failure();
  return step.getDefines() ? bindDefinitions(step) : success();
}

LogicalResult
ProgramRun::interpretStep(qkernel::StepOp step, qkernel::KernelOp kernel,
                          DimValues &scalars,
                          ArrayRef<std::span<std::byte>> buffers) {
  Block &body = kernel.getBody().front();
  unsigned arguments = body.getNumArguments();
  std::vector<Tensor> tensors;
  for (auto [index, bytes] : llvm::enumerate(buffers.take_front(arguments))) {
    FailureOr<Shape> shape = argumentShape(kernel, index, scalars);
    if (failed(shape))
      return failure();
    auto type = dyn_cast<ShapedType>(body.getArgument(index).getType());
    auto element = type ? fromMlirType(type.getElementType()) : std::nullopt;
    auto count = elementCount(*shape);
    auto needed = element && count ? byteSize(*element, *count) : std::nullopt;
    if (!needed || *needed != bytes.size())
      return step.emitOpError()
             << "argument #" << index << " of the kernel does not have the "
             << bytes.size() << " bytes of its buffer";
    // A copy: results may be written where arguments lie.
    tensors.push_back(Tensor::borrow(*element, *shape, bytes, nullptr).clone());
  }
  SmallVector<const Tensor *> pointers;
  for (const Tensor &tensor : tensors)
    pointers.push_back(&tensor);
  Results values = runBlock(body, pointers, scalars, observer);
  if (failed(values))
    return failure();
  for (auto [index, value] : llvm::enumerate(*values)) {
    std::span<std::byte> bytes = buffers[arguments + index];
    if (bytes.size() != value.bytes().size())
      return step.emitOpError()
             << "result #" << index << " of the kernel is " << describe(value)
             << ", but its buffer has " << bytes.size() << " bytes";
    if (!bytes.empty())
      std::memcpy(bytes.data(), value.bytes().data(), bytes.size());
  }
  if (observer)
    observer(step, {}, *values);
  return success();
}

FailureOr<NamedTensors> ProgramRun::run(const NamedTensors &inputs) {
  auto steps = program.getBody().front().getOps<qkernel::StepOp>();
  for (qkernel::StepOp step : steps)
    if (step.getDefines())
      for (StringRef name : step.getDefines()->getAsValueRange<StringAttr>())
        pending.insert(name.str());
  if (failed(bindInputs(inputs)) || failed(allocateOutputs()) ||
      failed(allocateStates(inputs)))
    return failure();
  Expected<Tensor> memory =
      Tensor::tryAllocate(ElementType::unsignedInt(8),
                          {static_cast<int64_t>(program.getArenaBytes())});
  if (!memory)
    return program.emitOpError() << "arena: " << memory.status().message();
  arena = *memory;
  for (qkernel::StepOp step : steps)
    if (failed(runStep(step)))
      return failure();
  NamedTensors outputs;
  for (auto [attribute, tensor] :
       llvm::zip(program.getOutputs(), outputTensors))
    outputs.emplace_back(cast<qkernel::PortAttr>(attribute).getName().str(),
                         *tensor);
  llvm::append_range(outputs, states);
  return outputs;
}

FailureOr<NamedTensors> interpretProgram(Operation *program,
                                         const NamedTensors &inputs,
                                         const Observer &observer) {
  return ProgramRun(cast<qkernel::ProgramOp>(program), observer, {})
      .run(inputs);
}

} // namespace nibble::reference

namespace nibble {

FailureOr<NamedTensors> runProgram(Operation *program,
                                   const NamedTensors &inputs,
                                   const StepRunner &run) {
  return reference::ProgramRun(cast<qkernel::ProgramOp>(program), {}, run)
      .run(inputs);
}

} // namespace nibble
