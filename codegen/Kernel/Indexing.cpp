//===- Indexing.cpp - Gathers, scatters, TopK -----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Operators whose operands say which elements go where. No index can make a
// kernel leave its buffers: gathers clamp what is out of range, scatters drop
// it. The interpreter refuses such indices, as ONNX has no meaning for them.
//
// A scatter reads what it has written, and later updates win over earlier ones:
// all updates of one element belong to the same task, which takes them in
// order, so that the result does not depend on the number of threads.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"

using namespace mlir;

namespace nibble::codegen {

namespace {

//===----------------------------------------------------------------------===//
// Gathers
//===----------------------------------------------------------------------===//

/// An index from data as i64, counted from the end if negative.
Value fromEnd(Code &code, Value index, Value size) {
  index = code.resizeInteger(index, code.i64());
  return code.select(code.compare(Compare::lt, index, code.index(0)),
                     code.add(index, size), index);
}

/// The same, clamped to [0, size).
Value clampedIndex(Code &code, Value index, Value size) {
  index = fromEnd(code, index, size);
  return code.maximum(code.minimum(index, code.sub(size, code.index(1))),
                      code.index(0));
}

/// Element `index` of `data`; zero where a dimension of `data` in
/// [first, last), which data was to choose from, is empty.
Value elementIfAny(Kernel &kernel, Value data, Index index, size_t first,
                   size_t last) {
  Code &code = kernel.code;
  Value any;
  for (size_t i = first; i < last; ++i) {
    if (kernel.shape(data)[i].asConstant().value_or(0) > 0)
      continue;
    Value some = code.compare(Compare::gt, kernel.size(data, i), code.index(0));
    any = any ? code.bitAnd(any, some) : some;
  }
  auto load = [&] { return kernel.element(data, index); };
  if (!any)
    return load();
  return code.choose(any, load,
                     [&] { return code.zero(kernel.registerType(data)); });
}

/// Keeps the index of a dimension that data does not choose inside of `data`,
/// where it may be larger than `data` is.
Value boundedIndex(Kernel &kernel, Value index, const DimExpr &size, Value data,
                   size_t dimension) {
  const DimExpr &own = kernel.shape(data)[dimension];
  std::optional<int64_t> known = size.asConstant(), limit = own.asConstant();
  if (size == own || (known && limit && *known <= *limit))
    return index;
  return clampedIndex(kernel.code, index, kernel.evaluate(own));
}

Value gather(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0], indices = node.getInputs()[1];
  int64_t axis = normalAxis(node.intAttribute("axis", 0), kernel.rank(data));
  size_t rank = kernel.rank(indices);
  Value picked = kernel.element(indices, index.slice(axis, rank));
  Values from(index.begin(), index.begin() + axis);
  from.push_back(clampedIndex(kernel.code, picked, kernel.size(data, axis)));
  from.append(index.begin() + axis + rank, index.end());
  return elementIfAny(kernel, data, from, axis, axis + 1);
}

Value gatherElements(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0];
  int64_t axis = normalAxis(node.intAttribute("axis", 0), index.size());
  if (kernel.rank(data) != static_cast<int64_t>(index.size()))
    return kernel.unsupported(op, "indices of another rank than the data");
  Values from;
  for (auto [i, position] : llvm::enumerate(index))
    from.push_back(boundedIndex(kernel, position,
                                kernel.shape(node.getInputs()[1])[i], data, i));
  from[axis] =
      clampedIndex(kernel.code, kernel.element(node.getInputs()[1], index),
                   kernel.size(data, axis));
  return elementIfAny(kernel, data, from, 0, from.size());
}

Value gatherNd(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0], indices = node.getInputs()[1];
  size_t batch = node.intAttribute("batch_dims", 0);
  size_t outer = kernel.rank(indices) - 1;
  std::optional<int64_t> depth = kernel.shape(indices).back().asConstant();
  if (!depth)
    return kernel.unsupported(op, "indices of a dynamic length");
  size_t rank = kernel.rank(data);
  if (batch > outer || batch > rank ||
      *depth > static_cast<int64_t>(rank - batch))
    return kernel.unsupported(op, "more indices than the data has dimensions");
  Values from;
  for (size_t i = 0; i < batch; ++i)
    from.push_back(
        boundedIndex(kernel, index[i], kernel.shape(indices)[i], data, i));
  for (int64_t i = 0; i < *depth; ++i) {
    Values at(index.begin(), index.begin() + outer);
    at.push_back(kernel.code.index(i));
    from.push_back(clampedIndex(kernel.code, kernel.element(indices, at),
                                kernel.size(data, batch + i)));
  }
  from.append(index.begin() + outer, index.end());
  return elementIfAny(kernel, data, from, 0, batch + *depth);
}

Value oneHot(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value indices = node.getInputs()[0], values = node.getInputs()[2];
  int64_t axis = normalAxis(node.intAttribute("axis", -1), index.size());
  Values at(index.begin(), index.end());
  at.erase(at.begin() + axis);
  Value depth = kernel.size(op->getResult(0), axis);
  Value hot = kernel.element(indices, at);
  // Saturates: a float that no index reaches stays out of reach.
  hot = kernel.isFloat(indices)
            ? code.toInteger(hot, code.i64())
            : code.resizeInteger(hot, code.i64(), kernel.isUnsigned(indices));
  Value isHot =
      code.bitOr(code.compare(Compare::eq, hot, index[axis]),
                 code.compare(Compare::eq, code.add(hot, depth), index[axis]));
  return code.select(isHot, kernel.element(values, {code.index(1)}),
                     kernel.element(values, {code.index(0)}));
}

//===----------------------------------------------------------------------===//
// Scatters
//===----------------------------------------------------------------------===//

/// What becomes of an element of `tensor` under an update; null if ONNX has no
/// such reduction.
Value combined(Kernel &kernel, Value tensor, llvm::StringRef reduction,
               llvm::function_ref<Value()> old, Value update) {
  Code &code = kernel.code;
  if (reduction == "none")
    return update;
  bool isBoolean = update.getType().isInteger(1);
  bool isUnsigned = kernel.isUnsigned(tensor);
  if (reduction == "add")
    return isBoolean ? code.bitOr(old(), update) : code.add(old(), update);
  if (reduction == "mul")
    return isBoolean ? code.bitAnd(old(), update) : code.mul(old(), update);
  if (reduction == "max")
    return isBoolean ? code.bitOr(old(), update)
                     : code.maximum(old(), update, isUnsigned);
  if (reduction == "min")
    return isBoolean ? code.bitAnd(old(), update)
                     : code.minimum(old(), update, isUnsigned);
  return {};
}

/// Puts update `from`, of `count` that there should be, at a position of the
/// result. `inside` says whether the position is one; nothing is written
/// otherwise.
void applyUpdate(Kernel &kernel, onnx::NodeOp node, Value inside,
                 Value position, Value from, const DimExpr &count) {
  Value result = node.getOutputs()[0];
  const Shape &updates = kernel.shape(node.getInputs()[2]);
  // Symbols leave open whether there are as many.
  DimExpr given = Kernel::product(updates, 0, updates.size());
  if (given != count)
    inside = kernel.code.bitAnd(
        inside, kernel.code.compare(Compare::lt, from, kernel.evaluate(given)));
  llvm::StringRef reduction = node.stringAttribute("reduction", "none");
  kernel.code.branch(inside, [&] {
    Value value = combined(
        kernel, result, reduction,
        [&] { return kernel.loadResultAt(result, position); },
        kernel.elementAt(node.getInputs()[2], from));
    if (!value) {
      kernel.unsupported(node, "the reduction '" + reduction + "'");
      return;
    }
    kernel.storeAt(result, position, value);
  });
}

/// One task per line along the axis.
DimExpr scatterElementsTasks(Kernel &kernel, Operation *op) {
  const Shape &shape = kernel.shape(op->getResult(0));
  auto node = cast<onnx::NodeOp>(op);
  size_t axis = normalAxis(node.intAttribute("axis", 0), shape.size());
  return Kernel::product(shape, 0, axis) *
         Kernel::product(shape, axis + 1, shape.size());
}

void scatterElements(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0], indices = node.getInputs()[1];
  const Shape &shape = kernel.shape(op->getResult(0));
  if (kernel.shape(indices).size() != shape.size()) {
    kernel.unsupported(op, "indices of another rank than the data");
    return;
  }
  DimExpr updates = Kernel::product(kernel.shape(indices), 0, shape.size());
  size_t axis = normalAxis(node.intAttribute("axis", 0), shape.size());
  Shape line = shape;
  line.erase(line.begin() + axis);
  Values index = kernel.indexOf(task, line);
  index.insert(index.begin() + axis, code.index(0));
  Value first = kernel.positionOf(index, shape);
  Value stride =
      kernel.evaluate(Kernel::product(shape, axis + 1, shape.size()));
  Value size = kernel.evaluate(shape[axis]);
  auto positionAt = [&](Value i) {
    return code.add(first, code.mul(i, stride));
  };
  code.loop(code.index(0), size, 1, [&](Value i) {
    kernel.storeAt(op->getResult(0), positionAt(i),
                   kernel.elementAt(data, positionAt(i)));
  });
  // Indices may cover fewer lines than there are.
  Value covered = code.integer(code.i1(), 1);
  for (size_t i = 0; i < shape.size(); ++i)
    if (i != axis && kernel.shape(indices)[i] != shape[i])
      covered = code.bitAnd(covered, code.compare(Compare::lt, index[i],
                                                  kernel.size(indices, i)));
  Value count = code.select(covered, kernel.size(indices, axis), code.index(0));
  code.loop(code.index(0), count, 1, [&](Value i) {
    Values at = index;
    at[axis] = i;
    Value from = kernel.positionOf(at, kernel.shape(indices));
    Value to = fromEnd(code, kernel.elementAt(indices, from), size);
    Value inside = code.compare(Compare::lt, to, size, /*isUnsigned=*/true);
    applyUpdate(kernel, node, inside, positionAt(to), from, updates);
  });
}

/// The blocks that an index tuple chooses from are split among so many tasks;
/// each looks at all tuples.
constexpr int64_t scatterParts = 16;

/// Length of the index tuples of ScatterND; an error if it is not static or
/// longer than the rank.
std::optional<size_t> tupleLength(Kernel &kernel, onnx::NodeOp node) {
  const Shape &indices = kernel.shape(node.getInputs()[1]);
  std::optional<int64_t> length =
      indices.empty() ? std::nullopt : indices.back().asConstant();
  if (length && *length >= 0 && *length <= kernel.rank(node.getInputs()[0]))
    return *length;
  return std::nullopt;
}

DimExpr scatterNdTasks(Kernel &kernel, Operation *op) {
  auto node = cast<onnx::NodeOp>(op);
  std::optional<size_t> length = tupleLength(kernel, node);
  return DimExpr(length && *length > 0 ? scatterParts : 1);
}

void scatterNd(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0], indices = node.getInputs()[1];
  Value result = op->getResult(0);
  const Shape &shape = kernel.shape(result);
  std::optional<size_t> length = tupleLength(kernel, node);
  if (!length) {
    kernel.unsupported(op, "indices of a dynamic length, or too long ones");
    return;
  }
  Value blocks = kernel.evaluate(Kernel::product(shape, 0, *length));
  Value block = kernel.evaluate(Kernel::product(shape, *length, shape.size()));
  // The blocks [begin, end) are this task's.
  Value begin = code.index(0), end = blocks;
  if (*length > 0) {
    Value part = code.divide(code.add(blocks, code.index(scatterParts - 1)),
                             code.index(scatterParts), /*isUnsigned=*/true);
    begin = code.minimum(code.mul(task, part), blocks);
    end = code.minimum(code.add(begin, part), blocks);
  }
  code.loop(code.mul(begin, block), code.mul(end, block), 1, [&](Value i) {
    kernel.storeAt(result, i, kernel.elementAt(data, i));
  });
  const Shape &tuples = kernel.shape(indices);
  DimExpr tupleCount = Kernel::product(tuples, 0, tuples.size() - 1);
  DimExpr updates = tupleCount * Kernel::product(shape, *length, shape.size());
  Value count = kernel.evaluate(tupleCount);
  code.loop(code.index(0), count, 1, [&](Value tuple) {
    Value at = code.index(0), inside = code.integer(code.i1(), 1);
    for (size_t i = 0; i < *length; ++i) {
      Value size = kernel.evaluate(shape[i]);
      Value position =
          code.add(code.mul(tuple, code.index(static_cast<int64_t>(*length))),
                   code.index(static_cast<int64_t>(i)));
      Value index = fromEnd(code, kernel.elementAt(indices, position), size);
      inside = code.bitAnd(inside, code.compare(Compare::lt, index, size,
                                                /*isUnsigned=*/true));
      at = code.add(code.mul(at, size), index);
    }
    inside = code.bitAnd(inside, code.compare(Compare::ge, at, begin));
    inside = code.bitAnd(inside, code.compare(Compare::lt, at, end));
    Value elements = code.select(inside, block, code.index(0));
    code.loop(code.index(0), elements, 1, [&](Value j) {
      applyUpdate(kernel, node, code.integer(code.i1(), 1),
                  code.add(code.mul(at, block), j),
                  code.add(code.mul(tuple, block), j), updates);
    });
  });
}

//===----------------------------------------------------------------------===//
// TopK
//===----------------------------------------------------------------------===//

/// One task per line along the axis.
DimExpr topKTasks(Kernel &kernel, Operation *op) {
  auto node = cast<onnx::NodeOp>(op);
  const Shape &shape = kernel.shape(node.getInputs()[0]);
  size_t axis = normalAxis(node.intAttribute("axis", -1), shape.size());
  return Kernel::product(shape, 0, axis) *
         Kernel::product(shape, axis + 1, shape.size());
}

/// Each element of the result is found by a pass over the line: the first one,
/// in the order of the result, behind the one before it. Routers and samplers
/// want a few of many, where sorting would not pay.
void topK(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value data = node.getInputs()[0];
  const Shape &shape = kernel.shape(data);
  size_t axis = normalAxis(node.intAttribute("axis", -1), shape.size());
  Compare ahead = node.intAttribute("largest", 1) ? Compare::gt : Compare::lt;
  // Equal elements stand in the order of their indices, and NaN is the largest.
  auto precedes = [&](Value a, Value b) {
    Value before = code.compare(ahead, a, b, kernel.isUnsigned(data));
    if (!kernel.isFloat(data))
      return before;
    Value aIsNan = code.compare(Compare::ne, a, a);
    Value bIsNan = code.compare(Compare::ne, b, b);
    Value differ = code.bitXor(aIsNan, bIsNan);
    return code.bitOr(
        before, code.bitAnd(differ, ahead == Compare::gt ? aIsNan : bIsNan));
  };
  Shape line = shape;
  line.erase(line.begin() + axis);
  Values index = kernel.indexOf(task, line);
  index.insert(index.begin() + axis, Value());
  auto at = [&](Value i) {
    index[axis] = i;
    return Index(index);
  };
  Value size = kernel.size(data, axis), zero = code.index(0);
  Value none = code.zero(kernel.registerType(data));
  Values start = {none, code.index(-1)};
  auto next = [&](Value, llvm::ArrayRef<Value> last) -> Values {
    auto consider = [&](Value i, llvm::ArrayRef<Value> best) -> Values {
      Value value = kernel.element(data, at(i));
      Value isFirst = code.compare(Compare::lt, last[1], zero);
      Value isEqual = code.bitXor(
          code.bitOr(precedes(last[0], value), precedes(value, last[0])),
          code.integer(code.i1(), 1));
      Value isLater = code.bitOr(
          precedes(last[0], value),
          code.bitAnd(isEqual, code.compare(Compare::gt, i, last[1])));
      Value isBetter = code.bitOr(code.compare(Compare::lt, best[1], zero),
                                  precedes(value, best[0]));
      Value take = code.bitAnd(code.bitOr(isFirst, isLater), isBetter);
      return {code.select(take, value, best[0]), code.select(take, i, best[1])};
    };
    return code.loop(zero, size, 1, start, consider);
  };
  // Either result may be absent.
  llvm::SmallVector<std::pair<unsigned, Value>> results;
  for (auto [i, result] : llvm::enumerate(node.getOutputs()))
    if (isa<RankedTensorType>(result.getType()))
      results.emplace_back(i, result);
  code.loop(zero, kernel.size(results.front().second, axis), 1, start,
            [&](Value k, llvm::ArrayRef<Value> last) {
              Values found = next(k, last);
              for (auto [i, result] : results)
                kernel.store(result, at(k), found[i]);
              return found;
            });
}

} // namespace

void addIndexingLowerings(LoweringTable &table) {
  table["onnx.Gather"].element = gather;
  table["onnx.GatherElements"].element = gatherElements;
  table["onnx.GatherND"].element = gatherNd;
  table["onnx.OneHot"].element = oneHot;
  for (const char *name : {"onnx.Scatter", "onnx.ScatterElements"}) {
    table[name].tasks = scatterElementsTasks;
    table[name].task = scatterElements;
  }
  table["onnx.ScatterND"].tasks = scatterNdTasks;
  table["onnx.ScatterND"].task = scatterNd;
  table["onnx.TopK"].tasks = topKTasks;
  table["onnx.TopK"].task = topK;
}

} // namespace nibble::codegen
