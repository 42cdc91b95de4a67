//===- Selection.cpp - Elements chosen by their values -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX operators that look at elements to say which ones are meant: NonZero,
// Compress, Unique, TopK; and OneHot, which marks them. The first three have
// results whose shape depends on data; the ops of the qkernel dialect that find
// the sizes are here as well.
//
//===----------------------------------------------------------------------===//

#include "Indexing.h"

#include "nibble/dialects/QKernel/QKernel.h"

#include <cstring>
#include <numeric>

namespace nibble::reference {

static Results single(FailureOr<Tensor> tensor) {
  if (failed(tensor))
    return failure();
  return std::vector<Tensor>{*tensor};
}

static Tensor int64Tensor(const std::vector<int64_t> &values) {
  Tensor result = Tensor::allocate(ElementType::signedInt(64),
                                   {static_cast<int64_t>(values.size())});
  llvm::copy(values, result.asMutable<int64_t>().begin());
  return result;
}

static Results nonZero(const NodeCall &call) {
  const Tensor &x = call[0];
  std::vector<uint64_t> found;
  for (uint64_t i = 0; i < x.size(); ++i)
    if (x.numberAt(i) != 0)
      found.push_back(i);
  Tensor result =
      Tensor::allocate(ElementType::signedInt(64),
                       {x.rank(), static_cast<int64_t>(found.size())});
  std::span<int64_t> target = result.asMutable<int64_t>();
  llvm::SmallVector<int64_t> position;
  for (size_t i = 0; i < found.size(); ++i) {
    splitPosition(found[i], x.shape(), position);
    for (size_t d = 0; d < position.size(); ++d)
      target[d * found.size() + i] = position[d];
  }
  return single(result);
}

//===----------------------------------------------------------------------===//
// Compress, Unique
//===----------------------------------------------------------------------===//

/// The operator's axis; no value if it has none and works on the elements.
static FailureOr<std::optional<int64_t>> optionalAxis(const NodeCall &call) {
  if (!call.hasAttribute("axis"))
    return std::optional<int64_t>();
  FailureOr<int64_t> axis =
      call.axis(call.intAttribute("axis", 0), call[0].rank());
  if (failed(axis))
    return failure();
  return std::optional<int64_t>(*axis);
}

/// Picks positions of `x` along an axis, or of its elements.
static FailureOr<Tensor> pick(const Call &call, const Tensor &x,
                              std::optional<int64_t> axis,
                              const std::vector<int64_t> &positions) {
  if (axis)
    return gather(call, x, int64Tensor(positions), *axis);
  return gather(call, x.reshaped({static_cast<int64_t>(x.size())}),
                int64Tensor(positions), 0);
}

static Results compress(const NodeCall &call) {
  const Tensor &x = call[0], &condition = call[1];
  FailureOr<std::optional<int64_t>> axis = optionalAxis(call);
  if (failed(axis))
    return failure();
  uint64_t size = *axis ? x.shape()[**axis] : x.size();
  if (condition.rank() != 1 || condition.type() != ElementType::boolean() ||
      condition.size() > size)
    return call.error() << "expects at most " << size
                        << " booleans as condition, got "
                        << describe(condition);
  std::vector<int64_t> positions;
  for (uint64_t i = 0; i < condition.size(); ++i)
    if (condition.integerAt(i))
      positions.push_back(static_cast<int64_t>(i));
  return single(pick(call, x, *axis, positions));
}

/// The order of elements `a` and `b` of `x`: negative, zero or positive. NaN is
/// the largest, and equal to itself.
static int compareElements(const Tensor &x, uint64_t a, uint64_t b) {
  auto order = [](auto l, auto r) {
    if (l != l || r != r)
      return int(l != l) - int(r != r);
    return int(l > r) - int(l < r);
  };
  if (x.type().isFloat())
    return order(x.numberAt(a), x.numberAt(b));
  if (x.type().kind == ElementType::Kind::Unsigned)
    return order(static_cast<uint64_t>(x.integerAt(a)),
                 static_cast<uint64_t>(x.integerAt(b)));
  return order(x.integerAt(a), x.integerAt(b));
}

namespace {
/// Equal slices of a tensor, as indices of slices and numbers of groups.
struct Groups {
  std::vector<int64_t> first, inverse, counts;
};
} // namespace

/// Slice i is what position i holds along the axis; without one, an element.
static Groups groupSlices(const Tensor &x, std::optional<int64_t> axis,
                          bool isSorted) {
  int64_t count = axis ? x.shape()[*axis] : static_cast<int64_t>(x.size());
  int64_t inner = axis ? productOf(x.shape(), *axis + 1) : 1;
  int64_t outer = axis ? productOf(x.shape(), 0, *axis) : 1;
  auto compare = [&](int64_t a, int64_t b) {
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t i = 0; i < inner; ++i)
        if (int order = compareElements(x, (o * count + a) * inner + i,
                                        (o * count + b) * inner + i))
          return order;
    return 0;
  };
  std::vector<int64_t> order(count), first, inverse(count), counts;
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return compare(a, b) < 0; });
  for (int64_t position : order) {
    if (first.empty() || compare(first.back(), position) != 0) {
      first.push_back(position);
      counts.push_back(0);
    }
    inverse[position] = static_cast<int64_t>(first.size()) - 1;
    ++counts.back();
  }
  if (!isSorted) {
    // In the order in which they come.
    std::vector<int64_t> by(first.size()), rank(first.size());
    std::iota(by.begin(), by.end(), 0);
    llvm::sort(by, [&](int64_t a, int64_t b) { return first[a] < first[b]; });
    std::vector<int64_t> oldFirst = first, oldCounts = counts;
    for (size_t i = 0; i < by.size(); ++i) {
      rank[by[i]] = static_cast<int64_t>(i);
      first[i] = oldFirst[by[i]];
      counts[i] = oldCounts[by[i]];
    }
    for (int64_t &index : inverse)
      index = rank[index];
  }
  return {std::move(first), std::move(inverse), std::move(counts)};
}

static Results unique(const NodeCall &call) {
  const Tensor &x = call[0];
  FailureOr<std::optional<int64_t>> axis = optionalAxis(call);
  if (failed(axis))
    return failure();
  auto [first, inverse, counts] =
      groupSlices(x, *axis, call.intAttribute("sorted", 1));
  FailureOr<Tensor> values = pick(call, x, *axis, first);
  if (failed(values))
    return failure();
  std::vector<Tensor> results = {*values, int64Tensor(first),
                                 int64Tensor(inverse), int64Tensor(counts)};
  results.resize(call.op->getNumResults());
  return results;
}

//===----------------------------------------------------------------------===//
// Their sizes
//===----------------------------------------------------------------------===//

static Results countNonzero(const Call &call) {
  const Tensor &x = call[0];
  int64_t count = 0;
  for (uint64_t i = 0; i < x.size(); ++i)
    count += x.numberAt(i) != 0;
  return single(int64Tensor({count}));
}

static Results uniqueGroups(const Call &call) {
  auto op = mlir::cast<qkernel::UniqueGroupsOp>(call.op);
  auto [first, inverse, counts] =
      groupSlices(call[0], op.getAxis(), op.getSorted());
  auto count = static_cast<int64_t>(first.size());
  first.resize(inverse.size());
  counts.resize(inverse.size());
  return std::vector<Tensor>{int64Tensor(first), int64Tensor(inverse),
                             int64Tensor(counts), int64Tensor({count})};
}

//===----------------------------------------------------------------------===//
// OneHot, TopK
//===----------------------------------------------------------------------===//

static Results oneHot(const NodeCall &call) {
  const Tensor &indices = call[0], &depthTensor = call[1];
  Tensor values = withBytes(call[2]);
  if (depthTensor.size() != 1 || values.size() != 2)
    return call.error() << "expects one depth and two values, got "
                        << describe(depthTensor) << " and " << describe(values);
  int64_t depth = static_cast<int64_t>(depthTensor.numberAt(0));
  FailureOr<int64_t> axis =
      call.axis(call.intAttribute("axis", -1), indices.rank() + 1);
  if (failed(axis))
    return failure();
  Shape shape = indices.shape();
  shape.insert(shape.begin() + *axis, depth);
  FailureOr<Tensor> result = call.allocate(values.type(), shape);
  if (failed(result))
    return failure();
  int64_t inner = productOf(indices.shape(), *axis);
  std::byte *target = result->mutableBytes().data();
  for (uint64_t i = 0; i < result->size(); ++i)
    copyElement(values, 0, target, i);
  for (uint64_t i = 0; i < indices.size(); ++i) {
    int64_t index = static_cast<int64_t>(indices.numberAt(i));
    if (index < -depth || index >= depth)
      continue; // all values are "off" then
    index += index < 0 ? depth : 0;
    int64_t outer = i / inner;
    copyElement(values, 1, target, (outer * depth + index) * inner + i % inner);
  }
  return single(cast(*result, call[2].type()));
}

static Results topK(const NodeCall &call) {
  const Tensor &x = call[0];
  FailureOr<int64_t> axis = call.axis(call.intAttribute("axis", -1), x.rank());
  auto given = call.integersOf(1, "k");
  if (failed(axis) || failed(given))
    return failure();
  int64_t k = *given && (*given)->size() == 1 ? (**given)[0]
                                              : call.intAttribute("k", -1);
  int64_t size = x.shape()[*axis];
  if (k < 0 || k > size)
    return call.error() << "expects k in [0, " << size << "], got " << k;
  bool largest = call.intAttribute("largest", 1);
  Shape shape = x.shape();
  shape[*axis] = k;
  Tensor values = Tensor::allocate(withBytes(x).type(), shape);
  Tensor indices = Tensor::allocate(ElementType::signedInt(64), shape);
  Tensor bytes = withBytes(x), wide = widen(x);
  int64_t inner = productOf(shape, *axis + 1);
  std::vector<int64_t> order(size);
  dispatch(wide.type(), [&](auto zero) {
    using T = decltype(zero);
    std::span<const T> source = wide.as<T>();
    for (int64_t o = 0; o < productOf(shape, 0, *axis); ++o)
      for (int64_t i = 0; i < inner; ++i) {
        auto at = [&](int64_t j) { return (o * size + j) * inner + i; };
        std::iota(order.begin(), order.end(), 0);
        // Equal elements: the lower index first. NaN counts as the largest.
        std::stable_sort(order.begin(), order.end(), [&](int64_t l, int64_t r) {
          T a = source[at(l)], b = source[at(r)];
          if (!largest)
            std::swap(a, b);
          return a != a ? b == b : a > b;
        });
        for (int64_t j = 0; j < k; ++j) {
          int64_t to = (o * k + j) * inner + i;
          copyElement(bytes, at(order[j]), values.mutableBytes().data(), to);
          indices.setIntegerAt(to, order[j]);
        }
      }
  });
  return std::vector<Tensor>{cast(values, x.type()), indices};
}

void addSelectionNodes(NodeTable &table) {
  table["NonZero"] = {nonZero, 1};
  table["Compress"] = {compress, 2};
  table["Unique"] = {unique, 1};
  table["OneHot"] = {oneHot, 3};
  table["TopK"] = {topK, 1};
}

void addSelectionOps(OpTable &table) {
  table["qkernel.count_nonzero"] = countNonzero;
  table["qkernel.unique_groups"] = uniqueGroups;
}

} // namespace nibble::reference
