//===- NameSizes.cpp - Name the sizes that data decide --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// NonZero(x) : [rank, ?] -> NonZero(x) : [rank, nonzero_0]. With a name, the
// size is a dimension like those of the inputs: onnx-fold-shapes sees through
// what is computed from it, and qkernel-lower plans memory at its bound.
//
// A model may declare the shape that one run gave. Types of values behind such
// a node lose their sizes here; onnx-fold-shapes puts back what follows from
// the operators. Equal nodes should be one before, or their sizes have two
// names and do not broadcast with each other: that is why cse runs in front.
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "nibble/dialects/Onnx/ShapeInputs.h"
#include "nibble/passes/Frontend/Passes.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_NAMESIZES
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

/// Names of dimensions that the module does not use yet.
class SizeNames {
public:
  explicit SizeNames(ModuleOp module) {
    for (const auto &[name, bound] : dimBounds(module))
      taken.insert(name);
    module.walk([&](Operation *op) {
      if (auto function = dyn_cast<func::FuncOp>(op))
        for (unsigned i = 0; i < function.getNumArguments(); ++i)
          addSymbols(function.getArgAttrOfType<ArrayAttr>(i, dimsAttrName));
      addSymbols(op->getAttrOfType<ArrayAttr>(sizesAttrName));
    });
  }

  std::string make(onnx::NodeOp node) {
    std::string prefix = node.getOpType().lower() + "_";
    for (unsigned i = 0;; ++i)
      if (std::string name = prefix + std::to_string(i);
          taken.insert(name).second)
        return name;
  }

private:
  void addSymbols(ArrayAttr texts) {
    if (!texts)
      return;
    for (Attribute attribute : texts) {
      auto text = dyn_cast<StringAttr>(attribute);
      Expected<DimExpr> expression =
          DimExpr::parse(text ? text.str() : std::string());
      if (!expression)
        continue;
      for (const std::string &symbol : expression->symbols())
        taken.insert(symbol);
    }
  }

  llvm::StringSet<> taken;
};

/// Whether a function of the module calls `function`, so that its signature has
/// to stay.
bool isCalled(func::FuncOp function) {
  return !SymbolTable::symbolKnownUseEmpty(
      function, function->getParentOfType<ModuleOp>());
}

/// Whether onnx-fold-shapes computes the node: its shape is known, since its
/// operands are.
bool isFolded(onnx::NodeOp node) {
  auto type = dyn_cast<RankedTensorType>(node->getResult(0).getType());
  return type && type.hasStaticShape() &&
         llvm::all_of(node.getInputs(), [](Value operand) {
           return operand.getDefiningOp<onnx::ConstantOp>();
         });
}

/// The branches of an If. Each runs once at most, so that its sizes can have
/// names; in the body of a loop they may be others every time.
SmallVector<Block *> branches(onnx::NodeOp node) {
  SmallVector<Block *> blocks;
  if (node.is("If"))
    for (Region &region : node.getSubgraphs())
      for (Block &block : region)
        blocks.push_back(&block);
  return blocks;
}

/// Names the sizes of the nodes in the body. True if there are any.
bool nameSizes(Block &body, SizeNames &names) {
  bool found = false;
  for (auto node : body.getOps<onnx::NodeOp>()) {
    for (Block *branch : branches(node))
      found |= nameSizes(*branch, names);
    if (!onnx::hasDataDependentShape(node) || node.getInputs().empty() ||
        isFolded(node))
      continue;
    found = true;
    if (!node->hasAttr(sizesAttrName))
      node->setAttr(sizesAttrName, Builder(node).getStrArrayAttr(
                                       {StringRef(names.make(node))}));
  }
  return found;
}

/// Takes the sizes out of the types of all that follows from named sizes, which
/// is collected in `behind`.
void forgetSizes(Block &body, llvm::DenseSet<Value> &behind) {
  auto isBehind = [&](Value value) { return behind.contains(value); };
  for (auto node : body.getOps<onnx::NodeOp>()) {
    bool follows = node->hasAttr(sizesAttrName) ||
                   llvm::any_of(node->getOperands(), isBehind);
    for (Block *branch : branches(node)) {
      forgetSizes(*branch, behind);
      if (!branch->empty())
        follows |= llvm::any_of(branch->back().getOperands(), isBehind);
    }
    if (!follows)
      continue;
    for (Value result : node->getResults()) {
      behind.insert(result);
      if (auto type = dyn_cast<RankedTensorType>(result.getType()))
        result.setType(type.clone(
            SmallVector<int64_t>(type.getRank(), ShapedType::kDynamic)));
    }
  }
}

struct NameSizes : impl::NameSizesBase<NameSizes> {
  void runOnOperation() override {
    SizeNames names(getOperation());
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (!function.getBody().hasOneBlock() || isCalled(function))
        continue;
      if (nameSizes(function.front(), names)) {
        llvm::DenseSet<Value> behind;
        forgetSizes(function.front(), behind);
        updateSignature(function);
      }
    }
  }
};

} // namespace
} // namespace nibble::frontend
