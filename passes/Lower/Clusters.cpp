//===- Clusters.cpp - Ops that will be one step ---------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Clusters.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

#include <set>

using namespace mlir;
using namespace nibble::lower;

Clusters::Clusters(Block &block) {
  for (Operation &op : block.without_terminator()) {
    numbers[&op] = members.size();
    members.push_back({&op});
  }
}

std::optional<unsigned> Clusters::of(Value value) const {
  auto found = numbers.find(value.getDefiningOp());
  if (!value.getDefiningOp() || found == numbers.end())
    return std::nullopt;
  return found->second;
}

SmallVector<unsigned> Clusters::readers(unsigned cluster) const {
  llvm::SmallSetVector<unsigned, 4> found;
  for (Operation *op : ops(cluster))
    for (Operation *user : op->getUsers()) {
      auto number = numbers.find(user); // the terminator has none
      if (number != numbers.end() && number->second != cluster)
        found.insert(number->second);
    }
  return found.takeVector();
}

bool Clusters::canMerge(ArrayRef<unsigned> clusters) const {
  auto isOne = [&](unsigned cluster) {
    return llvm::is_contained(clusters, cluster);
  };
  SmallVector<unsigned> open;
  llvm::DenseSet<unsigned> seen;
  for (unsigned cluster : clusters)
    for (unsigned reader : readers(cluster))
      if (!isOne(reader) && seen.insert(reader).second)
        open.push_back(reader);
  while (!open.empty())
    for (unsigned reader : readers(open.pop_back_val())) {
      if (isOne(reader))
        return false;
      if (seen.insert(reader).second)
        open.push_back(reader);
    }
  return true;
}

void Clusters::merge(unsigned cluster, unsigned other) {
  if (cluster == other)
    return;
  for (Operation *op : members[other]) {
    numbers[op] = cluster;
    members[cluster].push_back(op);
  }
  members[other].clear();
  llvm::sort(members[cluster],
             [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
}

std::vector<unsigned> Clusters::sorted() const {
  std::vector<unsigned> missing(members.size()); // clusters that each waits for
  for (unsigned cluster = 0; cluster < members.size(); ++cluster)
    for (unsigned reader : readers(cluster))
      ++missing[reader];
  // By their last op: what a merged cluster waited for stays in front of it.
  auto isLater = [&](unsigned a, unsigned b) {
    return ops(a).back()->isBeforeInBlock(ops(b).back());
  };
  std::set<unsigned, decltype(isLater)> ready(isLater);
  for (unsigned cluster = 0; cluster < members.size(); ++cluster)
    if (missing[cluster] == 0 && !ops(cluster).empty())
      ready.insert(cluster);
  std::vector<unsigned> order;
  while (!ready.empty()) {
    unsigned next = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(next);
    for (unsigned reader : readers(next))
      if (--missing[reader] == 0)
        ready.insert(reader);
  }
  return order;
}
