//===- EmitBundle.cpp - A lowered module to a deployable file -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// qkernel.program, qkernel.kernel and qmodel.weight become the index of the
// bundle; codegen/CPU makes the code; weights are read one at a time while the
// file is written.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Emit/EmitBundle.h"

#include "nibble/Bundle/Generation.h"
#include "nibble/Support/Dims.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/codegen/CPU/Kernels.h"
#include "nibble/dialects/QKernel/EntryPoints.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qkernel;
using nibble::qmodel::WeightOp;

namespace {

/// Builds the index of a module. Expressions were verified with the IR.
class IndexBuilder {
public:
  IndexBuilder(ModuleOp module, llvm::ArrayRef<KernelSignature> kernels)
      : module(module) {
    for (const KernelSignature &kernel : kernels) {
      signatures[kernel.name] = {static_cast<uint32_t>(index.kernels.size()),
                                 &kernel};
      index.kernels.push_back({kernel.name, kernel.buffers,
                               static_cast<uint32_t>(kernel.scalars.size())});
    }
  }

  FailureOr<BundleIndex> build() {
    index.producer = "nibble " NIBBLE_VERSION;
    for (auto &[name, bound] : dimBounds(module)) {
      dimIndex[name] = index.dims.size();
      index.dims.push_back({name, bound.min, bound.max});
    }
    for (WeightOp weight : module.getOps<WeightOp>())
      addWeightEntry(weight);
    for (StateOp state : module.getOps<StateOp>())
      addState(state);
    for (ProgramOp program : module.getOps<ProgramOp>())
      if (failed(addEntry(program)))
        return failure();
    addLayers();
    addDecoder();
    for (const EntryPoint &entry : index.entries)
      if (!index.generation)
        index.generation = findGeneration(entry);
    return std::move(index);
  }

  /// Weights in the order of the index.
  std::vector<WeightOp> weights;

private:
  static DimExpr expression(StringRef text) {
    return *DimExpr::parse(text.str());
  }

  static std::vector<DimExpr> expressions(ArrayAttr list) {
    std::vector<DimExpr> result;
    for (Attribute text : list)
      result.push_back(expression(cast<StringAttr>(text).getValue()));
    return result;
  }

  void addWeightEntry(WeightOp weight) {
    auto type = cast<RankedTensorType>(weight.getType());
    std::optional<ElementType> element = fromMlirType(type.getElementType());
    weightIndex[weight.getSymName()] = weights.size();
    weights.push_back(weight);
    WeightEntry entry;
    entry.name = weight.getSymName().str();
    entry.bytes = *byteSize(*element, *elementCount(type.getShape()));
    index.weights.push_back(std::move(entry));
  }

  void addState(StateOp state) {
    stateIndex[state.getSymName()] = index.states.size();
    index.states.push_back({state.getSymName().str(),
                            *fromMlirType(state.getElement()),
                            expressions(state.getDims())});
  }

  void addDecoder() {
    auto decoder = module->getAttrOfType<DictionaryAttr>(decoderAttrName);
    if (!decoder)
      return;
    auto entry = [&](StringRef name) {
      return cast<FlatSymbolRefAttr>(decoder.get(name)).getValue().str();
    };
    index.decoder =
        DecoderInfo{entry("prefill"), entry("decode"),
                    cast<IntegerAttr>(decoder.get("capacity")).getInt()};
  }

  LogicalResult addEntry(ProgramOp program) {
    FailureOr<EntryPoint> described = describeEntry(program);
    if (failed(described))
      return failure();
    EntryPoint &entry = *described;
    entry.arenaBytes = program.getArenaBytes();
    for (Attribute attr : program.getChecks()) {
      auto check = cast<DictionaryAttr>(attr);
      auto field = [&](StringRef name) {
        return cast<IntegerAttr>(check.get(name)).getInt();
      };
      entry.checks.push_back({static_cast<uint32_t>(field("input")),
                              field("min"), field("limit")});
    }
    for (StepOp step : program.getBody().getOps<StepOp>())
      if (failed(addStep(step, entry)))
        return failure();
    index.entries.push_back(std::move(entry));
    return success();
  }

  LogicalResult addStep(StepOp op, EntryPoint &entry) {
    auto it = signatures.find(op.getKernel().str());
    if (it == signatures.end())
      return op.emitOpError("names a kernel without code: ") << op.getKernel();
    const KernelSignature &kernel = *it->second.second;
    Step step;
    step.kernel = it->second.first;
    step.scalars = expressions(op.getScalars());
    step.after = op.getAfter();
    if (kernel.buffers != op.getBuffers().size() ||
        kernel.scalars.size() != step.scalars.size())
      return op.emitOpError("expects ")
             << kernel.buffers << " buffers and " << kernel.scalars.size()
             << " scalars for its code, got " << op.getBuffers().size()
             << " and " << step.scalars.size();
    std::map<std::string, DimExpr> values;
    for (auto [name, value] : llvm::zip(kernel.scalars, step.scalars))
      values.emplace(name, value);
    step.tasks = kernel.tasks.substitute(values);
    auto kernelOp =
        cast<KernelOp>(SymbolTable::lookupSymbolIn(module, op.getKernel()));
    step.results = kernelOp.getBody().front().getTerminator()->getNumOperands();
    if (op.getDefines())
      for (StringRef name : op.getDefines()->getAsValueRange<StringAttr>()) {
        auto dim = dimIndex.find(name);
        if (dim == dimIndex.end())
          return op.emitOpError("expects bounds of '")
                 << name << "' in " << boundsAttrName;
        step.defines.push_back(dim->second);
      }
    for (Attribute attr : op.getBuffers()) {
      auto buffer = cast<BufferAttr>(attr);
      BufferRef ref;
      // Both enumerations list the same kinds in the same order.
      ref.kind = static_cast<BufferRef::Kind>(buffer.getKind());
      StringRef symbol =
          buffer.getSymbol() ? buffer.getSymbol().getValue() : StringRef();
      ref.index =
          ref.kind == BufferRef::Kind::Weight  ? weightIndex.lookup(symbol)
          : ref.kind == BufferRef::Kind::State ? stateIndex.lookup(symbol)
                                               : buffer.getIndex();
      ref.offset = buffer.getOffset();
      ref.bytes = expression(buffer.getBytes());
      step.buffers.push_back(std::move(ref));
    }
    entry.steps.push_back(std::move(step));
    return success();
  }

  void addLayers() {
    auto table = module->getAttrOfType<ArrayAttr>("qkernel.layers");
    if (!table)
      return;
    for (Attribute attr : table) {
      auto layer = cast<DictionaryAttr>(attr);
      auto text = [&](StringRef name) {
        return cast<StringAttr>(layer.get(name)).str();
      };
      index.layers.push_back(
          {text("id"), text("kind"), text("scheme"),
           static_cast<uint64_t>(
               cast<IntegerAttr>(layer.get("parameters")).getInt()),
           cast<FloatAttr>(layer.get("bits")).getValueAsDouble()});
    }
  }

  ModuleOp module;
  BundleIndex index;
  std::map<std::string, std::pair<uint32_t, const KernelSignature *>>
      signatures;
  llvm::StringMap<uint32_t> weightIndex, stateIndex, dimIndex;
};

} // namespace

LogicalResult nibble::emitBundle(ModuleOp module, const EmitOptions &options) {
  FailureOr<CompiledKernels> compiled =
      compileKernels(module, options.targets, options.helper);
  if (failed(compiled))
    return failure();
  IndexBuilder builder(module, compiled->kernels);
  FailureOr<BundleIndex> index = builder.build();
  if (failed(index))
    return failure();

  BundleContents contents;
  contents.index = std::move(*index);
  for (CodeImage &image : compiled->images) {
    CodeVariant variant;
    variant.target = image.target;
    for (const KernelEntry &kernel : contents.index.kernels)
      variant.kernelOffsets.push_back(image.offsets.at(kernel.name));
    contents.index.variants.push_back(std::move(variant));
    contents.images.push_back(std::move(image.bytes));
  }

  contents.index.tokenizer = options.tokenizer;
  std::shared_ptr<const MappedFile> runner;
  if (!options.runner.empty()) {
    auto file = MappedFile::open(options.runner);
    if (!file)
      return module.emitError("cannot read the runner: ")
             << file.status().message();
    runner = *file;
    contents.runner = runner->bytes();
  }

  contents.weightBytes = [&](uint32_t i) -> nibble::Expected<Tensor> {
    WeightOp weight = builder.weights[i];
    FailureOr<Tensor> tensor = qmodel::readWeight(
        weight, weight.getValue(), cast<RankedTensorType>(weight.getType()));
    if (failed(tensor))
      return Status::error("cannot read weight '" + weight.getSymName().str() +
                           "'");
    return *tensor;
  };
  Status status = writeBundle(options.output, std::move(contents));
  if (!status.isOk())
    return module.emitError() << status.message();
  return success();
}
