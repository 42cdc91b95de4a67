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
  for (Value operand : op->getOperands()) {
    Operation *constant = operand.getDefiningOp();
    if (!isInlineConstant(constant) || mapping.contains(operand))
      continue;
    Operation *copy = inner.clone(*constant, mapping);
    if (auto tensor = dyn_cast<DimTensorOp>(copy)) {
      SmallVector<Attribute> values;
      for (Attribute value : tensor.getValues())
        values.push_back(builder.getStringAttr(
            rename(*DimExpr::parse(cast<StringAttr>(value).str())).str()));
      tensor.setValuesAttr(builder.getArrayAttr(values));
    }
  }
  Operation *copy = inner.clone(*op, mapping);
  if (isa<QuantizableOpInterface>(copy)) {
    // Ids differ between layers and would keep equal kernels apart.
    copy->setAttr("id", builder.getStringAttr(copy->getName().stripDialect()));
    copy->removeAttr("plan");
  }
  if (auto sizes = op->getAttrOfType<ArrayAttr>(sizesAttrName)) {
    SmallVector<Attribute> names;
    for (StringRef name : sizes.getAsValueRange<StringAttr>())
      names.push_back(
          builder.getStringAttr(rename(DimExpr::symbol(name.str())).str()));
    copy->setAttr(sizesAttrName, builder.getArrayAttr(names));
  }
  SmallVector<Value> yielded;
  for (auto [result, value] : llvm::zip(op->getResults(), copy->getResults())) {
    if (isa<NoneType>(result.getType()))
      continue; // an absent optional result
    yielded.push_back(value);
    for (const DimExpr &dim : *dims.of(result).shape)
      rename(dim);
  }
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
  std::string prefix = op->getName().stripDialect().str();
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    prefix = node.getOpType().lower();
  std::string name = prefix + "_" + digest.substr(0, 16);
  auto [it, added] = kernels.try_emplace(name, kernel);
  if (!added) {
    kernel->erase();
    return it->second;
  }
  kernel.setSymName(name);
  module.getBody()->push_back(kernel);
  return kernel;
}
