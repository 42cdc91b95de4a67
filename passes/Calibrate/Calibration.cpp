//===- Calibration.cpp - Statistics of values in the IR -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One calibration per MLIRContext, kept by a dialect of its own, as the weight
// store is: dialects are the only objects that live and die with a context.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/Calibration.h"

#include "Attributes.h"

#include "nibble/Support/Threads.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/Dialect.h"
#include "mlir/IR/DialectRegistry.h"

#include <limits>

using namespace mlir;
using namespace nibble;

namespace {

/// Owns the calibration of a context. It has no ops, types or attributes.
class CalibrationDialect : public Dialect {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(CalibrationDialect)
  static constexpr StringLiteral getDialectNamespace() {
    return "nibble_calibration";
  }
  explicit CalibrationDialect(MLIRContext *context)
      : Dialect(getDialectNamespace(), context,
                TypeID::get<CalibrationDialect>()) {}

  Calibration calibration;
};

/// What the rows of a layer's input add up to.
class InputGatherer {
public:
  InputGatherer(int64_t width, const InputRequest &request)
      : width(width), request(request), moments(width, request.moments) {}

  Status add(const Tensor &x, const Tensor *floatX, ThreadPool *pool) {
    for (uint64_t i = 0; i < x.size(); ++i) {
      auto value = static_cast<float>(x.numberAt(i));
      minimum = std::min(minimum, value);
      maximum = std::max(maximum, value);
    }
    int64_t tokens = static_cast<int64_t>(x.size()) / width;
    if (request.rowStride)
      for (; nextRow < seen + tokens; nextRow += request.rowStride)
        for (int64_t i = 0; i < width; ++i)
          rows.push_back(
              static_cast<float>(x.numberAt((nextRow - seen) * width + i)));
    seen += tokens;
    return floatX ? moments.add(x, *floatX, pool) : moments.add(x, pool);
  }

  InputStatistics finish(ThreadPool *pool) {
    InputStatistics result;
    result.moments = moments.finish(pool);
    result.minimum = minimum;
    result.maximum = maximum;
    if (request.rowStride) {
      result.rows =
          Tensor::allocate(ElementType::float32(),
                           {static_cast<int64_t>(rows.size()) / width, width});
      llvm::copy(rows, result.rows.asMutable<float>().begin());
    }
    return result;
  }

private:
  int64_t width;
  InputRequest request;
  MomentAccumulator moments;
  float minimum = std::numeric_limits<float>::max();
  float maximum = std::numeric_limits<float>::lowest();
  int64_t seen = 0, nextRow = 0; ///< tokens; the next that is kept
  std::vector<float> rows;
};

/// The layer with this id in `function`, or null.
Operation *layerOf(func::FuncOp function, StringRef id) {
  Operation *found = nullptr;
  function.walk([&](QuantizableOpInterface layer) {
    if (layer.getLayerId() == id)
      found = layer;
  });
  return found;
}

} // namespace

Calibration &Calibration::get(MLIRContext *context) {
  return context->getOrLoadDialect<CalibrationDialect>()->calibration;
}

void Calibration::registerWith(DialectRegistry &registry) {
  registry.insert<CalibrationDialect>();
}

void Calibration::set(func::FuncOp newFunction,
                      std::vector<CalibrationSample> newSamples,
                      std::vector<CalibrationSample> newFloatSamples) {
  function = newFunction;
  samples = std::move(newSamples);
  floatSamples = std::move(newFloatSamples);
  floatModule = nullptr;
}

void Calibration::clear() { set({}, {}); }

LogicalResult Calibration::keepFloatModel() {
  if (floatSamples.empty())
    return function.emitError(
        "expects the activations of the unquantized model, got those of the "
        "quantized one only; add float-stream=true to nibble-for-each-layer");
  floatModule = cast<ModuleOp>(function->getParentOfType<ModuleOp>()->clone());
  return success();
}

/// The value of `operand` in a run on `sample`.
FailureOr<Tensor> Calibration::valueOf(func::FuncOp function,
                                       OpOperand &operand,
                                       const CalibrationSample &sample) {
  // The first user finds the value alive, with nothing after it computed.
  Value value = operand.get();
  Block &block = function.front();
  Operation *user = nullptr;
  for (Operation *candidate : value.getUsers()) {
    Operation *here = block.findAncestorOpInBlock(*candidate);
    if (here == candidate && (!user || here->isBeforeInBlock(user)))
      user = here;
  }
  FailureOr<FunctionRun> run =
      FunctionRun::start(function, sample.arguments, sample.dims);
  if (failed(run) || failed(run->runTo(user)))
    return failure();
  FailureOr<std::vector<Tensor>> operands = run->operands();
  if (failed(operands))
    return failure();
  for (OpOperand &candidate : user->getOpOperands())
    if (candidate.get() == value)
      return (*operands)[candidate.getOperandNumber()];
  llvm_unreachable("a user uses the value");
}

FailureOr<InputStatistics> Calibration::inputOf(Operation *layer,
                                                OpOperand &input,
                                                const InputRequest &request) {
  auto type = cast<RankedTensorType>(input.get().getType());
  int64_t width = type.getShape().back();
  if (Attribute given = layer->getAttr(statisticsAttrName))
    return statisticsFromAttribute(layer, given, width, request);
  if (samples.empty() || layer->getParentOfType<func::FuncOp>() != function)
    return layer->emitOpError("expects calibration data for its input, got "
                              "none; run the pass in nibble-for-each-layer"
                              "{data=... pipeline=...} or give the attribute '")
           << statisticsAttrName << "'";
  OpOperand *floatInput = nullptr;
  func::FuncOp floatFunction;
  if (request.moments.cross) {
    if (!floatModule && failed(keepFloatModel()))
      return failure();
    floatFunction =
        floatModule->lookupSymbol<func::FuncOp>(function.getSymName());
    Operation *same = layerOf(floatFunction,
                              cast<QuantizableOpInterface>(layer).getLayerId());
    if (!same)
      return layer->emitOpError("has no counterpart in the unquantized model");
    floatInput = &same->getOpOperand(input.getOperandNumber());
  }

  ThreadPool *pool = &threadPool(layer->getContext());
  InputGatherer gatherer(width, request);
  for (size_t i = 0; i < samples.size(); ++i) {
    FailureOr<Tensor> x = valueOf(function, input, samples[i]);
    if (failed(x))
      return failure();
    FailureOr<Tensor> floatX = Tensor();
    if (floatInput) {
      floatX = valueOf(floatFunction, *floatInput, floatSamples[i]);
      if (failed(floatX))
        return failure();
    }
    Status status = gatherer.add(*x, floatInput ? &*floatX : nullptr, pool);
    if (!status.isOk())
      return layer->emitOpError("cannot gather statistics of its input: ")
             << status.message();
  }
  return gatherer.finish(pool);
}
