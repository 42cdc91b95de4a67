//===- Norms.cpp - Normalization, softmax, rotary embedding ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One task is one row. Sums over rows are taken in eight float32 lanes, each
// lane in order, and the lanes pairwise: a fixed order whatever the partition,
// and a shorter chain of roundings than a single sum.
//
//===----------------------------------------------------------------------===//

#include "Kernel.h"
#include "Math.h"

#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/TypeUtilities.h"

#include <limits>

using namespace mlir;

namespace nibble::cpu {

namespace {

constexpr int64_t lanes = 8;

/// A row of float elements that are read through Kernel::element, eight at a
/// time where they lie in a buffer.
class Row {
public:
  Row(Kernel &kernel, Value tensor, Values index)
      : kernel(kernel), code(kernel.code), tensor(tensor),
        index(std::move(index)), length(kernel.size(tensor, rank() - 1)),
        whole(code.mul(code.divide(length, code.index(lanes), true),
                       code.index(lanes))) {}

  int64_t rank() { return kernel.rank(tensor); }

  Value at(Value i) {
    Values full = index;
    full.push_back(i);
    return kernel.element(tensor, full);
  }
  /// Elements [i, i + 8).
  Value vectorAt(Value i) {
    Type type = code.vector(code.f32(), lanes);
    if (kernel.buffers.count(tensor) &&
        getElementTypeOrSelf(tensor.getType()).isF32()) {
      Values full = index;
      full.push_back(i);
      return code.load(type, kernel.pointer(tensor),
                       kernel.positionOf(full, kernel.shape(tensor)));
    }
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

  Value reduce(double initial, llvm::function_ref<Value(Value)> term,
               llvm::function_ref<Value(Value, Value)> combine,
               llvm::function_ref<Value(Value)> horizontal) {
    Type type = code.vector(code.f32(), lanes);
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

  /// Stores `function(i, element)` to the row of `result`.
  void map(Value result, llvm::function_ref<Value(Value, Value)> function) {
    code.loop(code.index(0), length, 1, [&](Value i) {
      Values full = index;
      full.push_back(i);
      kernel.store(result, full, function(i, at(i)));
    });
  }

  Kernel &kernel;
  Code &code;
  Value tensor;
  Values index;
  Value length;
  Value whole; ///< the length rounded down to whole vectors
};

DimExpr rowTasks(Kernel &kernel, Operation *op) {
  const Shape &shape = kernel.shape(op->getResult(0));
  return Kernel::product(shape, 0, shape.size() - 1);
}

Row rowOf(Kernel &kernel, Value tensor, Value task) {
  llvm::ArrayRef<DimExpr> shape = kernel.shape(tensor);
  return Row(kernel, tensor, kernel.indexOf(task, shape.drop_back()));
}

/// The mean of `term` over a row.
Value meanOf(Row &row, llvm::function_ref<Value(Value)> term) {
  Code &code = row.code;
  return code.divide(row.sum(term), code.toFloat(row.length, code.f32()));
}

/// 1 / sqrt(variance + epsilon)
Value inverseDeviation(Code &code, Value variance, double epsilon) {
  Value sum = code.add(variance, code.real(code.f32(), epsilon));
  return code.divide(code.real(code.f32(), 1), code.sqrt(sum));
}

void rmsNorm(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto norm = cast<qmodel::RmsNormOp>(op);
  Row row = rowOf(kernel, norm.getX(), task);
  Value square = meanOf(row, [&](Value x) { return code.mul(x, x); });
  Value factor =
      inverseDeviation(code, square, norm.getEpsilon().convertToDouble());
  row.map(norm.getResult(), [&](Value i, Value x) {
    return code.mul(code.mul(x, factor), kernel.element(norm.getGain(), {i}));
  });
}

void normalize(Kernel &kernel, Value x, Value gain, Value bias, double epsilon,
               Value result, Value task) {
  Code &code = kernel.code;
  Row row = rowOf(kernel, x, task);
  Value mean = meanOf(row, [](Value x) { return x; });
  Value variance = meanOf(row, [&](Value x) {
    Value deviation = code.sub(x, code.spread(mean, x.getType()));
    return code.mul(deviation, deviation);
  });
  Value factor = inverseDeviation(code, variance, epsilon);
  row.map(result, [&](Value i, Value x) {
    Value y = code.mul(code.sub(x, mean), factor);
    y = code.mul(y, kernel.element(gain, {i}));
    return bias ? code.add(y, kernel.element(bias, {i})) : y;
  });
}

void layerNorm(Kernel &kernel, Operation *op, Value task) {
  auto norm = cast<qmodel::LayerNormOp>(op);
  normalize(kernel, norm.getX(), norm.getGain(), norm.getBias(),
            norm.getEpsilon().convertToDouble(), norm.getResult(), task);
}

void onnxLayerNorm(Kernel &kernel, Operation *op, Value task) {
  auto node = cast<onnx::NodeOp>(op);
  int64_t axis = node.intAttribute("axis", -1);
  if (axis != -1 && axis != kernel.rank(node.getInputs()[0]) - 1) {
    kernel.unsupported(op, "an axis other than the last one");
    return;
  }
  for (Value statistic : node.getOutputs().drop_front())
    if (!statistic.use_empty()) {
      kernel.unsupported(op, "a use of the mean or the deviation");
      return;
    }
  normalize(kernel, node.getInputs()[0], node.getInputs()[1], node.input(2),
            node.floatAttribute("epsilon", 1e-5), node.getOutputs()[0], task);
}

template <bool isLog> void softmax(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value x = node.getInputs()[0], result = node.getOutputs()[0];
  // Until opset 12 the axis and all that follow were flattened into one.
  bool isFlattening = node.getVersion() < 13;
  int64_t axis = node.intAttribute("axis", isFlattening ? 1 : -1);
  if (axis != -1 && axis != kernel.rank(x) - 1) {
    kernel.unsupported(op, "an axis other than the last one");
    return;
  }
  Row row = rowOf(kernel, x, task);
  Value largest = row.maximum();
  Value sum = row.sum([&](Value x) {
    return exp(code, code.sub(x, code.spread(largest, x.getType())));
  });
  if (isLog) {
    Value offset = code.add(largest, log(code, sum));
    return row.map(result, [&](Value, Value x) { return code.sub(x, offset); });
  }
  Value factor = code.divide(code.real(code.f32(), 1), sum);
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
  auto add = [&](llvm::StringRef name,
                 void (*task)(Kernel &, Operation *, Value)) {
    table[name].tasks = rowTasks;
    table[name].task = task;
  };
  add("qmodel.rms_norm", rmsNorm);
  add("qmodel.layer_norm", layerNorm);
  add("onnx.LayerNormalization", onnxLayerNorm);
  add("onnx.Softmax", softmax<false>);
  add("onnx.LogSoftmax", softmax<true>);
  table["qmodel.rope"].element = rope;
}

} // namespace nibble::cpu
