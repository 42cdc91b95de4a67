//===- LayerModule.cpp - One layer in a module of its own -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "LayerModule.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

LayerModule::LayerModule(ModuleOp model, func::FuncOp layer)
    : model(model), layer(layer) {
  OpBuilder builder = OpBuilder::atBlockEnd(model.getBody());
  module = ModuleOp::create(builder, layer.getLoc());
  if (Attribute bounds = model->getAttr(boundsAttrName))
    module->setAttr(boundsAttrName, bounds);
  // Functions stay; weights come and go.
  next = module;
  for (Operation *op = layer->getNextNode(); op; op = op->getNextNode())
    if (isa<func::FuncOp>(op)) {
      next = op;
      break;
    }
  // Weights that others use too stay where they are, and are copied.
  llvm::DenseMap<StringAttr, unsigned> uses;
  model.walk([&](LoadOp load) { ++uses[load.getWeightAttr().getAttr()]; });
  llvm::MapVector<StringAttr, unsigned> own;
  layer.walk([&](LoadOp load) { ++own[load.getWeightAttr().getAttr()]; });
  for (auto [name, count] : own) {
    auto weight = model.lookupSymbol<WeightOp>(name);
    if (!weight)
      continue;
    Operation *moved = weight;
    if (uses[name] != count) {
      moved = weight->clone();
      shared.insert(name);
    } else {
      moved->remove();
    }
    module.getBody()->push_back(moved);
  }
  layer->remove();
  module.getBody()->push_back(layer);
}

LayerModule::~LayerModule() {
  for (WeightOp weight :
       llvm::make_early_inc_range(module.getOps<WeightOp>())) {
    if (shared.contains(weight.getSymNameAttr())) {
      weight.erase();
      continue;
    }
    weight->remove();
    rename(weight);
    model.getBody()->push_front(weight);
  }
  layer->remove();
  model.getBody()->getOperations().insert(next->getIterator(), layer);
  module.erase();
}

void LayerModule::replaceBy(ModuleOp other) {
  module.getBody()->clear();
  auto &ops = module.getBody()->getOperations();
  ops.splice(ops.end(), other.getBody()->getOperations());
  layer = *module.getOps<func::FuncOp>().begin();
}

/// Gives a weight that came from the layer a name that is free in the model.
void LayerModule::rename(WeightOp weight) {
  std::string name = weight.getSymName().str(), unique = name;
  for (unsigned i = 1; model.lookupSymbol(unique); ++i)
    unique = name + "." + std::to_string(i);
  if (unique == name)
    return;
  weight.setSymName(unique);
  layer.walk([&](LoadOp load) {
    if (load.getWeight() == name)
      load.setWeight(unique);
  });
}
