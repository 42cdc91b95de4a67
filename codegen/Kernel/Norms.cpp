//===- Norms.cpp - Normalization, softmax, rotary embedding ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One task is one row. Sums over rows are taken in eight lanes, each
// lane in order, and the lanes pairwise: a fixed order whatever the partition,
// and a shorter chain of roundings than a single sum.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"
#include "nibble/codegen/Kernel/Math.h"

#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/TypeUtilities.h"

#include <limits>

using namespace mlir;

namespace nibble::codegen {

namespace {

constexpr int64_t lanes = 8;

/// Elements of a float tensor that are normalized together, read through
/// Kernel::element, eight at a time where they lie side by side in a buffer.
class Row {
public:
  /// All elements of the dimensions from `axis` on.
  static Row trailing(Kernel &kernel, Value tensor, int64_t axis, Value task) {
    llvm::ArrayRef<DimExpr> shape = kernel.shape(tensor);
    Shape inner = shape.drop_front(axis).vec();
    Values outer = kernel.indexOf(task, shape.take_front(axis));
    Value length = kernel.evaluate(Kernel::product(inner, 0, inner.size()));
    Kernel *k = &kernel;
    Row row(kernel, tensor, length, [k, outer, inner](Value i) {
      Values index = outer;
      index.append(k->indexOf(i, inner));
      return index;
    });
    row.first = kernel.code.mul(task, length);
    return row;
  }

  /// The elements along `axis`.
  static Row along(Kernel &kernel, Value tensor, int64_t axis, Value task) {
    if (axis == kernel.rank(tensor) - 1)
      return trailing(kernel, tensor, axis, task);
    Shape others = kernel.shape(tensor);
    others.erase(others.begin() + axis);
    Values outer = kernel.indexOf(task, others);
    return Row(kernel, tensor, kernel.size(tensor, axis),
               [outer, axis](Value i) {
                 Values index = outer;
                 index.insert(index.begin() + axis, i);
                 return index;
               });
  }

  Value at(Value i) {
    if (first && kernel.buffers.count(tensor))
      return kernel.loadAt(tensor, code.add(first, i));
    return kernel.element(tensor, indexAt(i));
  }
  /// Elements [i, i + 8).
  Value vectorAt(Value i) {
    Type type = code.vector(element, lanes);
    if (first && kernel.buffers.count(tensor) &&
        getElementTypeOrSelf(tensor.getType()) == element)
      return code.load(type, kernel.pointer(tensor), code.add(first, i));
    Value result = code.zero(type);
    for (int64_t lane = 0; lane < lanes; ++lane)
      result = code.insert(result, at(code.add(i, code.index(lane))), lane);
    return result;
  }

  /// Sum over the row of `term` applied to vectors and then to the elements of
  /// the tail.
  Value sum(llvm::function_ref<Value(Value)> term) {
    return reduce(
        0, term, [&](Value a, Value b) { return code.add(a, b); },
        [&](Value vector) { return code.horizontalSum(vector); });
  }
  Value maximum() {
    return reduce(
        -std::numeric_limits<double>::infinity(), [](Value x) { return x; },
        [&](Value a, Value b) { return code.maximum(a, b); },
        [&](Value vector) { return code.horizontalMaximum(vector); });
  }
  /// The mean of `term`.
  Value mean(llvm::function_ref<Value(Value)> term) {
    return code.divide(sum(term), code.toFloat(length, element));
  }
  Value number(double value) { return code.real(element, value); }

  Value reduce(double initial, llvm::function_ref<Value(Value)> term,
               llvm::function_ref<Value(Value, Value)> combine,
               llvm::function_ref<Value(Value)> horizontal) {
    Type type = code.vector(element, lanes);
    Value partial =
        code.loop(code.index(0), whole, lanes, {code.real(type, initial)},
                  [&](Value i, llvm::ArrayRef<Value> carried) -> Values {
                    return {combine(carried[0], term(vectorAt(i)))};
                  })[0];
    return code.loop(whole, length, 1, {horizontal(partial)},
                     [&](Value i, llvm::ArrayRef<Value> carried) -> Values {
                       return {combine(carried[0], term(at(i)))};
                     })[0];
  }

  /// Stores `function(i, element)` to the same place of `result`.
  void map(Value result, llvm::function_ref<Value(Value, Value)> function) {
    code.loop(code.index(0), length, 1, [&](Value i) {
      Value y = function(i, at(i));
      if (first)
        kernel.storeAt(result, code.add(first, i), y);
      else
        kernel.store(result, indexAt(i), y);
    });
  }

  Kernel &kernel;
  Code &code;
  Value tensor;
  Type element; ///< float32 or float64
  Value length;

private:
  Row(Kernel &kernel, Value tensor, Value length,
      std::function<Values(Value)> indexAt)
      : kernel(kernel), code(kernel.code), tensor(tensor),
        element(kernel.registerType(tensor)), length(length),
        indexAt(std::move(indexAt)),
        whole(code.mul(code.divide(length, code.index(lanes), true),
                       code.index(lanes))) {}

  std::function<Values(Value)> indexAt;
  Value whole; ///< the length rounded down to whole vectors
  Value first; ///< position of element 0 if all lie side by side, or null
};

/// The first dimension of the rows of a norm: the last one for qmodel's ops.
int64_t normAxis(Kernel &kernel, Operation *op) {
  auto node = dyn_cast<onnx::NodeOp>(op);
  int64_t axis = node ? node.intAttribute("axis", -1) : -1;
  return axis < 0 ? axis + kernel.rank(op->getOperand(0)) : axis;
}

DimExpr normTasks(Kernel &kernel, Operation *op) {
  return Kernel::product(kernel.shape(op->getResult(0)), 0,
                         normAxis(kernel, op));
}

/// What scales and shifts the normalized elements; the bias may be null.
struct Affine {
  Value gain, bias;
  double epsilon;
  bool isCentered; ///< the mean is subtracted: layer norm, not RMS norm
};

/// (x - mean) / sqrt(variance + epsilon) * gain + bias
void normalize(Kernel &kernel, Operation *op, const Affine &affine,
               Value task) {
  Code &code = kernel.code;
  Value x = op->getOperand(0);
  int64_t axis = normAxis(kernel, op);
  Row row = Row::trailing(kernel, x, axis, task);
  Value mean;
  if (affine.isCentered)
    mean = row.mean([](Value x) { return x; });
  Value variance = row.mean([&](Value x) {
    if (mean)
      x = code.sub(x, code.spread(mean, x.getType()));
    return code.mul(x, x);
  });
  Value factor = code.divide(
      row.number(1), code.sqrt(code.add(variance, row.number(affine.epsilon))));
  llvm::ArrayRef<DimExpr> shape = kernel.shape(x);
  shape = shape.drop_front(axis);
  row.map(op->getResult(0), [&](Value i, Value x) {
    Values index = kernel.indexOf(i, shape);
    auto at = [&](Value tensor) {
      return code.resizeFloat(kernel.broadcastElement(tensor, index, shape),
                              row.element);
    };
    if (mean)
      x = code.sub(x, mean);
    Value y = code.mul(code.mul(x, factor), at(affine.gain));
    return affine.bias ? code.add(y, at(affine.bias)) : y;
  });
}

void rmsNorm(Kernel &kernel, Operation *op, Value task) {
  auto norm = cast<qmodel::RmsNormOp>(op);
  double epsilon = norm.getEpsilon().convertToDouble();
  normalize(kernel, op, {norm.getGain(), Value(), epsilon, false}, task);
}

void layerNorm(Kernel &kernel, Operation *op, Value task) {
  auto norm = cast<qmodel::LayerNormOp>(op);
  double epsilon = norm.getEpsilon().convertToDouble();
  normalize(kernel, op, {norm.getGain(), norm.getBias(), epsilon, true}, task);
}

template <bool isCentered>
void onnxNorm(Kernel &kernel, Operation *op, Value task) {
  auto node = cast<onnx::NodeOp>(op);
  // onnx-decompose takes them away.
  for (Value statistic : node.getOutputs().drop_front())
    if (!statistic.use_empty()) {
      kernel.unsupported(op, "a use of the mean or the deviation");
      return;
    }
  normalize(kernel, op,
            {node.getInputs()[1], isCentered ? node.input(2) : Value(),
             node.floatAttribute("epsilon", 1e-5), isCentered},
            task);
}

DimExpr softmaxTasks(Kernel &kernel, Operation *op) {
  Shape shape = kernel.shape(op->getResult(0));
  int64_t axis = normAxis(kernel, op);
  shape.erase(shape.begin() + axis);
  return Kernel::product(shape, 0, shape.size());
}

template <bool isLog> void softmax(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value x = node.getInputs()[0], result = node.getOutputs()[0];
  // onnx-canonicalize takes away the meaning of earlier opsets.
  constexpr uint64_t firstOpset = 13;
  int64_t axis = normAxis(kernel, op);
  if (node.getVersion() < firstOpset && axis != kernel.rank(x) - 1) {
    kernel.unsupported(op, "an axis other than the last one in opset " +
                               llvm::Twine(node.getVersion()));
    return;
  }
  Row row = Row::along(kernel, x, axis, task);
  Value largest = row.maximum();
  Value sum = row.sum([&](Value x) {
    return exp(code, code.sub(x, code.spread(largest, x.getType())));
  });
  if (isLog) {
    Value offset = log(code, sum);
    return row.map(result, [&](Value, Value x) {
      return code.sub(code.sub(x, largest), offset);
    });
  }
  Value factor = code.divide(row.number(1), sum);
  row.map(result, [&](Value, Value x) {
    return code.mul(exp(code, code.sub(x, largest)), factor);
  });
}

/// Per element: cos and sin are read from the rows of the position.
Value rope(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto rope = cast<qmodel::RopeOp>(op);
  // Known: (C2) of qmodel.rope.
  int64_t rotated = kernel.shape(rope.getCos()).back().asConstant().value_or(0);
  Value i = index[3];
  Values angleIndex = {index[0], index[2], i};
  if (kernel.shape(rope.getCos())[0].asConstant() == 1)
    angleIndex[0] = code.index(0);
  else if (kernel.shape(rope.getCos())[0] != kernel.shape(rope.getX())[0])
    angleIndex[0] = code.select(
        code.compare(Compare::eq, kernel.size(rope.getCos(), 0), code.index(1)),
        code.index(0), index[0]);
  Value x = kernel.element(rope.getX(), index);
  auto turn = [&]() -> Value {
    bool interleaved = rope.getInterleaved();
    Value isFirst =
        interleaved ? code.compare(Compare::eq, code.bitAnd(i, code.index(1)),
                                   code.index(0))
                    : code.compare(Compare::lt, i, code.index(rotated / 2));
    int64_t distance = interleaved ? 1 : rotated / 2;
    Values partner(index.begin(), index.end());
    partner[3] = code.select(isFirst, code.add(i, code.index(distance)),
                             code.sub(i, code.index(distance)));
    Value other = kernel.element(rope.getX(), partner);
    other = code.select(isFirst, code.negate(other), other);
    Value turned = code.mul(other, kernel.element(rope.getSin(), angleIndex));
    return code.add(code.mul(x, kernel.element(rope.getCos(), angleIndex)),
                    turned);
  };
  if (kernel.shape(rope.getX())[3].asConstant() == rotated)
    return turn();
  return code.choose(code.compare(Compare::lt, i, code.index(rotated)), turn,
                     [&] { return x; });
}

} // namespace

void addNormLowerings(LoweringTable &table) {
  auto add = [&](llvm::StringRef name, DimExpr (*tasks)(Kernel &, Operation *),
                 void (*task)(Kernel &, Operation *, Value)) {
    table[name].tasks = tasks;
    table[name].task = task;
  };
  add("qmodel.rms_norm", normTasks, rmsNorm);
  add("qmodel.layer_norm", normTasks, layerNorm);
  add("onnx.LayerNormalization", normTasks, onnxNorm<true>);
  add("onnx.RMSNormalization", normTasks, onnxNorm<false>);
  table["onnx.RMSNormalization"].operands = 2;
  add("onnx.Softmax", softmaxTasks, softmax<false>);
  add("onnx.LogSoftmax", softmaxTasks, softmax<true>);
  table["qmodel.rope"].element = rope;
}

} // namespace nibble::codegen
