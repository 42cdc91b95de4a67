//===- LowerToProgram.cpp - Ops to kernels and steps ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// func @main -> qkernel.program @main + one qkernel.kernel per distinct
// instance. Three steps: name the storage of every value (views share it), turn
// computing ops into kernels and steps, and place buffers in the arena.
//
// Two ops are the same instance when their kernels print alike once dimension
// symbols are renumbered in order of appearance: ids, weight names and
// locations are not part of a kernel, so equal layers share code.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Lower/MemoryPlan.h"
#include "nibble/passes/Lower/Passes.h"

#include "nibble/Base/Sha256.h"
#include "nibble/Reference/Interpreter.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace nibble {
#define GEN_PASS_DEF_LOWERTOPROGRAM
#include "nibble/passes/Lower/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;
using namespace nibble::qkernel;

namespace {

/// Where the bytes of a value lie. Views share the storage of what they view.
struct Storage {
  BufferKind kind = BufferKind::Arena;
  int64_t index = 0;        ///< of the input or output
  FlatSymbolRefAttr symbol; ///< of the weight
  DimExpr bytes;
  Lifetime life; ///< arena only, in steps
};

struct PlannedStep {
  KernelOp kernel;
  SmallVector<unsigned> operands, results; ///< indices into the storages
  std::vector<DimExpr> scalars;            ///< program symbols
};

/// Values that kernels recompute instead of reading: they have no storage.
bool isInlineConstant(Operation *op) {
  return isa_and_nonnull<onnx::ConstantOp, onnx::NoneOp, DimTensorOp>(op);
}

/// Whether the result has the operand's bytes under another shape.
bool isView(Operation *op) {
  auto node = dyn_cast<onnx::NodeOp>(op);
  if (!node || node.getOutputs().empty())
    return false;
  if (node.is("Cast")) {
    auto from = dyn_cast<RankedTensorType>(node.getInputs()[0].getType());
    auto to = dyn_cast<RankedTensorType>(node.getOutputs()[0].getType());
    return from && to && from.getElementType() == to.getElementType();
  }
  bool onlyFirstUsed = llvm::all_of(node.getOutputs().drop_front(),
                                    [](Value v) { return v.use_empty(); });
  return onlyFirstUsed &&
         (node.is("Reshape") || node.is("Unsqueeze") || node.is("Squeeze") ||
          node.is("Flatten") || node.is("Identity") || node.is("Dropout"));
}

/// Lowers one entry point.
class ProgramBuilder {
public:
  ProgramBuilder(ModuleOp module, func::FuncOp function,
                 llvm::StringMap<KernelOp> &kernels)
      : module(module), function(function), kernels(kernels),
        bounds(dimBounds(module)) {}

  LogicalResult run() {
    if (failed(dims.run(function)) || failed(checkBounds()))
      return failure();
    for (BlockArgument argument : function.getArguments())
      if (failed(addInput(argument)))
        return failure();
    for (Operation &op : function.getBody().front().without_terminator())
      if (failed(visit(&op)))
        return failure();
    if (failed(placeOutputs()) || failed(placeArena()))
      return failure();
    emitProgram();
    return success();
  }

private:
  //===--- Dimensions and sizes -------------------------------------------===//

  LogicalResult checkBounds() {
    std::set<std::string> missing;
    for (BlockArgument argument : function.getArguments())
      if (const auto &shape = dims.of(argument).shape)
        for (const DimExpr &dim : *shape)
          for (const std::string &symbol : dim.symbols())
            if (!bounds.count(symbol))
              missing.insert(symbol);
    if (missing.empty())
      return success();
    InFlightDiagnostic error = function.emitOpError(
        "expects a bound for every dimension, got none for ");
    llvm::interleaveComma(missing, error, [&](const std::string &name) {
      error << "'" << name << "'";
    });
    return error << "; give " << (missing.size() > 1 ? "them" : "it")
                 << " with --dim NAME=MIN..MAX, for instance --dim "
                 << *missing.begin() << "=1..512";
  }

  /// Bytes of a value as an expression over the dimensions.
  FailureOr<DimExpr> bytesOf(Value value, Operation *user) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    std::optional<ElementType> element =
        type ? fromMlirType(type.getElementType()) : std::nullopt;
    if (!element)
      return user->emitOpError("expects tensors of numbers, got ")
             << value.getType();
    const auto &shape = dims.of(value).shape;
    if (!shape && !isInterpretable(user))
      return user->emitOpError(
          "is an operator that Nibble does not know; "
          "quant-import --list-unsupported names all of them");
    if (!shape)
      return user->emitOpError("has a result whose shape depends on data: ")
             << value.getType()
             << "; only shapes that follow from the inputs' dimensions compile";
    DimExpr bytes(static_cast<int64_t>((element->bits + 7) / 8));
    for (const DimExpr &dim : *shape)
      bytes = bytes * dim;
    return bytes;
  }

  //===--- Storage
  //---------------------------------------------------------===//

  unsigned addStorage(Storage storage) {
    storages.push_back(std::move(storage));
    return storages.size() - 1;
  }

  LogicalResult addInput(BlockArgument argument) {
    FailureOr<DimExpr> bytes = bytesOf(argument, function);
    if (failed(bytes))
      return failure();
    Storage storage;
    storage.kind = BufferKind::Input;
    storage.index = argument.getArgNumber();
    storage.bytes = *bytes;
    storageOf[argument] = addStorage(storage);
    return success();
  }

  LogicalResult addLoad(LoadOp load) {
    WeightOp weight = weightOf(load);
    if (load.getPermutation()) {
      FailureOr<Tensor> tensor = loadTensor(load);
      if (failed(tensor))
        return failure();
      FailureOr<WeightOp> moved =
          addWeight(module, load.getLoc(), (load.getWeight() + ".t").str(),
                    *tensor, isa<DenseElementsAttr>(weight.getValue()));
      if (failed(moved))
        return failure();
      weight = *moved;
    }
    FailureOr<DimExpr> bytes = bytesOf(load.getResult(), load);
    if (failed(bytes))
      return failure();
    Storage storage;
    storage.kind = BufferKind::Weight;
    storage.symbol = FlatSymbolRefAttr::get(weight.getSymNameAttr());
    storage.bytes = *bytes;
    storageOf[load.getResult()] = addStorage(storage);
    return success();
  }

  FailureOr<unsigned> addBuffer(Value value, Operation *op) {
    FailureOr<DimExpr> bytes = bytesOf(value, op);
    if (failed(bytes))
      return failure();
    Storage storage;
    storage.bytes = *bytes;
    storage.life.first = storage.life.last = steps.size();
    return addStorage(storage);
  }

  //===--- Ops to steps
  //----------------------------------------------------===//

  LogicalResult visit(Operation *op) {
    if (isInlineConstant(op))
      return success();
    if (auto load = dyn_cast<LoadOp>(op))
      return load.use_empty() ? success() : addLoad(load);
    if (op->use_empty() && isMemoryEffectFree(op))
      return success();
    if (isView(op) && !isInlineConstant(op->getOperand(0).getDefiningOp())) {
      storageOf[op->getResult(0)] = storageOf.lookup(op->getOperand(0));
      return success();
    }
    if (op->getNumRegions() != 0)
      return op->emitOpError(
          "expects straight-line code, got a region; control "
          "flow does not compile yet");
    addIndexCheck(op);
    return addStep(op, op->getResults());
  }

  LogicalResult addStep(Operation *op, ValueRange results) {
    PlannedStep step;
    SmallVector<Value> arguments;
    for (Value operand : op->getOperands())
      if (!isInlineConstant(operand.getDefiningOp()) &&
          !llvm::is_contained(arguments, operand))
        arguments.push_back(operand);
    for (Value argument : arguments) {
      unsigned storage = storageOf.lookup(argument);
      storages[storage].life.last = steps.size();
      step.operands.push_back(storage);
    }
    for (Value result : results) {
      if (isa<NoneType>(result.getType()))
        continue; // an absent optional result
      FailureOr<unsigned> buffer = addBuffer(result, op);
      if (failed(buffer))
        return failure();
      storageOf[result] = *buffer;
      step.results.push_back(*buffer);
    }
    FailureOr<KernelOp> kernel = makeKernel(op, arguments, step.scalars);
    if (failed(kernel))
      return failure();
    step.kernel = *kernel;
    steps.push_back(std::move(step));
    return success();
  }

  /// Renumbers the symbols that an instance uses: d0, d1, ... in order of
  /// appearance.
  struct Renaming {
    std::map<std::string, DimExpr> names;
    std::vector<DimExpr> scalars; ///< the program's symbol per scalar
    DimExpr operator()(const DimExpr &expr) {
      for (const std::string &symbol : expr.symbols())
        if (!names.count(symbol)) {
          names.emplace(symbol,
                        DimExpr::symbol("d" + std::to_string(names.size())));
          scalars.push_back(DimExpr::symbol(symbol));
        }
      return expr.substitute(names);
    }
  };

  FailureOr<KernelOp> makeKernel(Operation *op, ArrayRef<Value> arguments,
                                 std::vector<DimExpr> &scalars) {
    Renaming rename;
    OpBuilder builder(module.getContext()); // without insertion: see below
    SmallVector<Attribute> argumentDims;
    for (Value argument : arguments) {
      SmallVector<Attribute> list;
      for (const DimExpr &dim : *dims.of(argument).shape)
        list.push_back(builder.getStringAttr(rename(dim).str()));
      argumentDims.push_back(builder.getArrayAttr(list));
    }
    auto body = std::make_unique<Block>();
    IRMapping mapping;
    for (Value argument : arguments)
      mapping.map(argument,
                  body->addArgument(argument.getType(), op->getLoc()));

    OpBuilder inner(module.getContext());
    inner.setInsertionPointToEnd(body.get());
    for (Value operand : op->getOperands()) {
      Operation *constant = operand.getDefiningOp();
      if (!isInlineConstant(constant) || mapping.contains(operand))
        continue;
      Operation *copy = inner.clone(*constant, mapping);
      if (auto tensor = dyn_cast<DimTensorOp>(copy)) {
        SmallVector<Attribute> values;
        for (Attribute value : tensor.getValues())
          values.push_back(builder.getStringAttr(
              rename(*DimExpr::parse(cast<StringAttr>(value).str())).str()));
        tensor.setValuesAttr(builder.getArrayAttr(values));
      }
    }
    Operation *copy = inner.clone(*op, mapping);
    if (isa<QuantizableOpInterface>(copy)) {
      // Ids differ between layers and would keep equal kernels apart.
      copy->setAttr("id",
                    builder.getStringAttr(copy->getName().stripDialect()));
      copy->removeAttr("plan");
    }
    SmallVector<Value> yielded;
    for (auto [result, value] :
         llvm::zip(op->getResults(), copy->getResults())) {
      if (isa<NoneType>(result.getType()))
        continue; // an absent optional result
      yielded.push_back(value);
      for (const DimExpr &dim : *dims.of(result).shape)
        rename(dim);
    }
    YieldOp::create(inner, op->getLoc(), yielded);

    SmallVector<Attribute> scalarNames;
    for (size_t i = 0; i < rename.scalars.size(); ++i)
      scalarNames.push_back(builder.getStringAttr("d" + std::to_string(i)));
    auto kernel = KernelOp::create(
        builder, op->getLoc(), builder.getStringAttr("kernel"),
        builder.getArrayAttr(scalarNames), builder.getArrayAttr(argumentDims));
    kernel.getBody().push_back(body.release());
    scalars = std::move(rename.scalars);
    return deduplicated(kernel, op);
  }

  /// The kernel of the module that equals `kernel`, which is erased, or
  /// `kernel` itself, named and added.
  KernelOp deduplicated(KernelOp kernel, Operation *op) {
    std::string text;
    llvm::raw_string_ostream stream(text);
    kernel->print(stream, OpPrintingFlags().useLocalScope());
    std::string digest =
        toHex(sha256(std::as_bytes(std::span<const char>(text))));
    std::string prefix = op->getName().stripDialect().str();
    if (auto node = dyn_cast<onnx::NodeOp>(op))
      prefix = node.getOpType().lower();
    std::string name = prefix + "_" + digest.substr(0, 16);
    auto [it, added] = kernels.try_emplace(name, kernel);
    if (!added) {
      kernel->erase();
      return it->second;
    }
    kernel.setSymName(name);
    module.getBody()->push_back(kernel);
    return kernel;
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
    auto it = storageOf.find(indices);
    if (!indices || it == storageOf.end() ||
        storages[it->second].kind != BufferKind::Input)
      return;
    Builder builder(module.getContext());
    Attribute check = builder.getDictionaryAttr(
        {builder.getNamedAttr(
             "input", builder.getI64IntegerAttr(storages[it->second].index)),
         builder.getNamedAttr("min", builder.getI64IntegerAttr(-entries)),
         builder.getNamedAttr("limit", builder.getI64IntegerAttr(entries))});
    if (!llvm::is_contained(checks, check))
      checks.push_back(check);
  }

  //===--- Outputs and the arena
  //-------------------------------------------===//

  LogicalResult placeOutputs() {
    Operation *terminator = function.getBody().front().getTerminator();
    for (auto [index, value] : llvm::enumerate(terminator->getOperands())) {
      auto it = storageOf.find(value);
      bool own = it != storageOf.end() &&
                 storages[it->second].kind == BufferKind::Arena;
      FailureOr<unsigned> home = own ? FailureOr<unsigned>(it->second)
                                     : copyToOutput(value, terminator);
      if (failed(home))
        return failure();
      storages[*home].kind = BufferKind::Output;
      storages[*home].index = index;
    }
    return success();
  }

  /// An output that is an input, a weight, a constant or another output.
  FailureOr<unsigned> copyToOutput(Value value, Operation *terminator) {
    OpBuilder builder(terminator);
    auto copy = onnx::NodeOp::create(
        builder, terminator->getLoc(), TypeRange{value.getType()},
        builder.getStringAttr("Identity"), builder.getStringAttr(""),
        builder.getI64IntegerAttr(16), DictionaryAttr(), ValueRange{value}, 0);
    dims.set(copy.getOutputs()[0], dims.of(value));
    if (failed(addStep(copy, copy->getResults())))
      return failure();
    return storageOf.lookup(copy.getOutputs()[0]);
  }

  LogicalResult placeArena() {
    SmallVector<Lifetime> lives;
    SmallVector<unsigned> owners;
    for (auto [index, storage] : llvm::enumerate(storages)) {
      if (storage.kind == BufferKind::Weight)
        continue;
      Expected<DimExpr::Bound> bound = storage.bytes.bound(bounds);
      if (!bound)
        return function.emitOpError("cannot bound a buffer of ")
               << storage.bytes.str() << " bytes: " << bound.status().message();
      if (storage.kind != BufferKind::Arena)
        continue;
      storage.life.bytes = bound->max;
      lives.push_back(storage.life);
      owners.push_back(index);
    }
    arenaBytes = planMemory(lives);
    for (auto [owner, life] : llvm::zip(owners, lives))
      storages[owner].life = life;
    return success();
  }

  /// Whether two storages share bytes.
  bool overlap(unsigned a, unsigned b) const {
    const Storage &x = storages[a], &y = storages[b];
    if (x.kind != BufferKind::Arena || y.kind != BufferKind::Arena)
      return a == b;
    return x.life.offset < y.life.offset + y.life.bytes &&
           y.life.offset < x.life.offset + x.life.bytes;
  }

  /// The last earlier step that writes what step `index` uses, or uses what it
  /// writes.
  int64_t dependency(size_t index) const {
    const PlannedStep &step = steps[index];
    auto conflicts = [&](ArrayRef<unsigned> a, ArrayRef<unsigned> b) {
      return llvm::any_of(a, [&](unsigned x) {
        return llvm::any_of(b, [&](unsigned y) { return overlap(x, y); });
      });
    };
    for (size_t other = index; other-- > 0;) {
      const PlannedStep &earlier = steps[other];
      if (conflicts(earlier.results, step.operands) ||
          conflicts(earlier.results, step.results) ||
          conflicts(earlier.operands, step.results))
        return other;
    }
    return -1;
  }

  //===--- The program
  //-----------------------------------------------------===//

  Attribute bufferAttr(unsigned index) {
    const Storage &storage = storages[index];
    bool placed = storage.kind == BufferKind::Arena;
    return BufferAttr::get(
        module.getContext(), storage.kind, placed ? 0 : storage.index,
        placed ? storage.life.offset : 0, storage.symbol, storage.bytes.str());
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

  void emitProgram() {
    OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
    SmallVector<Attribute> inputs, outputs;
    for (BlockArgument argument : function.getArguments())
      inputs.push_back(portAttr(
          argument,
          function.getArgAttr(argument.getArgNumber(), onnx::nameAttrName),
          argument.getArgNumber()));
    for (auto [index, value] : llvm::enumerate(
             function.getBody().front().getTerminator()->getOperands()))
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
        buffers.push_back(bufferAttr(storage));
      for (unsigned storage : step.results)
        buffers.push_back(bufferAttr(storage));
      for (const DimExpr &scalar : step.scalars)
        scalars.push_back(builder.getStringAttr(scalar.str()));
      StepOp::create(builder, step.kernel.getLoc(),
                     FlatSymbolRefAttr::get(step.kernel.getSymNameAttr()),
                     builder.getArrayAttr(buffers),
                     builder.getArrayAttr(scalars),
                     builder.getI64IntegerAttr(dependency(index)));
    }
  }

  ModuleOp module;
  func::FuncOp function;
  llvm::StringMap<KernelOp> &kernels;
  std::map<std::string, DimExpr::Bound> bounds;
  DimsAnalysis dims;
  std::vector<Storage> storages;
  llvm::DenseMap<Value, unsigned> storageOf;
  std::vector<PlannedStep> steps;
  SmallVector<Attribute> checks;
  int64_t arenaBytes = 0;
};

struct LowerToProgram : nibble::impl::LowerToProgramBase<LowerToProgram> {
  using LowerToProgramBase::LowerToProgramBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    llvm::StringMap<KernelOp> kernels;
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
