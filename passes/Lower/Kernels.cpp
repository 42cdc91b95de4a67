//===- Kernels.cpp - Ops to kernels -----------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Two ops are the same instance when their kernels print alike once dimension
// symbols are renumbered in order of appearance: ids, weight names and
// locations are not part of a kernel, so equal layers share code.
//
//===----------------------------------------------------------------------===//

#include "Kernels.h"

#include "nibble/Base/Sha256.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;
using namespace nibble::qmodel;
using namespace nibble::qkernel;

bool lower::isInlineConstant(Operation *op) {
  return isa_and_nonnull<onnx::ConstantOp, onnx::NoneOp, DimTensorOp>(op);
}

namespace {

/// Renumbers the symbols that an instance uses: d0, d1, ... in order of
/// appearance.
struct Renaming {
  std::map<std::string, DimExpr> names;
  std::vector<DimExpr> scalars; ///< the program's symbol per scalar
  DimExpr operator()(const DimExpr &expr) {
    for (const std::string &symbol : expr.symbols())
      if (!names.count(symbol)) {
        names.emplace(symbol,
                      DimExpr::symbol("d" + std::to_string(names.size())));
        scalars.push_back(DimExpr::symbol(symbol));
      }
    return expr.substitute(names);
  }
};

/// A copy of `op` at the end of a kernel's body, without what differs between
/// equal instances.
Operation *cloneInto(OpBuilder &body, Operation &op, IRMapping &mapping,
                     Renaming &rename) {
  Operation *copy = body.clone(op, mapping);
  if (isa<QuantizableOpInterface>(copy)) {
    // Ids differ between layers and would keep equal kernels apart.
    copy->setAttr("id", body.getStringAttr(copy->getName().stripDialect()));
    copy->removeAttr("plan");
  }
  auto renamed = [&](ArrayAttr expressions) {
    SmallVector<Attribute> result;
    for (StringRef text : expressions.getAsValueRange<StringAttr>())
      result.push_back(
          body.getStringAttr(rename(*DimExpr::parse(text.str())).str()));
    return body.getArrayAttr(result);
  };
  if (auto tensor = dyn_cast<DimTensorOp>(copy))
    tensor.setValuesAttr(renamed(tensor.getValues()));
  if (auto sizes = op.getAttrOfType<ArrayAttr>(sizesAttrName))
    copy->setAttr(sizesAttrName, renamed(sizes));
  return copy;
}

/// The values that a kernel for `op` yields, computed at the end of its body.
SmallVector<Value> cloneResults(OpBuilder &body, Operation *op,
                                IRMapping &mapping, Renaming &rename) {
  SmallVector<Value> results;
  auto group = dyn_cast<GroupOp>(op);
  if (!group) {
    for (Value result : cloneInto(body, *op, mapping, rename)->getResults())
      if (!isa<NoneType>(result.getType())) // an absent optional result
        results.push_back(result);
    return results;
  }
  Block &ops = group.getBody().front();
  for (auto [argument, input] :
       llvm::zip(ops.getArguments(), op->getOperands()))
    mapping.map(argument, mapping.lookup(input));
  for (Operation &each : ops.without_terminator())
    cloneInto(body, each, mapping, rename);
  for (Value result : ops.getTerminator()->getOperands())
    results.push_back(mapping.lookup(result));
  return results;
}

/// What kernels for `op` are called, but for the hash.
std::string prefixOf(Operation *op) {
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return node.getOpType().lower();
  auto group = dyn_cast<GroupOp>(op);
  if (!group)
    return op->getName().stripDialect().str();
  // The ops of a group, equal neighbours once.
  std::string name, last;
  for (Operation &each : group.getBody().front().without_terminator()) {
    std::string next = prefixOf(&each);
    if (next != last)
      name += (name.empty() ? "" : "_") + next;
    last = next;
  }
  return name;
}

} // namespace

KernelCall Kernels::get(Operation *op, ArrayRef<Value> arguments,
                        const DimsAnalysis &dims) {
  Renaming rename;
  OpBuilder builder(module.getContext()); // without insertion: see below
  SmallVector<Attribute> argumentDims;
  for (Value argument : arguments) {
    SmallVector<Attribute> list;
    for (const DimExpr &dim : *dims.of(argument).shape)
      list.push_back(builder.getStringAttr(rename(dim).str()));
    argumentDims.push_back(builder.getArrayAttr(list));
  }
  auto body = std::make_unique<Block>();
  IRMapping mapping;
  for (Value argument : arguments)
    mapping.map(argument, body->addArgument(argument.getType(), op->getLoc()));

  OpBuilder inner(module.getContext());
  inner.setInsertionPointToEnd(body.get());
  for (Value operand : op->getOperands())
    if (Operation *constant = operand.getDefiningOp();
        isInlineConstant(constant) && !mapping.contains(operand))
      cloneInto(inner, *constant, mapping, rename);
  SmallVector<Value> yielded = cloneResults(inner, op, mapping, rename);
  for (Value result : op->getResults())
    if (!isa<NoneType>(result.getType()))
      for (const DimExpr &dim : *dims.of(result).shape)
        rename(dim);
  YieldOp::create(inner, op->getLoc(), yielded);

  SmallVector<Attribute> scalarNames;
  for (size_t i = 0; i < rename.scalars.size(); ++i)
    scalarNames.push_back(builder.getStringAttr("d" + std::to_string(i)));
  auto kernel = KernelOp::create(
      builder, op->getLoc(), builder.getStringAttr("kernel"),
      builder.getArrayAttr(scalarNames), builder.getArrayAttr(argumentDims));
  kernel.getBody().push_back(body.release());
  return {deduplicated(kernel, op), std::move(rename.scalars)};
}

/// The kernel of the module that equals `kernel`, which is erased, or
/// `kernel` itself, named and added.
KernelOp Kernels::deduplicated(KernelOp kernel, Operation *op) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  kernel->print(stream, OpPrintingFlags().useLocalScope());
  std::string digest =
      toHex(sha256(std::as_bytes(std::span<const char>(text))));
  std::string name = prefixOf(op) + "_" + digest.substr(0, 16);
  auto [it, added] = kernels.try_emplace(name, kernel);
  if (!added) {
    kernel->erase();
    return it->second;
  }
  kernel.setSymName(name);
  module.getBody()->push_back(kernel);
  return kernel;
}
