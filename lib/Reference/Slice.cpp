//===- Slice.cpp - Parts of tensors, taken and joined ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Slice, Split and Concat.
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

void addSliceNodes(NodeTable &table) {
  table["Slice"] = {slice, 1};
  table["Split"] = {split, 1};
  table["Concat"] = {concat, 1};
}

} // namespace nibble::reference
