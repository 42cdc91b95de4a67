//===- Movement.cpp - Moving elements by position ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX operators that copy elements to places which do not depend on data:
// slices, concatenation, transposition, padding.
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
// Slice, Split, Concat
//===----------------------------------------------------------------------===//

static Results slice(const NodeCall &call) {
  const Tensor &x = call[0];
  auto starts = call.integersOf(1, "starts"), ends = call.integersOf(2, "ends"),
       axes = call.integersOf(3, "axes"), steps = call.integersOf(4, "steps");
  if (failed(starts) || failed(ends) || failed(axes) || failed(steps))
    return failure();
  if (!*starts || !*ends)
    return call.error() << "expects starts and ends";
  size_t count = (*starts)->size();
  if ((*ends)->size() != count || (*axes && (*axes)->size() != count) ||
      (*steps && (*steps)->size() != count) ||
      (!*axes && static_cast<int64_t>(count) > x.rank()))
    return call.error() << "expects starts, ends, axes and steps of one length";
  Shape shape = x.shape(), strides = rowMajorStrides(shape);
  int64_t offset = 0;
  llvm::SmallVector<bool> seen(x.rank(), false);
  for (size_t i = 0; i < count; ++i) {
    FailureOr<int64_t> axis =
        call.axis(*axes ? (**axes)[i] : static_cast<int64_t>(i), x.rank());
    if (failed(axis))
      return failure();
    if (seen[*axis])
      return call.error() << "slices dimension " << *axis << " twice";
    seen[*axis] = true;
    int64_t step = *steps ? (**steps)[i] : 1, dim = x.shape()[*axis];
    if (step == 0 || step == INT64_MIN)
      return call.error() << "expects a step that is not " << step;
    // Ends may be INT64_MAX or INT64_MIN, meaning "to the end".
    auto clamp = [&](int64_t bound, int64_t low, int64_t high) {
      return std::clamp(bound < 0 ? bound + dim : bound, low, high);
    };
    int64_t start, end, length;
    if (step > 0) {
      start = clamp((**starts)[i], 0, dim);
      end = clamp((**ends)[i], 0, dim);
      length = end > start ? (end - start - 1) / step + 1 : 0;
    } else {
      start = clamp((**starts)[i], 0, dim - 1);
      end = clamp((**ends)[i], -1, dim - 1);
      length = start > end ? (start - end - 1) / -step + 1 : 0;
    }
    if (dim == 0)
      length = 0;
    offset += length > 0 ? start * strides[*axis] : 0;
    strides[*axis] *= step;
    shape[*axis] = length;
  }
  return single(copyStrided(call, withBytes(x), shape, strides, offset),
                x.type());
}

static Results split(const NodeCall &call) {
  const Tensor &x = call[0];
  FailureOr<int64_t> axis = call.axis(call.intAttribute("axis", 0), x.rank());
  auto given = call.integersOf(1, "split");
  if (failed(axis) || failed(given))
    return failure();
  int64_t dim = x.shape()[*axis], parts = call.op->getNumResults();
  if (parts == 0)
    return std::vector<Tensor>();
  llvm::SmallVector<int64_t> sizes;
  if (*given) {
    sizes = **given;
  } else {
    // Equal parts, the last one smaller.
    int64_t size = (dim + parts - 1) / parts;
    for (int64_t i = 0; i < parts; ++i)
      sizes.push_back(std::max<int64_t>(0, std::min(size, dim - i * size)));
  }
  int64_t sum = 0;
  for (int64_t size : sizes) {
    if (size < 0 || size > dim - sum)
      return call.error() << "expects sizes that add up to " << dim;
    sum += size;
  }
  if (sum != dim || static_cast<int64_t>(sizes.size()) != parts)
    return call.error() << "expects " << parts << " sizes that add up to "
                        << dim << ", got " << sizes.size() << " that add up to "
                        << sum;
  Tensor bytes = withBytes(x);
  Shape strides = rowMajorStrides(x.shape());
  std::vector<Tensor> results;
  int64_t position = 0;
  for (int64_t size : sizes) {
    Shape shape = x.shape();
    shape[*axis] = size;
    FailureOr<Tensor> part =
        copyStrided(call, bytes, shape, strides, position * strides[*axis]);
    if (failed(part))
      return failure();
    results.push_back(cast(*part, x.type()));
    position += size;
  }
  return results;
}

static Results concat(const NodeCall &call) {
  const Tensor &first = call[0];
  if (!call.hasAttribute("axis"))
    return call.error() << "expects 'axis'";
  FailureOr<int64_t> axis =
      call.axis(call.intAttribute("axis", 0), first.rank());
  if (failed(axis))
    return failure();
  Shape shape = first.shape();
  shape[*axis] = 0;
  std::vector<Tensor> parts;
  for (size_t i = 0; i < call.operands.size(); ++i) {
    const Tensor *part = call.operand(i);
    if (!part)
      return call.error() << "expects operand #" << i << " to be present";
    bool fits = part->type() == first.type() && part->rank() == first.rank();
    for (int64_t d = 0; fits && d < first.rank(); ++d)
      fits = d == *axis || part->shape()[d] == shape[d];
    if (!fits)
      return call.error() << "expects operands that differ in dimension "
                          << *axis << " only, got " << describe(first)
                          << " and " << describe(*part);
    shape[*axis] += part->shape()[*axis];
    parts.push_back(withBytes(*part));
  }
  FailureOr<Tensor> result = call.allocate(parts[0].type(), shape);
  if (failed(result))
    return failure();
  size_t outer = productOf(shape, 0, *axis);
  size_t bytesPerRow = productOf(shape, *axis) * (result->type().bits / 8),
         position = 0;
  std::byte *target = result->mutableBytes().data();
  for (const Tensor &part : parts) {
    size_t bytes = outer ? part.bytes().size() / outer : 0;
    for (size_t i = 0; i < outer && bytes; ++i)
      std::memcpy(target + i * bytesPerRow + position,
                  part.bytes().data() + i * bytes, bytes);
    position += bytes;
  }
  return single(*result, first.type());
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

void addMovementNodes(NodeTable &table) {
  table["Transpose"] = {transposeNode, 1};
  table["Expand"] = {expandNode, 2};
  table["Tile"] = {tile, 2};
  table["Slice"] = {slice, 1};
  table["Split"] = {split, 1};
  table["Concat"] = {concat, 1};
  table["Pad"] = {pad, 1};
  table["Trilu"] = {trilu, 1};
}

} // namespace nibble::reference
