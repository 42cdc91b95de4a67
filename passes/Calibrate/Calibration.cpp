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
#include "mlir/IR/Remarks.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/FormatVariadic.h"

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

/// Channels of `x` [..., width] divided by `scales` [width].
Tensor divided(const Tensor &x, ArrayRef<double> scales) {
  Tensor result = Tensor::allocate(x.type(), x.shape());
  for (uint64_t i = 0; i < x.size(); ++i)
    result.setNumberAt(i, x.numberAt(i) / scales[i % scales.size()]);
  return result;
}

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
                      std::vector<CalibrationSample> newFloatSamples,
                      ArgumentKeys newKeys) {
  function = newFunction;
  samples = std::move(newSamples);
  floatSamples = std::move(newFloatSamples);
  keys = std::move(newKeys);
  floatModule = nullptr;
  if (!floatSamples.empty() || keys.unquantized)
    floatModule =
        cast<ModuleOp>(function->getParentOfType<ModuleOp>()->clone());
  inputScales.clear();
}

void Calibration::clear() { set({}, {}); }

bool Calibration::covers(ModuleOp module) const {
  return function && module->isAncestor(function);
}

void Calibration::noteScaledInput(StringRef layerId, ArrayRef<double> scales) {
  if (!floatModule)
    return;
  std::vector<double> &noted = inputScales[layerId];
  noted.resize(scales.size(), 1);
  for (auto [product, scale] : llvm::zip(noted, scales))
    product *= scale;
}

LogicalResult Calibration::attach(Operation *where, StringRef path,
                                  const CalibrationData *data, bool write) {
  isWritten = data && write;
  auto file = StatisticsFile::open(path.str(), /*create=*/isWritten);
  if (!file)
    return where->emitError() << file.status().message();
  attached = file.take();
  dataHash = data ? data->hash : "";
  sequences = data ? data->sequences : 0;
  return success();
}

LogicalResult Calibration::detach(Operation *where) {
  if (!attached)
    return success();
  Status written = attached->commit();
  attached.reset();
  isWritten = false;
  dataHash.clear();
  if (!written.isOk())
    return where->emitError() << written.message();
  return success();
}

/// The file that the module of `layer` names; empty if it names none.
static std::string namedFile(Operation *layer) {
  for (auto module = layer->getParentOfType<ModuleOp>(); module;
       module = module->getParentOfType<ModuleOp>())
    if (auto name = module->getAttrOfType<StringAttr>(statisticsFileAttrName))
      return name.str();
  return {};
}

bool Calibration::canRun(Operation *layer) const {
  return !samples.empty() && layer->getParentOfType<func::FuncOp>() == function;
}

bool Calibration::canAnswer(Operation *layer) const {
  return canRun(layer) || attached || !namedFile(layer).empty();
}

ValueName nibble::nameOf(func::FuncOp function, Value value) {
  ValueName name;
  function.walk([&](QuantizableOpInterface layer) {
    for (OpOperand &operand : layer->getOpOperands())
      if (operand.get() == value && &operand != &layer.getWeightOperand())
        name.readers.push_back(layer.getLayerId().str());
  });
  if (!name.readers.empty())
    name.id = name.readers.front();
  return name;
}

//===----------------------------------------------------------------------===//
// From data
//===----------------------------------------------------------------------===//

/// The value of `operand` in a run of `function` on `sample`.
static FailureOr<Tensor> valueOf(func::FuncOp function, OpOperand &operand,
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
  if (!user)
    return operand.getOwner()->emitOpError(
        "expects a layer outside of control flow to calibrate");
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

/// The same input in the unquantized model.
FailureOr<OpOperand *> Calibration::floatInputOf(Operation *layer,
                                                 OpOperand &input) {
  if (!floatModule)
    return layer->emitOpError(
        "expects the activations of the unquantized model, got those of the "
        "quantized one only; add float-stream=true to nibble-for-each-layer");
  auto floatFunction =
      floatModule->lookupSymbol<func::FuncOp>(function.getSymName());
  Operation *same =
      layerOf(floatFunction, cast<QuantizableOpInterface>(layer).getLayerId());
  if (!same)
    return layer->emitOpError("has no counterpart in the unquantized model");
  return &same->getOpOperand(input.getOperandNumber());
}

FailureOr<InputStatistics> Calibration::measure(Operation *layer,
                                                OpOperand &input,
                                                const InputRequest &request) {
  OpOperand *floatInput = nullptr;
  std::vector<double> scales; // of floatInput, or empty
  if (request.moments.cross) {
    FailureOr<OpOperand *> found = floatInputOf(layer, input);
    if (failed(found))
      return failure();
    floatInput = *found;
    scales =
        inputScales.lookup(cast<QuantizableOpInterface>(layer).getLayerId());
  }
  ThreadPool *pool = &threadPool(layer->getContext());
  auto type = cast<RankedTensorType>(input.get().getType());
  if (type.isDynamicDim(type.getRank() - 1))
    return layer->emitOpError(
               "expects an input with a static number of channels, got ")
           << type;
  InputGatherer gatherer(type.getShape().back(), request);
  for (size_t i = 0; i < samples.size(); ++i) {
    FailureOr<Tensor> x = valueOf(function, input, samples[i]);
    if (failed(x))
      return failure();
    FailureOr<Tensor> floatX = Tensor();
    if (floatInput) {
      auto floatFunction =
          floatInput->getOwner()->getParentOfType<func::FuncOp>();
      floatX = valueOf(floatFunction, *floatInput, floatSamples[i]);
      if (failed(floatX))
        return failure();
      if (!scales.empty())
        floatX = divided(*floatX, scales);
    }
    Status status = gatherer.add(*x, floatInput ? &*floatX : nullptr, pool);
    if (!status.isOk())
      return layer->emitOpError("cannot gather statistics of its input: ")
             << status.message();
  }
  return gatherer.finish(pool);
}

//===----------------------------------------------------------------------===//
// From files
//===----------------------------------------------------------------------===//

FailureOr<StatisticsKey> Calibration::keyFor(Operation *layer, OpOperand &input,
                                             const InputRequest &request) {
  auto owner = layer->getParentOfType<func::FuncOp>();
  if (!owner || layer->getParentOp() != owner || !owner.getBody().hasOneBlock())
    return layer->emitOpError(
        "expects a layer outside of control flow to calibrate");
  ArrayRef<ValueKey> arguments;
  if (owner == function)
    arguments = keys.now;
  FailureOr<ValueKeys> known = keysOf(owner, arguments, input.get());
  if (failed(known))
    return failure();
  StatisticsKey key{known->of(input.get()), {}, dataHash};
  if (!request.moments.cross)
    return key;
  FailureOr<OpOperand *> floatInput = floatInputOf(layer, input);
  if (failed(floatInput))
    return failure();
  Value floatValue = (*floatInput)->get();
  FailureOr<ValueKeys> floats =
      keysOf((*floatInput)->getOwner()->getParentOfType<func::FuncOp>(),
             keys.unquantized.value_or(std::vector<ValueKey>()), floatValue);
  if (failed(floats))
    return failure();
  key.floatValue = floats->of(floatValue);
  std::string scales;
  for (double scale :
       inputScales.lookup(cast<QuantizableOpInterface>(layer).getLayerId()))
    scales += llvm::formatv("/{0:x}", llvm::bit_cast<uint64_t>(scale)).str();
  if (!scales.empty())
    key.floatValue.ops = hashOf(key.floatValue.ops + scales);
  return key;
}

static void remarkOn(Operation *layer, bool isHit, const Twine &text) {
  auto options = remark::RemarkOpts::name("statistics").category("nibble");
  Location where = layer->getLoc();
  (isHit ? remark::passed(where, options) : remark::missed(where, options))
      << text.str();
}

CalibratedPass::CalibratedPass(ModuleOp module)
    : calibration(Calibration::get(module.getContext())) {
  if (!calibration.samples.empty())
    return;
  module.walk([&](func::FuncOp function) {
    SmallVector<qmodel::LinearOp> linears(function.getOps<qmodel::LinearOp>());
    if (linears.empty() || !function.getBody().hasOneBlock() ||
        (!calibration.attached && namedFile(linears.front()).empty()))
      return;
    // What cannot be hashed is an error of the layer that asks.
    ScopedDiagnosticHandler silent(module.getContext(),
                                   [](Diagnostic &) { return success(); });
    ArrayRef<ValueKey> arguments;
    if (function == calibration.function)
      arguments = calibration.keys.now;
    FailureOr<ValueKeys> keys = keysOf(function, arguments);
    if (failed(keys))
      return;
    for (qmodel::LinearOp linear : linears)
      calibration.atStart[linear.getId()] = {nameOf(function, linear.getX()).id,
                                             keys->of(linear.getX())};
  });
}

CalibratedPass::~CalibratedPass() { calibration.atStart.clear(); }

/// An entry of a file, and why it is not what was wanted; empty if it is.
struct FoundEntry {
  const StatisticsEntry *entry;
  std::string why;
};

static FailureOr<FoundEntry> findEntry(StatisticsFile &file, Operation *layer,
                                       const std::string &id,
                                       const StatisticsKey &wanted,
                                       const InputRequest &request) {
  auto entry = file.find(id);
  if (!entry)
    return layer->emitOpError() << entry.status().message();
  return FoundEntry{*entry, *entry ? whyNot(**entry, wanted, request)
                                   : "there are none of this value"};
}

FailureOr<InputStatistics> Calibration::lookUp(StatisticsFile &file,
                                               Operation *layer,
                                               OpOperand &input,
                                               const InputRequest &request) {
  FailureOr<StatisticsKey> key = keyFor(layer, input, request);
  if (failed(key))
    return failure();
  ValueName name = nameOf(layer->getParentOfType<func::FuncOp>(), input.get());
  FailureOr<FoundEntry> found = findEntry(file, layer, name.id, *key, request);
  if (failed(found))
    return failure();
  auto start = atStart.find(cast<QuantizableOpInterface>(layer).getLayerId());
  if (!found->why.empty() && !canRun(layer) && start != atStart.end()) {
    // Of two reasons, that of the entry's own time helps.
    bool isOfNow =
        found->entry && found->entry->key.value.ops == key->value.ops;
    key->value = start->second.key;
    FailureOr<FoundEntry> older =
        findEntry(file, layer, start->second.id, *key, request);
    if (failed(older))
      return failure();
    if (older->why.empty() || !isOfNow) {
      name.id = start->second.id;
      found = older;
    }
  }
  std::string what =
      "statistics of the input of \"" + name.id + "\" in '" + file.path() + "'";
  if (found->why.empty()) {
    remarkOn(layer, /*isHit=*/true, "used the " + what);
    return found->entry->statistics;
  }
  if (!canRun(layer))
    return layer->emitOpError("expects ")
           << what << " that hold here: " << found->why
           << "; give calibration data, or run qmodel-calibrate at this place "
              "of the pipeline";
  remarkOn(layer, /*isHit=*/false,
           "computed the " + what + " anew: " + found->why);
  FailureOr<InputStatistics> made = measure(layer, input, request);
  if (failed(made) || !isWritten)
    return made;
  Status status =
      file.put({name.id, name.readers, *key, sequences, request.rowStride,
                NIBBLE_VERSION, blasKernel(), "", *made});
  if (!status.isOk())
    return layer->emitOpError() << status.message();
  return made;
}

FailureOr<InputStatistics> Calibration::inputOf(Operation *layer,
                                                OpOperand &input,
                                                const InputRequest &request) {
  if (Attribute given = layer->getAttr(statisticsAttrName)) {
    auto type = cast<RankedTensorType>(input.get().getType());
    return statisticsFromAttribute(layer, given, type.getShape().back(),
                                   request);
  }
  if (attached)
    return lookUp(*attached, layer, input, request);
  if (std::string path = namedFile(layer); !path.empty()) {
    auto file = StatisticsFile::open(path, /*create=*/false);
    if (!file)
      return layer->emitOpError() << file.status().message();
    return lookUp(*file, layer, input, request);
  }
  if (!canRun(layer))
    return layer->emitOpError("expects calibration data for its input, got "
                              "none; run the pass in nibble-for-each-layer"
                              "{data=... pipeline=...} or give the attribute '")
           << statisticsAttrName << "'";
  return measure(layer, input, request);
}
