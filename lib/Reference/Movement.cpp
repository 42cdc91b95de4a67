//===- Movement.cpp - Moving elements by position ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX operators that copy elements to places which do not depend on data:
// transposition, repetition, padding, blocks that change places.
//
//===----------------------------------------------------------------------===//

#include "Strided.h"

#include <cstring>

namespace nibble::reference {

/// Results back in the element type that withBytes took them from.
static Results single(FailureOr<Tensor> tensor, ElementType type) {
  if (failed(tensor))
    return failure();
  return std::vector<Tensor>{cast(*tensor, type)};
}

static Results transposeNode(const NodeCall &call) {
  const Tensor &x = call[0];
  llvm::SmallVector<int64_t> permutation;
  if (auto given = call.node.intsAttribute("perm"))
    permutation = *given;
  else
    for (int64_t i = x.rank(); i-- > 0;)
      permutation.push_back(i);
  llvm::SmallVector<int64_t> sorted = permutation;
  llvm::sort(sorted);
  bool valid = static_cast<int64_t>(sorted.size()) == x.rank();
  for (int64_t i = 0; valid && i < x.rank(); ++i)
    valid = sorted[i] == i;
  if (!valid)
    return call.error() << "expects 'perm' to permute the dimensions of "
                        << describe(x);
  return single(transpose(call, withBytes(x), permutation), x.type());
}

static Results expandNode(const NodeCall &call) {
  const Tensor &x = call[0];
  auto given = call.integers(1);
  if (failed(given))
    return failure();
  auto shape = broadcastShapes(x.shape(), *given);
  if (!shape)
    return call.error() << "cannot expand " << describe(x) << " to "
                        << nibble::describe(x.type(), *given);
  return single(expand(call, withBytes(x), *shape), x.type());
}

static Results tile(const NodeCall &call) {
  const Tensor &x = call[0];
  auto repeats = call.integers(1);
  if (failed(repeats))
    return failure();
  if (static_cast<int64_t>(repeats->size()) != x.rank())
    return call.error() << "expects a repetition per dimension of "
                        << describe(x) << ", got " << repeats->size();
  // Each dimension d repeated r times is [r, d] read with stride 0 over r.
  Shape dense = rowMajorStrides(x.shape()), split, strides, shape;
  for (int64_t i = 0; i < x.rank(); ++i) {
    if ((*repeats)[i] < 0)
      return call.error() << "expects repetitions not to be negative";
    split.insert(split.end(), {(*repeats)[i], x.shape()[i]});
    strides.insert(strides.end(), {0, dense[i]});
    shape.push_back((*repeats)[i] * x.shape()[i]);
  }
  FailureOr<Tensor> result = copyStrided(call, withBytes(x), split, strides);
  if (failed(result))
    return failure();
  return single(result->reshaped(shape), x.type());
}

//===----------------------------------------------------------------------===//
// Pad, Trilu
//===----------------------------------------------------------------------===//

/// Which element of a dimension of `size` a position outside of it takes, or
/// -1 for the constant.
static int64_t padSource(int64_t i, int64_t size, llvm::StringRef mode) {
  if (i >= 0 && i < size)
    return i;
  if (mode == "constant" || size == 0)
    return -1;
  if (mode == "edge")
    return i < 0 ? 0 : size - 1;
  if (mode == "wrap")
    return (i % size + size) % size;
  int64_t period = 2 * (size - 1);
  if (period == 0)
    return 0;
  i = (i % period + period) % period;
  return i < size ? i : period - i;
}

static Results pad(const NodeCall &call) {
  const Tensor &x = call[0];
  auto pads = call.integersOf(1, "pads");
  if (failed(pads))
    return failure();
  llvm::SmallVector<int64_t> axes;
  if (call.operand(3)) {
    auto given = call.integers(3);
    if (failed(given))
      return failure();
    axes = *given;
  } else {
    for (int64_t i = 0; i < x.rank(); ++i)
      axes.push_back(i);
  }
  if (!*pads || (*pads)->size() != 2 * axes.size())
    return call.error() << "expects pads at both ends of " << axes.size()
                        << " dimensions";
  Shape before(x.rank(), 0), shape = x.shape();
  for (size_t i = 0; i < axes.size(); ++i) {
    FailureOr<int64_t> axis = call.axis(axes[i], x.rank());
    if (failed(axis))
      return failure();
    before[*axis] = (**pads)[i];
    shape[*axis] += (**pads)[i] + (**pads)[i + axes.size()];
    if (shape[*axis] < 0)
      return call.error() << "removes more than dimension " << *axis << " has";
  }
  llvm::StringRef mode = call.node.stringAttribute("mode", "constant");
  if (mode != "constant" && mode != "edge" && mode != "reflect" &&
      mode != "wrap")
    return call.error() << "expects 'mode' constant, edge, reflect or wrap, "
                           "got '"
                        << mode << "'";
  FailureOr<Tensor> result = call.allocate(x.type(), shape);
  if (failed(result))
    return failure();
  Tensor fill = Tensor::allocate(x.type(), {});
  if (const Tensor *value = call.operand(2)) {
    if (value->size() != 1 || value->type() != x.type())
      return call.error() << "expects a scalar of type " << x.type().str()
                          << " to pad with, got " << describe(*value);
    fill = value->reshaped({});
  } else {
    fill.setNumberAt(0, call.floatAttribute("value", 0));
  }
  Shape dense = rowMajorStrides(x.shape()), position(x.rank(), 0);
  for (uint64_t i = 0; i < result->size(); ++i) {
    uint64_t rest = i;
    int64_t source = 0;
    for (int64_t d = x.rank(); d-- > 0 && source >= 0;) {
      int64_t from =
          padSource(static_cast<int64_t>(rest % shape[d]) - before[d],
                    x.shape()[d], mode);
      rest /= shape[d];
      source = from < 0 ? -1 : source + from * dense[d];
    }
    const Tensor &origin = source < 0 ? fill : x;
    uint64_t at = source < 0 ? 0 : source;
    if (x.type().isFloat())
      result->setNumberAt(i, origin.numberAt(at));
    else
      result->setIntegerAt(i, origin.integerAt(at));
  }
  return std::vector<Tensor>{*result};
}

static Results trilu(const NodeCall &call) {
  const Tensor &x = call[0];
  if (x.rank() < 2)
    return call.error() << "expects matrices, got " << describe(x);
  int64_t k = 0;
  if (call.operand(1)) {
    auto given = call.integers(1);
    if (failed(given))
      return failure();
    if (given->size() != 1)
      return call.error() << "expects one diagonal, got " << given->size();
    k = given->front();
  }
  bool upper = call.intAttribute("upper", 1);
  Tensor result = withBytes(x).clone();
  size_t width = result.type().bits / 8;
  int64_t rows = x.shape()[x.rank() - 2], columns = x.shape()[x.rank() - 1];
  std::byte *bytes = result.mutableBytes().data();
  for (uint64_t i = 0; i < result.size(); ++i) {
    int64_t row = i / columns % rows, column = i % columns;
    bool kept = upper ? column - row >= k : column - row <= k;
    if (!kept)
      std::memset(bytes + i * width, 0, width);
  }
  return single(result, x.type());
}

//===----------------------------------------------------------------------===//
// DepthToSpace, SpaceToDepth, ReverseSequence
//===----------------------------------------------------------------------===//

/// `x` split into dimensions `split`, permuted, and read as `shape`.
static Results splitAndPermute(const Call &call, const Tensor &x, Shape split,
                               ArrayRef<int64_t> permutation, Shape shape) {
  FailureOr<Tensor> moved =
      transpose(call, withBytes(x).reshaped(std::move(split)), permutation);
  if (failed(moved))
    return failure();
  return single(moved->reshaped(std::move(shape)), x.type());
}

static Results depthToSpace(const NodeCall &call) {
  const Tensor &x = call[0];
  int64_t block = call.intAttribute("blocksize", 0);
  if (x.rank() != 4 || block < 1 || block > INT32_MAX ||
      x.shape()[1] % (block * block) != 0)
    return call.error() << "expects [batch, depth, height, width] with "
                           "'blocksize' squared dividing the depth, got "
                        << describe(x) << " and " << block;
  int64_t n = x.shape()[0], depth = x.shape()[1] / (block * block),
          h = x.shape()[2], w = x.shape()[3];
  Shape shape = {n, depth, h * block, w * block};
  if (call.node.stringAttribute("mode", "DCR") == "CRD")
    return splitAndPermute(call, x, {n, depth, block, block, h, w},
                           {0, 1, 4, 2, 5, 3}, shape);
  return splitAndPermute(call, x, {n, block, block, depth, h, w},
                         {0, 3, 4, 1, 5, 2}, shape);
}

static Results spaceToDepth(const NodeCall &call) {
  const Tensor &x = call[0];
  int64_t block = call.intAttribute("blocksize", 0);
  if (x.rank() != 4 || block < 1 || block > INT32_MAX ||
      x.shape()[2] % block != 0 || x.shape()[3] % block != 0)
    return call.error() << "expects [batch, depth, height, width] with "
                           "'blocksize' dividing height and width, got "
                        << describe(x) << " and " << block;
  int64_t n = x.shape()[0], depth = x.shape()[1], h = x.shape()[2] / block,
          w = x.shape()[3] / block;
  return splitAndPermute(call, x, {n, depth, h, block, w, block},
                         {0, 3, 5, 1, 2, 4}, {n, depth * block * block, h, w});
}

static Results reverseSequence(const NodeCall &call) {
  const Tensor &x = call[0];
  int64_t time = call.intAttribute("time_axis", 0),
          batch = call.intAttribute("batch_axis", 1);
  auto lengths = call.integers(1);
  if (failed(lengths))
    return failure();
  if (x.rank() < 2 || time + batch != 1 || time * batch != 0 ||
      static_cast<int64_t>(lengths->size()) != x.shape()[batch])
    return call.error() << "expects time and batch as the first two dimensions "
                           "of "
                        << describe(x) << ", and a length per sequence, got "
                        << lengths->size();
  for (int64_t length : *lengths)
    if (length < 0 || length > x.shape()[time])
      return call.error() << "expects lengths of up to " << x.shape()[time]
                          << ", got " << length;
  Tensor source = withBytes(x), result = source.clone();
  Shape strides = rowMajorStrides(x.shape());
  size_t width = source.type().bits / 8;
  size_t block = productOf(x.shape(), 2) * width;
  std::byte *target = result.mutableBytes().data();
  for (int64_t b = 0; block > 0 && b < x.shape()[batch]; ++b)
    for (int64_t t = 0; t < (*lengths)[b]; ++t) {
      int64_t row = b * strides[batch], to = row + t * strides[time],
              from = row + ((*lengths)[b] - 1 - t) * strides[time];
      std::memcpy(target + to * width, source.bytes().data() + from * width,
                  block);
    }
  return single(result, x.type());
}

void addMovementNodes(NodeTable &table) {
  table["Transpose"] = {transposeNode, 1};
  table["Expand"] = {expandNode, 2};
  table["Tile"] = {tile, 2};
  table["Pad"] = {pad, 1};
  table["Trilu"] = {trilu, 1};
  table["DepthToSpace"] = {depthToSpace, 1};
  table["SpaceToDepth"] = {spaceToDepth, 1};
  table["ReverseSequence"] = {reverseSequence, 2};
}

} // namespace nibble::reference
