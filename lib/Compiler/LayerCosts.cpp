//===- LayerCosts.cpp - What it takes to run and change a layer -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Sizes come from the dims analysis, with the dimensions of the runs. Values
// live from the op that makes them to the last that reads them, as they do in
// the interpreter; arguments wait in files, and weights are mapped unless they
// are transposed.
//
//===----------------------------------------------------------------------===//

#include "LayerCosts.h"

#include "nibble/Support/Dims.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QModel/QModel.h"

#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

uint64_t InputCosts::planned() const {
  uint64_t sum = 0;
  for (const WeightCosts &weight : weights)
    sum += weight.elements();
  return sum;
}

FailureOr<std::vector<DimValues>>
nibble::dimsOfRuns(func::FuncOp main, ArrayRef<CalibrationSample> samples) {
  std::vector<DimValues> dims;
  for (const CalibrationSample &sample : samples) {
    FailureOr<FunctionRun> run =
        FunctionRun::start(main, sample.arguments, sample.dims);
    if (failed(run))
      return failure();
    dims.push_back(run->dims());
  }
  return dims;
}

namespace {

/// The sizes of values in a run.
class Sizes {
public:
  Sizes(const DimsAnalysis &analysis, const DimValues &run)
      : analysis(analysis), run(run) {}

  /// Elements; 0 where they cannot be known.
  double elements(Value value) const {
    auto type = dyn_cast<ShapedType>(value.getType());
    const auto &shape = analysis.of(value).shape;
    if (!type || !shape)
      return 0;
    double count = 1;
    for (const DimExpr &size : *shape) {
      auto known =
          size.evaluate([&](const std::string &name) -> std::optional<int64_t> {
            auto found = run.find(name);
            return found == run.end() ? std::nullopt
                                      : std::optional(found->second);
          });
      count *= known ? static_cast<double>(*known) : 0.0;
    }
    return count;
  }
  double bytes(Value value) const {
    auto type = dyn_cast<ShapedType>(value.getType());
    auto element = type ? fromMlirType(type.getElementType()) : std::nullopt;
    return element ? elements(value) * element->bits / 8 : 0;
  }

private:
  const DimsAnalysis &analysis;
  const DimValues &run;
};

/// Whether the results of `op` are bytes of an operand, or mapped.
bool isView(Operation &op) {
  if (auto load = dyn_cast<LoadOp>(op))
    return !load.getPermutation();
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return node.getOpType() == "Reshape" || node.getOpType() == "Unsqueeze" ||
           node.getOpType() == "Squeeze" || node.getOpType() == "Identity";
  return false;
}

/// Operations of the products of an op.
double productsOf(Operation &op, const Sizes &sizes) {
  if (auto linear = dyn_cast<LinearOp>(op))
    return 2 * sizes.elements(linear.getResult()) *
           cast<ShapedType>(linear.getWeight().getType()).getShape().back();
  if (auto attention = dyn_cast<AttentionOp>(op)) {
    // q k^T and the product with v: each element of q meets every key.
    auto keys = cast<ShapedType>(attention.getK().getType());
    double row = keys.getShape().back(), heads = keys.getShape()[1];
    double total =
        sizes.elements(attention.getK()) / std::max(row * heads, 1.0);
    return 4 * sizes.elements(attention.getQ()) * total;
  }
  return 0;
}

/// Elements that an op computes one by one; those of scores come besides.
double othersOf(Operation &op, const Sizes &sizes) {
  if (isa<LinearOp>(op) || isView(op))
    return 0;
  double sum = 0;
  for (Value result : op.getResults())
    sum += sizes.elements(result);
  if (auto attention = dyn_cast<AttentionOp>(op)) {
    auto q = cast<ShapedType>(attention.getQ().getType());
    sum +=
        productsOf(op, sizes) / std::max<int64_t>(4 * q.getShape().back(), 1);
  }
  return sum;
}

/// The most that is alive at one time.
uint64_t peakOf(Block &block, const Sizes &sizes) {
  llvm::DenseMap<Operation *, double> freed;
  double alive = 0, peak = 0;
  for (Operation &op : block) {
    double made = 0;
    for (Value result : op.getResults()) {
      double bytes = isView(op) ? 0 : sizes.bytes(result);
      made += bytes;
      Operation *last = &op;
      for (Operation *user : result.getUsers())
        if (Operation *here = block.findAncestorOpInBlock(*user);
            here && last->isBeforeInBlock(here))
          last = here;
      freed[last] += bytes;
    }
    alive += made;
    peak = std::max(peak, alive);
    alive -= freed.lookup(&op);
  }
  return static_cast<uint64_t>(peak);
}

/// What replaces a weight of the plan.
WeightCosts weightOfLayer(QuantizableOpInterface layer) {
  auto type = cast<RankedTensorType>(layer.getWeightOperand().get().getType());
  WeightCosts weight{type.getDimSize(0), type.getDimSize(1), 0};
  double bits = type.getElementTypeBitWidth();
  if (auto plan = dyn_cast_or_null<PlanAttr>(layer.getPlanAttribute())) {
    SchemeAttr scheme = plan.getWeight();
    int64_t group = scheme.getGroup() ? scheme.getGroup() : weight.in;
    bits =
        scheme.getBits() + double(scheme.getScales().getIntOrFloatBitWidth() +
                                  (scheme.getSymmetric() ? 0 : 8)) /
                               static_cast<double>(group);
  }
  weight.newBytes =
      static_cast<uint64_t>(static_cast<double>(weight.elements()) * bits / 8);
  return weight;
}

} // namespace

FailureOr<LayerCosts> nibble::costsOf(func::FuncOp function,
                                      ArrayRef<DimValues> runs) {
  LayerCosts costs;
  DimsAnalysis analysis;
  if (function.isExternal() || failed(analysis.run(function)))
    return failure();
  llvm::MapVector<Value, InputCosts> inputs;
  function.walk([&](QuantizableOpInterface layer) {
    WeightCosts weight = weightOfLayer(layer);
    // The transposed weight, its values while they change, its codes.
    costs.largestWeight =
        std::max<uint64_t>(costs.largestWeight, 9 * weight.elements());
    bool isPlanned = isa_and_nonnull<PlanAttr>(layer.getPlanAttribute());
    auto linear = dyn_cast<LinearOp>(*layer);
    if (!linear) {
      costs.keptBytes += weight.newBytes;
      return;
    }
    InputCosts &input = inputs[linear.getX()];
    input.width = weight.in;
    input.isPlanned |= isPlanned;
    input.weights.push_back(weight);
  });
  for (const DimValues &run : runs) {
    Sizes sizes(analysis, run);
    for (Value argument : function.getArguments())
      costs.waitingBytes += static_cast<uint64_t>(sizes.bytes(argument));
    double products = 0, others = 0;
    llvm::DenseSet<Value> seen;
    for (Operation &op : function.front()) {
      if (auto linear = dyn_cast<LinearOp>(op)) {
        if (seen.insert(linear.getX()).second) {
          InputCosts &input = inputs[linear.getX()];
          input.tokens += sizes.elements(linear.getX()) / input.width;
          input.productsBefore += products;
          input.otherBefore += others;
        }
      }
      products += productsOf(op, sizes);
      others += othersOf(op, sizes);
    }
    costs.products += products;
    costs.otherElements += others;
    costs.peakBytes =
        std::max(costs.peakBytes, peakOf(function.front(), sizes));
  }
  for (auto &[value, input] : inputs)
    costs.inputs.push_back(std::move(input));
  return costs;
}
