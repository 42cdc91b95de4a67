//===- EntryPoints.cpp - Inputs and outputs of an entry point -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A function in IR and a lowered program look alike from outside, so that
// whoever asks for parts (findGeneration) need not know the stage.
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QKernel/EntryPoints.h"

#include "nibble/Support/Dims.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace nibble;

namespace {

FailureOr<ElementType> elementOf(Operation *entry, Type type) {
  if (std::optional<ElementType> element = fromMlirType(type))
    return *element;
  return entry->emitOpError("expects inputs and outputs of numbers, got ")
         << type;
}

FailureOr<Port> portOf(Operation *entry, qkernel::PortAttr attr) {
  FailureOr<ElementType> element = elementOf(entry, attr.getElement());
  if (failed(element))
    return failure();
  Port port{attr.getName().str(), *element, {}};
  for (Attribute dim : attr.getDims()) {
    auto text = dyn_cast<StringAttr>(dim);
    nibble::Expected<DimExpr> expression =
        text ? DimExpr::parse(text.str())
             : nibble::Expected<DimExpr>(Status::error("expects a string"));
    if (!expression)
      return entry->emitOpError("cannot read dimension ")
             << dim << ": " << expression.status().message();
    port.shape.push_back(*expression);
  }
  return port;
}

/// `name` is the port's `onnx.name`; without one it is known by its position.
FailureOr<Port> portOf(Operation *entry, Value value, Attribute name,
                       unsigned index, const DimsAnalysis &dims) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type)
    return entry->emitOpError("expects ranked tensors, got ")
           << value.getType();
  FailureOr<ElementType> element = elementOf(entry, type.getElementType());
  if (failed(element))
    return failure();
  auto text = dyn_cast_or_null<StringAttr>(name);
  return Port{text ? text.str() : std::to_string(index), *element,
              dims.of(value).shape.value_or(std::vector<DimExpr>())};
}

LogicalResult append(std::vector<Port> &ports, FailureOr<Port> port) {
  if (succeeded(port))
    ports.push_back(std::move(*port));
  return port;
}

FailureOr<EntryPoint> describeProgram(qkernel::ProgramOp program) {
  EntryPoint entry;
  entry.name = program.getSymName().str();
  for (auto [attrs, ports] : {std::pair(program.getInputs(), &entry.inputs),
                              std::pair(program.getOutputs(), &entry.outputs)})
    for (Attribute attr : attrs) {
      auto port = dyn_cast<qkernel::PortAttr>(attr);
      if (!port)
        return program.emitOpError("expects ports, got ") << attr;
      if (failed(append(*ports, portOf(program, port))))
        return failure();
    }
  return entry;
}

FailureOr<EntryPoint> describeFunction(func::FuncOp function) {
  if (!function.getBody().hasOneBlock())
    return function.emitOpError("expects a body of one block");
  DimsAnalysis dims;
  if (failed(dims.run(function)))
    return failure();
  EntryPoint entry;
  entry.name = function.getSymName().str();
  for (auto [index, argument] : llvm::enumerate(function.getArguments()))
    if (!function.getArgAttr(index, qkernel::stateAttrName) &&
        failed(append(entry.inputs,
                      portOf(function, argument,
                             function.getArgAttr(index, onnx::nameAttrName),
                             index, dims))))
      return failure();
  Block &body = function.getBody().front();
  for (auto [index, result] :
       llvm::enumerate(body.getTerminator()->getOperands()))
    if (!function.getResultAttr(index, qkernel::stateAttrName) &&
        failed(append(entry.outputs,
                      portOf(function, result,
                             function.getResultAttr(index, onnx::nameAttrName),
                             index, dims))))
      return failure();
  return entry;
}

} // namespace

FailureOr<EntryPoint> nibble::describeEntry(Operation *entry) {
  if (auto program = dyn_cast<qkernel::ProgramOp>(entry))
    return describeProgram(program);
  if (auto function = dyn_cast<func::FuncOp>(entry))
    return describeFunction(function);
  return entry->emitOpError("expects a function or a program");
}
