//===- Indexing.cpp - Moving elements by index ----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX operators whose operands say which elements go where: gathers and
// scatters. Negative indices count from the end; others outside of a tensor are
// errors.
//
//===----------------------------------------------------------------------===//

#include "Indexing.h"

#include <cstring>
#include <numeric>

namespace nibble::reference {

static Results single(FailureOr<Tensor> tensor) {
  if (failed(tensor))
    return failure();
  return std::vector<Tensor>{*tensor};
}

/// Element `i` of `indices` within [0, size).
static FailureOr<int64_t> indexAt(const Call &call, const Tensor &indices,
                                  uint64_t i, int64_t size) {
  int64_t index = indices.integerAt(i);
  if (index < -size || index >= size)
    return call.error() << "expects indices in [" << -size << ", " << size
                        << "), got " << index << " at element " << i;
  return index < 0 ? index + size : index;
}

static LogicalResult checkIndices(const Call &call, const Tensor &indices) {
  if (!indices.type().isFloat())
    return success();
  return call.error() << "expects integer indices, got " << describe(indices);
}

FailureOr<Tensor> gather(const Call &call, const Tensor &x,
                         const Tensor &indices, int64_t axis) {
  if (failed(checkIndices(call, indices)))
    return failure();
  Tensor bytes = withBytes(x);
  Shape shape(x.shape().begin(), x.shape().begin() + axis);
  shape.insert(shape.end(), indices.shape().begin(), indices.shape().end());
  shape.insert(shape.end(), x.shape().begin() + axis + 1, x.shape().end());
  FailureOr<Tensor> result = call.allocate(bytes.type(), shape);
  if (failed(result))
    return failure();
  int64_t size = x.shape()[axis];
  std::vector<int64_t> positions(indices.size());
  for (uint64_t i = 0; i < indices.size(); ++i) {
    FailureOr<int64_t> index = indexAt(call, indices, i, size);
    if (failed(index))
      return failure();
    positions[i] = *index;
  }
  size_t row = productOf(x.shape(), axis + 1) * (bytes.type().bits / 8);
  const std::byte *source = bytes.bytes().data();
  std::byte *target = result->mutableBytes().data();
  for (int64_t i = 0; row > 0 && i < productOf(x.shape(), 0, axis); ++i)
    for (int64_t position : positions) {
      std::memcpy(target, source + (i * size + position) * row, row);
      target += row;
    }
  return cast(*result, x.type());
}

static Results gatherNode(const NodeCall &call) {
  FailureOr<int64_t> axis =
      call.axis(call.intAttribute("axis", 0), call[0].rank());
  if (failed(axis))
    return failure();
  return single(gather(call, call[0], call[1], *axis));
}

void copyElement(const Tensor &x, uint64_t from, std::byte *y, uint64_t to) {
  size_t width = x.type().bits / 8;
  std::memcpy(y + to * width, x.bytes().data() + from * width, width);
}

void splitPosition(uint64_t position, ArrayRef<int64_t> shape,
                   llvm::SmallVectorImpl<int64_t> &index) {
  index.assign(shape.size(), 0);
  for (size_t d = shape.size(); d-- > 0;) {
    index[d] = position % shape[d];
    position /= shape[d];
  }
}

/// For GatherElements and ScatterElements: the position in a tensor of `shape`
/// that element `i` of `indices` names.
static FailureOr<int64_t> elementPosition(const Call &call,
                                          const Tensor &indices, uint64_t i,
                                          const Shape &shape, int64_t axis) {
  FailureOr<int64_t> index = indexAt(call, indices, i, shape[axis]);
  if (failed(index))
    return failure();
  llvm::SmallVector<int64_t> position;
  splitPosition(i, indices.shape(), position);
  position[axis] = *index;
  Shape strides = rowMajorStrides(shape);
  return std::inner_product(position.begin(), position.end(), strides.begin(),
                            int64_t(0));
}

/// Indices of the rank of `x`, not larger than it but along `axis`.
static LogicalResult checkElementIndices(const Call &call, const Tensor &x,
                                         const Tensor &indices, int64_t axis) {
  bool fits = indices.rank() == x.rank();
  for (int64_t d = 0; fits && d < x.rank(); ++d)
    fits = d == axis || indices.shape()[d] <= x.shape()[d];
  if (fits)
    return checkIndices(call, indices);
  return call.error() << "expects indices that fit into " << describe(x)
                      << ", got " << describe(indices);
}

static Results gatherElements(const NodeCall &call) {
  const Tensor &indices = call[1];
  FailureOr<int64_t> axis =
      call.axis(call.intAttribute("axis", 0), call[0].rank());
  if (failed(axis) ||
      failed(checkElementIndices(call, call[0], indices, *axis)))
    return failure();
  Tensor x = withBytes(call[0]);
  FailureOr<Tensor> result = call.allocate(x.type(), indices.shape());
  if (failed(result))
    return failure();
  std::byte *target = result->mutableBytes().data();
  for (uint64_t i = 0; i < indices.size(); ++i) {
    auto position = elementPosition(call, indices, i, x.shape(), *axis);
    if (failed(position))
      return failure();
    copyElement(x, *position, target, i);
  }
  return single(cast(*result, call[0].type()));
}

//===----------------------------------------------------------------------===//
// GatherND, scatters
//===----------------------------------------------------------------------===//

/// For GatherND and ScatterND: the position of the block that tuple `i` of
/// `indices` names, in dimensions [first, first + length) of `x`.
static FailureOr<int64_t> tuplePosition(const Call &call, const Tensor &indices,
                                        uint64_t i, const Tensor &x,
                                        int64_t first) {
  int64_t length = indices.shape().back();
  Shape strides = rowMajorStrides(x.shape());
  int64_t position = 0;
  for (int64_t d = 0; d < length; ++d) {
    FailureOr<int64_t> index =
        indexAt(call, indices, i * length + d, x.shape()[first + d]);
    if (failed(index))
      return failure();
    position += *index * strides[first + d];
  }
  return position;
}

static Results gatherNd(const NodeCall &call) {
  const Tensor &indices = call[1];
  Tensor x = withBytes(call[0]);
  int64_t batchDims = call.intAttribute("batch_dims", 0);
  bool fits = indices.rank() >= 1 && batchDims >= 0 &&
              batchDims < indices.rank() && batchDims < x.rank() &&
              indices.shape().back() <= x.rank() - batchDims;
  for (int64_t d = 0; fits && d < batchDims; ++d)
    fits = indices.shape()[d] == x.shape()[d];
  if (!fits)
    return call.error() << "expects indices [..., n] into " << describe(x)
                        << ", got " << describe(indices);
  if (failed(checkIndices(call, indices)))
    return failure();
  int64_t length = indices.shape().back();
  Shape shape(indices.shape().begin(), indices.shape().end() - 1);
  shape.insert(shape.end(), x.shape().begin() + batchDims + length,
               x.shape().end());
  FailureOr<Tensor> result = call.allocate(x.type(), shape);
  if (failed(result))
    return failure();
  uint64_t tuples = productOf(indices.shape(), 0, indices.rank() - 1);
  uint64_t perBatch = productOf(indices.shape(), batchDims, indices.rank() - 1);
  int64_t batchSize = productOf(x.shape(), batchDims);
  size_t width = x.type().bits / 8,
         block = productOf(x.shape(), batchDims + length) * width;
  std::byte *target = result->mutableBytes().data();
  for (uint64_t i = 0; i < tuples; ++i) {
    auto position = tuplePosition(call, indices, i, x, batchDims);
    if (failed(position))
      return failure();
    int64_t base = perBatch ? i / perBatch * batchSize : 0;
    if (block)
      std::memcpy(target + i * block,
                  x.bytes().data() + (base + *position) * width, block);
  }
  return single(cast(*result, call[0].type()));
}

/// Combines element `from` of `update` into element `to` of `target`.
static LogicalResult combine(const NodeCall &call, Tensor &target, uint64_t to,
                             const Tensor &update, uint64_t from,
                             llvm::StringRef reduction) {
  if (reduction == "none") {
    copyElement(update, from, target.mutableBytes().data(), to);
    return success();
  }
  auto apply = [&](auto old, auto value) -> std::optional<decltype(old)> {
    if (reduction == "add")
      return old + value;
    if (reduction == "mul")
      return old * value;
    // NaN on either side stays.
    if (reduction == "max")
      return value != value || value > old ? value : old;
    if (reduction == "min")
      return value != value || value < old ? value : old;
    return std::nullopt;
  };
  if (target.type().isFloat()) {
    auto value = apply(target.numberAt(to), update.numberAt(from));
    if (value)
      return target.setNumberAt(to, *value), success();
  } else if (auto value = apply(target.integerAt(to), update.integerAt(from))) {
    return target.setIntegerAt(to, *value), success();
  }
  return call.error() << "expects 'reduction' none, add, mul, max or min, got '"
                      << reduction << "'";
}

static Results scatterElements(const NodeCall &call) {
  const Tensor &indices = call[1];
  FailureOr<int64_t> axis =
      call.axis(call.intAttribute("axis", 0), call[0].rank());
  if (failed(axis) ||
      failed(checkElementIndices(call, call[0], indices, *axis)))
    return failure();
  if (call[2].shape() != indices.shape() || call[2].type() != call[0].type())
    return call.error() << "expects updates of the shape of "
                        << describe(indices) << " and type "
                        << call[0].type().str() << ", got "
                        << describe(call[2]);
  Tensor result = withBytes(call[0]).clone(), updates = withBytes(call[2]);
  llvm::StringRef reduction = call.node.stringAttribute("reduction", "none");
  for (uint64_t i = 0; i < indices.size(); ++i) {
    auto position = elementPosition(call, indices, i, result.shape(), *axis);
    if (failed(position) ||
        failed(combine(call, result, *position, updates, i, reduction)))
      return failure();
  }
  return single(cast(result, call[0].type()));
}

static Results scatterNd(const NodeCall &call) {
  const Tensor &indices = call[1];
  Tensor result = withBytes(call[0]).clone(), updates = withBytes(call[2]);
  bool fits = indices.rank() >= 1 && indices.shape().back() <= result.rank() &&
              updates.type() == result.type();
  Shape shape;
  if (fits) {
    shape.assign(indices.shape().begin(), indices.shape().end() - 1);
    shape.insert(shape.end(), result.shape().begin() + indices.shape().back(),
                 result.shape().end());
    fits = shape == updates.shape();
  }
  if (!fits)
    return call.error() << "expects indices and updates that fit into "
                        << describe(call[0]) << ", got " << describe(indices)
                        << " and " << describe(call[2]);
  if (failed(checkIndices(call, indices)))
    return failure();
  llvm::StringRef reduction = call.node.stringAttribute("reduction", "none");
  uint64_t tuples = productOf(indices.shape(), 0, indices.rank() - 1);
  uint64_t block = productOf(result.shape(), indices.shape().back());
  for (uint64_t i = 0; i < tuples; ++i) {
    auto position = tuplePosition(call, indices, i, result, 0);
    if (failed(position))
      return failure();
    for (uint64_t j = 0; j < block; ++j)
      if (failed(combine(call, result, *position + j, updates, i * block + j,
                         reduction)))
        return failure();
  }
  return single(cast(result, call[0].type()));
}

void addIndexingNodes(NodeTable &table) {
  table["Gather"] = {gatherNode, 2};
  table["GatherElements"] = {gatherElements, 2};
  table["GatherND"] = {gatherNd, 2};
  table["ScatterElements"] = {scatterElements, 3};
  table["Scatter"] = {scatterElements, 3};
  table["ScatterND"] = {scatterNd, 3};
}

} // namespace nibble::reference
