//===- LowerToProgram.cpp - Entry points to programs ------------*- C++ -*-===//
//-----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// func @main -> qkernel.program @main + one qkernel.kernel per distinct
// instance. Four steps: put ops that find the sizes that data decide in front
// (see Sizes.cpp), name the storage of every value (views share it, see
// Storage.cpp), turn computing ops into kernels (see Kernels.cpp) and steps,
// and place buffers in the arena.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Lower/Passes.h"

#include "Kernels.h"
#include "Sizes.h"
#include "Storage.h"

#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/Onnx/ShapeInputs.h"

#include "mlir/IR/Builders.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace nibble {
#define GEN_PASS_DEF_LOWERTOPROGRAM
#include "nibble/passes/Lower/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;
using namespace nibble::qmodel;
using namespace nibble::qkernel;

namespace {

struct PlannedStep {
  LocationAttr origin; ///< of the op; equal ones share a kernel
  KernelCall call;
  SmallVector<unsigned> operands, results; ///< numbers of storages
  ArrayAttr defines; ///< names of the dimensions in the last result, or null
};

/// Lowers one entry point.
class ProgramBuilder {
public:
  ProgramBuilder(ModuleOp module, func::FuncOp function, Kernels &kernels)
      : module(module), function(function), kernels(kernels),
        storages(module, function, dims) {}

  LogicalResult run() {
    definitions = expandSizes(function);
    if (failed(dims.run(function)) || failed(storages.checkBounds()))
      return failure();
    int64_t inputs = 0;
    for (BlockArgument argument : function.getArguments()) {
      auto state = stateOf(argument);
      if (failed(state ? storages.addState(argument, state)
                       : storages.addInput(argument, inputs++)))
        return failure();
    }
    addRangeChecks();
    for (Operation &op : function.getBody().front().without_terminator())
      if (failed(visit(&op)))
        return failure();
    if (failed(placeOutputs()))
      return failure();
    FailureOr<int64_t> arenaBytes = storages.placeArena();
    if (failed(arenaBytes))
      return failure();
    emitProgram(*arenaBytes);
    return success();
  }

private:
  //===--- Ops to steps ---------------------------------------------------===//

  LogicalResult visit(Operation *op) {
    if (isInlineConstant(op))
      return success();
    if (auto load = dyn_cast<LoadOp>(op))
      return load.use_empty() ? success() : storages.addLoad(load);
    if (ArrayAttr names = definitions.lookup(op))
      return addDefinition(op, names);
    if (auto node = dyn_cast<onnx::NodeOp>(op);
        node && onnx::hasDataDependentShape(node)) {
      if (op->use_empty())
        return success(); // a definition may be used nevertheless
      if (!hasNamedSize(op))
        return storages.unknownShape(op->getResult(0), op);
    }
    if (op->use_empty() && isMemoryEffectFree(op))
      return success();
    if (isView(op) && !isInlineConstant(op->getOperand(0).getDefiningOp()))
      return storages.addView(op->getResult(0), op->getOperand(0));
    if (op->getNumRegions() != 0 && !isa<GroupOp>(op))
      return op->emitOpError(
          "expects straight-line code, got a region; control "
          "flow does not compile yet");
    addIndexCheck(op);
    return addStep(op);
  }

  /// Whether the size that data decide is a dimension.
  bool hasNamedSize(Operation *op) const {
    auto names = op->getAttrOfType<ArrayAttr>(sizesAttrName);
    const auto &shape = dims.of(op->getResult(0)).shape;
    return names && shape && llvm::any_of(*shape, [&](const DimExpr &dim) {
             std::optional<std::string> symbol = dim.asSymbol();
             return symbol && llvm::is_contained(
                                  names.getAsValueRange<StringAttr>(), *symbol);
           });
  }

  LogicalResult addDefinition(Operation *op, ArrayAttr names) {
    std::optional<DimExpr> largest = largestSize(op, dims);
    if (!largest)
      return storages.unknownShape(op->getOperand(0), op);
    for (StringRef name : names.getAsValueRange<StringAttr>())
      if (failed(storages.addBound(name, *largest, op)))
        return failure();
    if (failed(addStep(op)))
      return failure();
    steps.back().defines = names;
    return success();
  }

  LogicalResult addStep(Operation *op) {
    PlannedStep step;
    step.origin = op->getLoc();
    SmallVector<Value> arguments;
    for (Value operand : op->getOperands())
      if (!isInlineConstant(operand.getDefiningOp()) &&
          !llvm::is_contained(arguments, operand))
        arguments.push_back(operand);
    for (Value argument : arguments) {
      unsigned storage = storages.of(argument);
      storages[storage].life.last = steps.size();
      step.operands.push_back(storage);
    }
    for (OpResult result : op->getResults()) {
      if (isa<NoneType>(result.getType()))
        continue; // an absent optional result
      if (Value past = pastOf(result)) {
        if (failed(storages.addInPlace(result, past)))
          return failure();
        step.results.push_back(storages.of(result));
        continue;
      }
      FailureOr<unsigned> buffer = storages.addBuffer(result, steps.size());
      if (failed(buffer))
        return failure();
      step.results.push_back(*buffer);
    }
    step.call = kernels.get(op, arguments, dims);
    steps.push_back(std::move(step));
    return success();
  }

  FlatSymbolRefAttr stateOf(BlockArgument argument) {
    return function.getArgAttrOfType<FlatSymbolRefAttr>(argument.getArgNumber(),
                                                        stateAttrName);
  }
  FlatSymbolRefAttr stateOfResult(unsigned index) {
    return function.getResultAttrOfType<FlatSymbolRefAttr>(index,
                                                           stateAttrName);
  }

  void addCheck(int64_t input, int64_t min, int64_t limit) {
    Builder builder(module.getContext());
    Attribute check = builder.getDictionaryAttr(
        {builder.getNamedAttr("input", builder.getI64IntegerAttr(input)),
         builder.getNamedAttr("min", builder.getI64IntegerAttr(min)),
         builder.getNamedAttr("limit", builder.getI64IntegerAttr(limit))});
    if (!llvm::is_contained(checks, check))
      checks.push_back(check);
  }

  /// Inputs with `qkernel.range`.
  void addRangeChecks() {
    for (BlockArgument argument : function.getArguments())
      if (auto range = function.getArgAttrOfType<ArrayAttr>(
              argument.getArgNumber(), rangeAttrName))
        addCheck(storages[storages.of(argument)].index,
                 cast<IntegerAttr>(range[0]).getInt(),
                 cast<IntegerAttr>(range[1]).getInt());
  }

  /// Token ids that address a table straight from an input are checked by the
  /// runtime, because the kernel could only clamp them.
  void addIndexCheck(Operation *op) {
    Value indices;
    int64_t entries = 0;
    if (auto embedding = dyn_cast<EmbeddingOp>(op)) {
      indices = embedding.getIndices();
      entries =
          cast<RankedTensorType>(embedding.getTable().getType()).getDimSize(0);
    } else if (auto packed = dyn_cast<PackedEmbeddingOp>(op)) {
      indices = packed.getIndices();
      entries =
          cast<RankedTensorType>(packed.getCodes().getType()).getDimSize(0);
    }
    std::optional<unsigned> storage = storages.find(indices);
    if (!storage || storages[*storage].kind != BufferKind::Input)
      return;
    addCheck(storages[*storage].index, -entries, entries);
  }

  //===--- Outputs --------------------------------------------------------===//

  LogicalResult placeOutputs() {
    Operation *terminator = function.getBody().front().getTerminator();
    int64_t outputs = 0;
    for (auto [index, value] : llvm::enumerate(terminator->getOperands())) {
      std::optional<unsigned> storage = storages.find(value);
      if (auto state = stateOfResult(index)) {
        if (!storage || storages[*storage].symbol != state)
          return function.emitOpError("expects result ")
                 << index << " to be what is appended in place to " << state;
        continue;
      }
      bool own = storage && storages[*storage].kind == BufferKind::Arena &&
                 isSizedWith(value, storages[*storage]);
      FailureOr<unsigned> home =
          own ? FailureOr<unsigned>(*storage) : copyToOutput(value, terminator);
      if (failed(home))
        return failure();
      storages[*home].kind = BufferKind::Output;
      storages[*home].index = outputs++;
    }
    return success();
  }

  /// Whether the storage was made when all dimensions of `value` were known. A
  /// view may have one that a later step has found.
  bool isSizedWith(Value value, const Storage &storage) const {
    std::set<std::string> known = storage.bytes.symbols();
    for (const DimExpr &dim : *dims.of(value).shape)
      for (const std::string &name : dim.symbols())
        if (!known.count(name))
          return false;
    return true;
  }

  /// An output that is an input, a weight, a constant or another output, or a
  /// view with a size that its bytes did not know.
  FailureOr<unsigned> copyToOutput(Value value, Operation *terminator) {
    OpBuilder builder(terminator);
    auto copy = onnx::NodeOp::create(
        builder, terminator->getLoc(), TypeRange{value.getType()},
        builder.getStringAttr("Identity"), builder.getStringAttr(""),
        builder.getI64IntegerAttr(16), DictionaryAttr(), ValueRange{value}, 0);
    dims.set(copy.getOutputs()[0], dims.of(value));
    if (failed(addStep(copy)))
      return failure();
    return storages.of(copy.getOutputs()[0]);
  }

  //===--- The program ----------------------------------------------------===//

  /// Whether `step` uses a dimension that `earlier` defines: scalars are all
  /// dimensions of its buffers.
  static bool usesDefinition(const PlannedStep &earlier,
                             const PlannedStep &step) {
    if (!earlier.defines)
      return false;
    return llvm::any_of(step.call.scalars, [&](const DimExpr &scalar) {
      return llvm::is_contained(earlier.defines.getAsValueRange<StringAttr>(),
                                *scalar.asSymbol());
    });
  }

  /// The last earlier step that writes what step `index` uses, or uses what it
  /// writes, or defines a dimension for it.
  int64_t dependency(size_t index) const {
    const PlannedStep &step = steps[index];
    auto conflicts = [&](ArrayRef<unsigned> a, ArrayRef<unsigned> b) {
      return llvm::any_of(a, [&](unsigned x) {
        return llvm::any_of(b,
                            [&](unsigned y) { return storages.overlap(x, y); });
      });
    };
    for (size_t other = index; other-- > 0;) {
      const PlannedStep &earlier = steps[other];
      if (conflicts(earlier.results, step.operands) ||
          conflicts(earlier.results, step.results) ||
          conflicts(earlier.operands, step.results) ||
          usesDefinition(earlier, step))
        return other;
    }
    return -1;
  }

  Attribute portAttr(Value value, Attribute name, unsigned index) {
    Builder builder(module.getContext());
    SmallVector<Attribute> list;
    for (const DimExpr &dim : *dims.of(value).shape)
      list.push_back(builder.getStringAttr(dim.str()));
    auto text = dyn_cast_or_null<StringAttr>(name);
    return PortAttr::get(
        module.getContext(), text ? text.str() : std::to_string(index),
        cast<RankedTensorType>(value.getType()).getElementType(),
        builder.getArrayAttr(list));
  }

  void emitProgram(int64_t arenaBytes) {
    OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
    SmallVector<Attribute> inputs, outputs;
    for (BlockArgument argument : function.getArguments())
      if (!stateOf(argument))
        inputs.push_back(portAttr(
            argument,
            function.getArgAttr(argument.getArgNumber(), onnx::nameAttrName),
            argument.getArgNumber()));
    for (auto [index, value] : llvm::enumerate(
             function.getBody().front().getTerminator()->getOperands()))
      if (!stateOfResult(index))
        outputs.push_back(portAttr(
            value, function.getResultAttr(index, onnx::nameAttrName), index));
    auto program = ProgramOp::create(
        builder, function.getLoc(), function.getSymName(),
        builder.getArrayAttr(inputs), builder.getArrayAttr(outputs), arenaBytes,
        builder.getArrayAttr(checks));
    builder.setInsertionPointToStart(&program.getBody().emplaceBlock());
    for (auto [index, step] : llvm::enumerate(steps)) {
      SmallVector<Attribute> buffers, scalars;
      for (unsigned storage : step.operands)
        buffers.push_back(storages.attribute(storage));
      for (unsigned storage : step.results)
        buffers.push_back(storages.attribute(storage));
      for (const DimExpr &scalar : step.call.scalars)
        scalars.push_back(builder.getStringAttr(scalar.str()));
      StepOp::create(
          builder, step.origin,
          FlatSymbolRefAttr::get(step.call.kernel.getSymNameAttr()),
          builder.getArrayAttr(buffers), builder.getArrayAttr(scalars),
          builder.getI64IntegerAttr(dependency(index)), step.defines);
    }
  }

  ModuleOp module;
  func::FuncOp function;
  Kernels &kernels;
  DimsAnalysis dims;
  Storages storages;
  Definitions definitions;
  std::vector<PlannedStep> steps;
  SmallVector<Attribute> checks;
};

struct LowerToProgram : nibble::impl::LowerToProgramBase<LowerToProgram> {
  using LowerToProgramBase::LowerToProgramBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    Kernels kernels(module);
    SmallVector<func::FuncOp> entries(module.getOps<func::FuncOp>());
    if (entries.empty()) {
      module.emitError("expects an entry point to lower, got none");
      return signalPassFailure();
    }
    for (func::FuncOp entry : entries) {
      if (!entry.getBody().hasOneBlock()) {
        entry.emitOpError("expects a body of one block");
        return signalPassFailure();
      }
      if (failed(ProgramBuilder(module, entry, kernels).run()))
        return signalPassFailure();
    }
    for (func::FuncOp entry : entries)
      entry.erase();
    eraseUnreferencedWeights(module);
  }

private:
  /// Programs name weights in buffers, not through loads.
  static void eraseUnreferencedWeights(ModuleOp module) {
    llvm::DenseSet<StringRef> used;
    module.walk([&](StepOp step) {
      for (Attribute buffer : step.getBuffers())
        if (auto symbol = cast<BufferAttr>(buffer).getSymbol())
          used.insert(symbol.getValue());
    });
    for (WeightOp weight :
         llvm::make_early_inc_range(module.getOps<WeightOp>()))
      if (!used.contains(weight.getSymName()))
        weight.erase();
  }
};

} // namespace
