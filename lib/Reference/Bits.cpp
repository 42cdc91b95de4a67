//===- Bits.cpp - Operators on the bits of integers -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// BitwiseAnd, BitwiseOr, BitwiseXor, BitwiseNot, BitShift. Integers are walked
// as si64 or ui64, which keeps the low bits that a narrower type has.
//
//===----------------------------------------------------------------------===//

#include "Strided.h"

namespace nibble::reference {

/// f on pairs of integers of one type, broadcast.
template <typename F> static Results mapBits(const NodeCall &call, F f) {
  const Tensor &a = call[0], &b = call[1];
  auto shape = broadcastShapes(a.shape(), b.shape());
  if (!a.type().isInteger() || a.type() != b.type() || !shape)
    return call.error() << "expects integers of one type whose shapes "
                           "broadcast, got "
                        << describe(a) << " and " << describe(b);
  FailureOr<Tensor> result = call.allocate(a.type(), *shape);
  if (failed(result))
    return failure();
  uint64_t next = 0;
  IndexSpace<2>(*shape, {broadcastStrides(a.shape(), *shape),
                         broadcastStrides(b.shape(), *shape)})
      .forEachRun({0, 0}, [&](auto at, auto step, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
          auto x = static_cast<uint64_t>(a.integerAt(at[0] + i * step[0]));
          auto y = static_cast<uint64_t>(b.integerAt(at[1] + i * step[1]));
          result->setIntegerAt(next++, static_cast<int64_t>(f(x, y)));
        }
      });
  return std::vector<Tensor>{*result};
}

static Results bitwiseAnd(const NodeCall &call) {
  return mapBits(call, [](uint64_t x, uint64_t y) { return x & y; });
}
static Results bitwiseOr(const NodeCall &call) {
  return mapBits(call, [](uint64_t x, uint64_t y) { return x | y; });
}
static Results bitwiseXor(const NodeCall &call) {
  return mapBits(call, [](uint64_t x, uint64_t y) { return x ^ y; });
}

static Results bitwiseNot(const NodeCall &call) {
  if (!call[0].type().isInteger())
    return call.error() << "expects integers, got " << describe(call[0]);
  Tensor result = Tensor::allocate(call[0].type(), call[0].shape());
  for (uint64_t i = 0; i < result.size(); ++i)
    result.setIntegerAt(i, ~call[0].integerAt(i));
  return std::vector<Tensor>{result};
}

/// Of unsigned numbers; shifting out all bits leaves none.
static Results bitShift(const NodeCall &call) {
  llvm::StringRef direction = call.node.stringAttribute("direction", "");
  if (call[0].type().kind != ElementType::Kind::Unsigned ||
      (direction != "LEFT" && direction != "RIGHT"))
    return call.error() << "expects unsigned integers and a 'direction' LEFT "
                           "or RIGHT, got "
                        << describe(call[0]) << " and '" << direction << "'";
  unsigned bits = call[0].type().bits;
  return mapBits(call, [=](uint64_t x, uint64_t y) -> uint64_t {
    if (y >= bits)
      return 0;
    return direction == "LEFT" ? x << y : x >> y;
  });
}

void addBitNodes(NodeTable &table) {
  table["BitwiseAnd"] = {bitwiseAnd, 2};
  table["BitwiseOr"] = {bitwiseOr, 2};
  table["BitwiseXor"] = {bitwiseXor, 2};
  table["BitwiseNot"] = {bitwiseNot, 1};
  table["BitShift"] = {bitShift, 2};
}

} // namespace nibble::reference
