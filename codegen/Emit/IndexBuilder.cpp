//===- IndexBuilder.cpp - Lowered modules as a bundle's index -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "IndexBuilder.h"

#include "nibble/Bundle/Generation.h"
#include "nibble/Support/Dims.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/codegen/CUDA/Kernels.h"
#include "nibble/dialects/QKernel/EntryPoints.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qkernel;
using nibble::qmodel::WeightOp;

static DimExpr expression(StringRef text) {
  return *DimExpr::parse(text.str());
}

static std::vector<DimExpr> expressions(ArrayAttr list) {
  std::vector<DimExpr> result;
  for (Attribute text : list)
    result.push_back(expression(cast<StringAttr>(text).getValue()));
  return result;
}

//===----------------------------------------------------------------------===//
// What a module names
//===----------------------------------------------------------------------===//

LogicalResult IndexBuilder::addSymbols(Symbols &symbols) {
  ModuleOp module = symbols.module;
  if (failed(addDims(module)))
    return failure();
  for (WeightOp weight : module.getOps<WeightOp>())
    addWeight(weight, symbols);
  for (StateOp state : module.getOps<StateOp>())
    addState(state);
  if (index.layers.empty())
    addLayers(module);
  if (!index.decoder)
    addDecoder(module);
  return success();
}

LogicalResult IndexBuilder::addDims(ModuleOp module) {
  for (auto &[name, bound] : dimBounds(module)) {
    auto [found, isNew] = dimIndex.try_emplace(name, index.dims.size());
    if (isNew) {
      index.dims.push_back({name, bound.min, bound.max});
      continue;
    }
    const DimSymbol &dim = index.dims[found->second];
    if (dim.min != bound.min || dim.max != bound.max)
      return module.emitError("expects dimension '")
             << name << "' to have the same bounds on all devices";
  }
  return success();
}

/// What two modules pack alike is one weight; other bytes of the same name get
/// a name of their own.
void IndexBuilder::addWeight(WeightOp weight, Symbols &symbols) {
  std::string name = weight.getSymName().str();
  auto hasName = [&](const WeightEntry &entry) { return entry.name == name; };
  auto found = llvm::find_if(index.weights, hasName);
  if (found != index.weights.end()) {
    WeightOp other = weights[found - index.weights.begin()];
    if (other.getType() == weight.getType() &&
        other.getValue() == weight.getValue()) {
      symbols.weights[weight.getSymName()] = found - index.weights.begin();
      return;
    }
    name += ".cuda";
    while (llvm::any_of(index.weights, hasName))
      name += "_";
  }
  auto type = cast<RankedTensorType>(weight.getType());
  std::optional<ElementType> element = fromMlirType(type.getElementType());
  symbols.weights[weight.getSymName()] = weights.size();
  weights.push_back(weight);
  WeightEntry entry;
  entry.name = std::move(name);
  entry.bytes = *byteSize(*element, *elementCount(type.getShape()));
  index.weights.push_back(std::move(entry));
}

void IndexBuilder::addState(StateOp state) {
  if (stateIndex.try_emplace(state.getSymName(), index.states.size()).second)
    index.states.push_back({state.getSymName().str(),
                            *fromMlirType(state.getElement()),
                            expressions(state.getDims())});
}

void IndexBuilder::addDecoder(ModuleOp module) {
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

void IndexBuilder::addLayers(ModuleOp module) {
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

//===----------------------------------------------------------------------===//
// Programs
//===----------------------------------------------------------------------===//

FailureOr<EntryPoint> IndexBuilder::interfaceOf(ProgramOp program) {
  FailureOr<EntryPoint> entry = describeEntry(program);
  if (failed(entry))
    return failure();
  for (Attribute attr : program.getChecks()) {
    auto check = cast<DictionaryAttr>(attr);
    auto field = [&](StringRef name) {
      return cast<IntegerAttr>(check.get(name)).getInt();
    };
    entry->checks.push_back(
        {static_cast<uint32_t>(field("input")), field("min"), field("limit")});
  }
  return entry;
}

LogicalResult IndexBuilder::fillProgram(ProgramOp op, const Symbols &symbols,
                                        Program &program) {
  program.arenaBytes = op.getArenaBytes();
  for (StepOp stepOp : op.getBody().getOps<StepOp>()) {
    FailureOr<Step> step = makeStep(stepOp, symbols);
    if (failed(step))
      return failure();
    program.steps.push_back(std::move(*step));
  }
  return success();
}

FailureOr<Step> IndexBuilder::makeStep(StepOp op, const Symbols &symbols) {
  auto it = symbols.kernels.find(op.getKernel());
  if (it == symbols.kernels.end())
    return op.emitOpError("names a kernel without code: ") << op.getKernel();
  const KernelUse &kernel = it->second;
  Step step;
  step.kernel = kernel.index;
  step.scalars = expressions(op.getScalars());
  step.after = op.getAfter();
  if (kernel.buffers != op.getBuffers().size() ||
      kernel.scalars.size() != step.scalars.size())
    return op.emitOpError("expects ")
           << kernel.buffers << " buffers and " << kernel.scalars.size()
           << " scalars for its code, got " << op.getBuffers().size() << " and "
           << step.scalars.size();
  std::map<std::string, DimExpr> values;
  for (auto [name, value] : llvm::zip(kernel.scalars, step.scalars))
    values.emplace(name, value);
  step.tasks = kernel.tasks.substitute(values);
  auto kernelOp = cast<KernelOp>(
      SymbolTable::lookupSymbolIn(symbols.module, op.getKernel()));
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
    ref.index = ref.kind == BufferRef::Kind::Weight
                    ? symbols.weights.lookup(symbol)
                : ref.kind == BufferRef::Kind::State ? stateIndex.lookup(symbol)
                                                     : buffer.getIndex();
    ref.offset = buffer.getOffset();
    ref.bytes = expression(buffer.getBytes());
    step.buffers.push_back(std::move(ref));
  }
  return step;
}

LogicalResult
IndexBuilder::addProcessor(ModuleOp module,
                           llvm::ArrayRef<KernelSignature> kernels) {
  Symbols symbols{module, {}, {}};
  for (const KernelSignature &kernel : kernels) {
    symbols.kernels[kernel.name] = {static_cast<uint32_t>(index.kernels.size()),
                                    kernel.buffers, kernel.scalars,
                                    kernel.tasks};
    index.kernels.push_back({kernel.name, kernel.buffers,
                             static_cast<uint32_t>(kernel.scalars.size())});
  }
  if (failed(addSymbols(symbols)))
    return failure();
  for (ProgramOp program : module.getOps<ProgramOp>()) {
    FailureOr<EntryPoint> entry = interfaceOf(program);
    if (failed(entry) || failed(fillProgram(program, symbols, *entry)))
      return failure();
    index.entries.push_back(std::move(*entry));
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

/// The launches of a kernel with scalar number i called d<i>.
static FailureOr<nibble::CudaKernel>
launchesOf(ModuleOp module, const CudaKernelSignature &kernel) {
  auto functions = module.lookupSymbol<gpu::GPUModuleOp>(gpuModuleName);
  std::map<std::string, DimExpr> names;
  for (auto [i, name] : llvm::enumerate(kernel.scalars))
    names.emplace(name, DimExpr::symbol("d" + std::to_string(i)));
  nibble::CudaKernel result;
  result.name = kernel.name;
  result.bufferCount = kernel.buffers;
  result.scalarCount = static_cast<uint32_t>(kernel.scalars.size());
  for (const Launch &launch : kernel.launches.launches) {
    CudaLaunch &made = result.launches.emplace_back();
    made.over = kernel.launches.over.substitute(names);
    made.upTo = launch.upTo;
    if (launch.workspace != DimExpr(0))
      made.workspace = launch.workspace.substitute(names);
    for (const LaunchCall &call : launch.calls) {
      auto function = functions.lookupSymbol<gpu::GPUFuncOp>(call.function);
      auto block = function ? function.getKnownBlockSize() : std::nullopt;
      if (!block || block->size() != 3)
        return module.emitError("expects a function '")
               << call.function << "' of a known block size";
      CudaCall &madeCall = made.calls.emplace_back();
      madeCall.function = call.function;
      madeCall.grid = {call.grid.x.substitute(names),
                       call.grid.y.substitute(names),
                       call.grid.z.substitute(names)};
      for (size_t i = 0; i < 3; ++i)
        madeCall.block[i] = static_cast<uint32_t>((*block)[i]);
      if (auto bytes =
              function->getAttrOfType<IntegerAttr>("dynamic_shared_memory"))
        madeCall.sharedBytes = static_cast<uint32_t>(bytes.getInt());
    }
  }
  return result;
}

LogicalResult IndexBuilder::addCuda(ModuleOp module) {
  FailureOr<std::vector<CudaKernelSignature>> kernels = cudaKernels(module);
  if (failed(kernels))
    return failure();
  CudaSection &cuda = index.cuda.emplace();
  Symbols symbols{module, {}, {}};
  for (const CudaKernelSignature &kernel : *kernels) {
    symbols.kernels[kernel.name] = {static_cast<uint32_t>(cuda.kernels.size()),
                                    kernel.buffers, kernel.scalars};
    FailureOr<nibble::CudaKernel> launched = launchesOf(module, kernel);
    if (failed(launched))
      return failure();
    cuda.kernels.push_back(std::move(*launched));
  }
  if (failed(addSymbols(symbols)))
    return failure();
  auto programs = llvm::to_vector(module.getOps<ProgramOp>());
  bool isAlone = index.entries.empty();
  if (!isAlone && programs.size() != index.entries.size())
    return module.emitError("expects the entry points of the processor");
  for (auto [i, program] : llvm::enumerate(programs)) {
    FailureOr<EntryPoint> entry = interfaceOf(program);
    if (failed(entry))
      return failure();
    if (isAlone)
      index.entries.push_back(std::move(*entry));
    else if (entry->name != index.entries[i].name)
      return program.emitOpError("expects to be entry point '")
             << index.entries[i].name << "', as on the processor";
    if (failed(fillProgram(program, symbols, cuda.programs.emplace_back())))
      return failure();
  }
  return success();
}

BundleIndex IndexBuilder::take() {
  index.producer = "nibble " NIBBLE_VERSION;
  for (const EntryPoint &entry : index.entries)
    if (!index.generation)
      index.generation = findGeneration(entry);
  return std::move(index);
}
