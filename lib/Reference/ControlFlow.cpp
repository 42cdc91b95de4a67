//===- ControlFlow.cpp - Subgraphs ----------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// If and Loop run the regions of the node with the surrounding values visible.
//
//===----------------------------------------------------------------------===//

#include "Strided.h"

#include <cstring>

namespace nibble::reference {

static FailureOr<bool> condition(const Call &call, const Tensor &tensor) {
  if (tensor.size() == 1 && tensor.type() == ElementType::boolean())
    return tensor.integerAt(0) != 0;
  return call.error() << "expects one boolean as condition, got "
                      << describe(tensor);
}

static Results ifNode(const NodeCall &call) {
  if (call.op->getNumRegions() != 2)
    return call.error() << "expects two subgraphs, got "
                        << call.op->getNumRegions();
  FailureOr<bool> chosen = condition(call, call[0]);
  if (failed(chosen))
    return failure();
  // Regions are in the order of their attributes: else_branch, then_branch.
  return call.runSubgraph(call.op->getRegion(*chosen ? 1 : 0), {});
}

/// Equal tensors stacked along a new first dimension.
static FailureOr<Tensor> stack(const Call &call, ArrayRef<Tensor> tensors) {
  if (tensors.empty())
    return call.error() << "has no reference for a scan output of a loop "
                           "without iterations";
  Shape shape = tensors.front().shape();
  shape.insert(shape.begin(), static_cast<int64_t>(tensors.size()));
  FailureOr<Tensor> result = call.allocate(tensors.front().type(), shape);
  if (failed(result))
    return failure();
  std::byte *target = result->mutableBytes().data();
  for (const Tensor &tensor : tensors) {
    if (tensor.shape() != tensors.front().shape() ||
        tensor.type() != tensors.front().type())
      return call.error() << "expects scan outputs of one shape, got "
                          << describe(tensors.front()) << " and "
                          << describe(tensor);
    std::span<const std::byte> bytes = tensor.bytes();
    if (!bytes.empty())
      std::memcpy(target, bytes.data(), bytes.size());
    target += bytes.size();
  }
  return result;
}

static Results loop(const NodeCall &call) {
  if (call.op->getNumRegions() != 1)
    return call.error() << "expects one subgraph, got "
                        << call.op->getNumRegions();
  int64_t limit = INT64_MAX;
  if (const Tensor *trips = call.operand(0)) {
    if (trips->size() != 1 || trips->type().isFloat())
      return call.error() << "expects one number of iterations, got "
                          << describe(*trips);
    limit = trips->integerAt(0);
  }
  Tensor going = Tensor::allocate(ElementType::boolean(), {});
  going.setIntegerAt(0, 1);
  if (const Tensor *given = call.operand(1))
    going = *given;
  std::vector<Tensor> carried;
  for (size_t i = 2; i < call.operands.size(); ++i) {
    if (!call.operand(i))
      return call.error() << "expects operand #" << i << " to be present";
    carried.push_back(call[i]);
  }
  size_t scans = call.op->getNumResults() -
                 std::min<size_t>(carried.size(), call.op->getNumResults());
  std::vector<std::vector<Tensor>> scanned(scans);
  for (int64_t i = 0; i < limit; ++i) {
    FailureOr<bool> goes = condition(call, going);
    if (failed(goes))
      return failure();
    if (!*goes)
      break;
    Tensor iteration = Tensor::allocate(ElementType::signedInt(64), {});
    iteration.setIntegerAt(0, i);
    llvm::SmallVector<const Tensor *> arguments = {&iteration, &going};
    for (const Tensor &tensor : carried)
      arguments.push_back(&tensor);
    Results results = call.runSubgraph(call.op->getRegion(0), arguments);
    if (failed(results))
      return failure();
    if (results->size() != 1 + carried.size() + scans)
      return call.error() << "expects " << 1 + carried.size() + scans
                          << " results of the body, got " << results->size();
    going = (*results)[0];
    for (size_t j = 0; j < carried.size(); ++j)
      carried[j] = (*results)[1 + j];
    for (size_t j = 0; j < scans; ++j)
      scanned[j].push_back((*results)[1 + carried.size() + j]);
  }
  for (const std::vector<Tensor> &parts : scanned) {
    FailureOr<Tensor> joined = stack(call, parts);
    if (failed(joined))
      return failure();
    carried.push_back(*joined);
  }
  return carried;
}

void addControlFlowNodes(NodeTable &table) {
  table["If"] = {ifNode, 1};
  table["Loop"] = {loop, 0};
}

} // namespace nibble::reference
