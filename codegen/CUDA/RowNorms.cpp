//===- RowNorms.cpp - Norms and softmax, a block per row ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The threads of a block take turns along a row, so that neighbours read side
// by side. A thread adds up what is its own, in order; lanes are added
// pairwise, and then the warps. Rows are read again for every sum: they lie in
// the caches.
//
//===----------------------------------------------------------------------===//

#include "Lowerings.h"
#include "Threads.h"

#include "nibble/codegen/Kernel/Math.h"
#include "nibble/dialects/QModel/QModel.h"

#include <limits>

using namespace mlir;

namespace nibble::cuda {

namespace {

/// The first dimension of a row: the last one for qmodel's ops.
int64_t rowAxis(const GpuKernel &gpu, Operation *op) {
  auto node = dyn_cast<onnx::NodeOp>(op);
  auto rank = static_cast<int64_t>(gpu.shape(op->getOperand(0)).size());
  return normalAxis(node ? node.intAttribute("axis", -1) : -1, rank);
}

/// Threads for rows of `length` elements: some elements for each, if there are
/// as many.
int64_t threadsFor(const DimExpr &length) {
  constexpr int64_t most = 256, each = 4;
  int64_t wanted = length.asConstant().value_or(most * each) / each;
  int64_t threads = Threads::warpSize;
  while (threads < std::min(wanted, most))
    threads *= 2;
  return threads;
}

/// The row of a float tensor that a block works on: all elements of the
/// dimensions from `axis` on.
class BlockRow {
public:
  BlockRow(GpuFunction &function, Value tensor, int64_t axis, int64_t count)
      : threads(function, count), kernel(function.kernel), code(kernel.code),
        element(kernel.registerType(tensor)), tensor(tensor) {
    inner =
        llvm::ArrayRef<DimExpr>(kernel.shape(tensor)).drop_front(axis).vec();
    length = kernel.evaluate(Kernel::product(inner, 0, inner.size()));
    first = code.mul(function.block(), length);
  }

  Value at(Value i) { return kernel.elementAt(tensor, code.add(first, i)); }

  /// `term` of all elements combined.
  Value reduce(double initial, llvm::function_ref<Value(Value)> term,
               Threads::Combine combine) {
    Value mine =
        threads.stride(length, {number(initial)},
                       [&](Value i, llvm::ArrayRef<Value> carried) -> Values {
                         return {combine(carried[0], term(at(i)))};
                       })[0];
    return threads.reduceBlock(mine, combine);
  }
  Value sum(llvm::function_ref<Value(Value)> term) {
    return reduce(0, term, [&](Value a, Value b) { return code.add(a, b); });
  }
  Value mean(llvm::function_ref<Value(Value)> term) {
    return code.divide(sum(term), code.toFloat(length, element));
  }
  Value maximum() {
    return reduce(
        -std::numeric_limits<double>::infinity(), [](Value x) { return x; },
        [&](Value a, Value b) { return code.maximum(a, b); });
  }

  /// Stores `function(i, element)` to the same place of `result`.
  void map(Value result, llvm::function_ref<Value(Value, Value)> function) {
    threads.stride(length, [&](Value i) {
      kernel.storeAt(result, code.add(first, i), function(i, at(i)));
    });
  }

  Value number(double value) { return code.real(element, value); }

  Threads threads;
  Kernel &kernel;
  Code &code;
  Type element; ///< float32 or float64
  Shape inner;  ///< the dimensions of a row
  Value length;

private:
  Value tensor;
  Value first; ///< position of the row
};

/// Launches a block for each row.
LogicalResult launchRows(GpuKernel &gpu, Operation *op,
                         llvm::function_ref<void(BlockRow &)> body) {
  Value x = op->getOperand(0);
  int64_t axis = rowAxis(gpu, op);
  const Shape &shape = gpu.shape(x);
  int64_t count = threadsFor(Kernel::product(shape, axis, shape.size()));
  LaunchCall call =
      gpu.add("rows", {.threads = count}, [&](GpuFunction &function) {
        BlockRow row(function, x, axis, count);
        body(row);
      });
  call.grid.x = Kernel::product(shape, 0, axis);
  gpu.launch(std::move(call));
  return success();
}

//===----------------------------------------------------------------------===//
// Norms
//===----------------------------------------------------------------------===//

/// What scales and shifts the normalized elements; the bias may be null.
struct Affine {
  Value gain, bias;
  double epsilon;
  bool isCentered; ///< the mean is subtracted: layer norm, not RMS norm
};

/// (x - mean) / sqrt(variance + epsilon) * gain + bias
LogicalResult lowerNorm(GpuKernel &gpu, Operation *op, const Affine &affine) {
  return launchRows(gpu, op, [&](BlockRow &row) {
    Code &code = row.code;
    Value mean;
    if (affine.isCentered)
      mean = row.mean([](Value x) { return x; });
    Value variance = row.mean([&](Value x) {
      if (mean)
        x = code.sub(x, mean);
      return code.mul(x, x);
    });
    Value factor =
        code.divide(row.number(1),
                    code.sqrt(code.add(variance, row.number(affine.epsilon))));
    row.map(op->getResult(0), [&](Value i, Value x) {
      Values index = row.kernel.indexOf(i, row.inner);
      auto at = [&](Value tensor) {
        return code.resizeFloat(
            row.kernel.broadcastElement(tensor, index, row.inner), row.element);
      };
      if (mean)
        x = code.sub(x, mean);
      Value y = code.mul(code.mul(x, factor), at(affine.gain));
      return affine.bias ? code.add(y, at(affine.bias)) : y;
    });
  });
}

LogicalResult lowerRmsNorm(GpuKernel &gpu, Operation *op) {
  auto norm = cast<qmodel::RmsNormOp>(op);
  return lowerNorm(
      gpu, op,
      {norm.getGain(), Value(), norm.getEpsilon().convertToDouble(), false});
}

LogicalResult lowerLayerNorm(GpuKernel &gpu, Operation *op) {
  auto norm = cast<qmodel::LayerNormOp>(op);
  return lowerNorm(gpu, op,
                   {norm.getGain(), norm.getBias(),
                    norm.getEpsilon().convertToDouble(), true});
}

template <bool isCentered>
LogicalResult lowerOnnxNorm(GpuKernel &gpu, Operation *op) {
  auto node = cast<onnx::NodeOp>(op);
  return lowerNorm(gpu, op,
                   {node.getInputs()[1], isCentered ? node.input(2) : Value(),
                    node.floatAttribute("epsilon", 1e-5), isCentered});
}

/// Nobody reads the mean and the deviation, which an ONNX node may give too.
bool givesOneResult(const GpuKernel &, Operation *op) {
  return llvm::all_of(op->getResults().drop_front(),
                      [](Value result) { return result.use_empty(); });
}

//===----------------------------------------------------------------------===//
// Softmax
//===----------------------------------------------------------------------===//

template <bool isLog>
LogicalResult lowerSoftmax(GpuKernel &gpu, Operation *op) {
  return launchRows(gpu, op, [&](BlockRow &row) {
    Code &code = row.code;
    Value largest = row.maximum();
    Value sum = row.sum(
        [&](Value x) { return codegen::exp(code, code.sub(x, largest)); });
    if (isLog) {
      Value offset = codegen::log(code, sum);
      row.map(op->getResult(0), [&](Value, Value x) {
        return code.sub(code.sub(x, largest), offset);
      });
      return;
    }
    Value factor = code.divide(row.number(1), sum);
    row.map(op->getResult(0), [&](Value, Value x) {
      return code.mul(codegen::exp(code, code.sub(x, largest)), factor);
    });
  });
}

bool isAlongLastAxis(const GpuKernel &gpu, Operation *op) {
  auto rank = static_cast<int64_t>(gpu.shape(op->getOperand(0)).size());
  return rowAxis(gpu, op) == rank - 1;
}

} // namespace

void addRowNormLowerings(GpuLoweringTable &table) {
  table["qmodel.rms_norm"].lower = lowerRmsNorm;
  table["qmodel.layer_norm"].lower = lowerLayerNorm;
  table["onnx.LayerNormalization"] = {lowerOnnxNorm<true>, givesOneResult};
  table["onnx.RMSNormalization"] = {lowerOnnxNorm<false>, givesOneResult};
  table["onnx.Softmax"] = {lowerSoftmax<false>, isAlongLastAxis};
  table["onnx.LogSoftmax"] = {lowerSoftmax<true>, isAlongLastAxis};
}

} // namespace nibble::cuda
