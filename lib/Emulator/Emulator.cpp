//===- Emulator.cpp - Entry points and their arguments --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Emulator/Emulator.h"

#include "MemRefs.h"
#include "Programs.h"
#include "Warp.h"

#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Conversion/AffineToStandard/AffineToStandard.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

#include <cstring>

using namespace mlir;
using namespace nibble;
using namespace nibble::emulator;

/// The program that `entry` names: @main if it is empty, and no function is
/// called so.
static qkernel::ProgramOp findProgram(ModuleOp module, llvm::StringRef entry) {
  return module.lookupSymbol<qkernel::ProgramOp>(entry.empty() ? "main"
                                                               : entry);
}

/// The function that `entry` names; null after an error.
static FunctionOpInterface findEntry(ModuleOp module, llvm::StringRef entry) {
  if (entry.empty()) {
    if (auto main = module.lookupSymbol<func::FuncOp>("main"))
      return main;
    SmallVector<gpu::GPUFuncOp> kernels;
    module.walk([&](gpu::GPUFuncOp kernel) {
      if (kernel.isKernel())
        kernels.push_back(kernel);
    });
    if (kernels.size() == 1)
      return kernels.front();
    module.emitError("expects @main or one kernel to run, got ")
        << kernels.size() << " kernels; name one with 'entry'";
    return {};
  }
  auto [outer, inner] = entry.split("::");
  MLIRContext *context = module.getContext();
  SmallVector<FlatSymbolRefAttr> nested;
  if (!inner.empty())
    nested.push_back(FlatSymbolRefAttr::get(context, inner));
  auto found =
      dyn_cast_or_null<FunctionOpInterface>(SymbolTable::lookupSymbolIn(
          module, SymbolRefAttr::get(StringAttr::get(context, outer), nested)));
  if (!found || found.isExternal() ||
      !isa<func::FuncOp, gpu::GPUFuncOp>(found.getOperation())) {
    module.emitError("expects a function or kernel as entry, got '")
        << entry << "'; kernels are named module::kernel";
    return {};
  }
  return found;
}

static FailureOr<ElementType> tensorType(Type element, Location loc) {
  if (element.isF16())
    return ElementType::float16();
  if (element.isBF16())
    return ElementType::bfloat16();
  if (element.isF32())
    return ElementType::float32();
  if (element.isF64())
    return ElementType::float64();
  if (element.isInteger(1))
    return ElementType::boolean();
  if (element.isIndex())
    return ElementType::signedInt(64);
  if (element.isInteger() && element.getIntOrFloatBitWidth() % 8 == 0)
    return element.isUnsignedInteger()
               ? ElementType::unsignedInt(element.getIntOrFloatBitWidth())
               : ElementType::signedInt(element.getIntOrFloatBitWidth());
  return emitError(loc, "no array can hold ") << element;
}

namespace {
/// The arguments of an entry point, in memory of the machine.
class Arguments {
public:
  Arguments(Machine &machine, FunctionOpInterface function)
      : machine(machine), function(function) {}

  LogicalResult place(const NamedTensors &inputs);
  NamedTensors results() const;

  std::vector<Word> words;

private:
  std::string nameOf(unsigned index);
  LogicalResult placeMemRef(unsigned index, MemRefType type,
                            const Tensor *array);
  LogicalResult placeNumber(unsigned index, Type type, const Tensor *array);

  struct Placed {
    std::string name;
    ElementType type;
    std::vector<int64_t> shape;
    Buffer *buffer;
  };
  Machine &machine;
  FunctionOpInterface function;
  std::vector<Placed> placed;
};
} // namespace

std::string Arguments::nameOf(unsigned index) {
  if (auto name = function.getArgAttrOfType<StringAttr>(index, "onnx.name"))
    return name.str();
  return std::to_string(index);
}

/// Integers are alike if they have as many bits: MLIR's have no sign.
static bool sameBits(ElementType have, ElementType want) {
  return have == want ||
         (have.isInteger() && want.isInteger() && have.bits == want.bits);
}

LogicalResult Arguments::placeMemRef(unsigned index, MemRefType type,
                                     const Tensor *array) {
  std::string name = nameOf(index);
  Location loc = function.getArgument(index).getLoc();
  FailureOr<ElementType> element = tensorType(type.getElementType(), loc);
  if (failed(element))
    return failure();
  if (!type.getLayout().isIdentity())
    return emitError(loc, "expects dense memrefs as arguments, got ") << type;
  if (!array && !type.hasStaticShape())
    return emitError(loc, "expects an array '")
           << name << "' among the inputs, whose size is that of " << type;
  std::vector<int64_t> shape = type.getShape().vec();
  if (array) {
    bool fits = sameBits(array->type(), *element) &&
                array->shape().size() == shape.size();
    for (size_t d = 0; fits && d < shape.size(); ++d)
      fits = ShapedType::isDynamic(shape[d]) || shape[d] == array->shape()[d];
    if (!fits)
      return emitError(loc, "expects an array for ")
             << type << " as '" << name << "', got "
             << describe(array->type(), array->shape());
    shape = array->shape();
  }
  uint64_t bytes = elementBytes(type.getElementType());
  for (int64_t size : shape)
    bytes *= size;
  Buffer &buffer =
      machine.memory.allocate("argument " + name, bytes, deviceAlignment);
  if (array) {
    std::memcpy(buffer.bytes.data(), array->bytes().data(), bytes);
    buffer.undefined = false;
  }
  words.push_back(buffer.base);
  words.insert(words.end(), shape.begin(), shape.end());
  SmallVector<Word> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;)
    strides[d - 1] = strides[d] * shape[d];
  words.insert(words.end(), strides.begin(), strides.end());
  placed.push_back({name, *element, shape, &buffer});
  return success();
}

LogicalResult Arguments::placeNumber(unsigned index, Type type,
                                     const Tensor *array) {
  std::string name = nameOf(index);
  Location loc = function.getArgument(index).getLoc();
  if (!type.isIntOrIndexOrFloat())
    return emitError(loc, "expects numbers and memrefs as arguments, got ")
           << type;
  FailureOr<ElementType> element = tensorType(type, loc);
  if (failed(element))
    return failure();
  if (!array || array->size() != 1)
    return emitError(loc, "expects an array '")
           << name << "' of one element among the inputs";
  if (element->isFloat() != array->type().isFloat())
    return emitError(loc, "expects an array for ")
           << type << " as '" << name << "', got "
           << describe(array->type(), array->shape());
  Tensor value = array->converted(*element);
  Word word = 0;
  std::memcpy(&word, value.bytes().data(), value.bytes().size());
  words.push_back(word);
  return success();
}

LogicalResult Arguments::place(const NamedTensors &inputs) {
  for (auto [index, type] : llvm::enumerate(function.getArgumentTypes())) {
    auto at = static_cast<unsigned>(index);
    const Tensor *array = find(inputs, nameOf(at));
    Tensor converted;
    auto memref = dyn_cast<MemRefType>(type);
    if (array && memref && memref.getElementType().isBF16())
      array = &(converted = fromNumpy(*array, ElementType::bfloat16()));
    if (failed(memref ? placeMemRef(at, memref, array)
                      : placeNumber(at, type, array)))
      return failure();
  }
  return success();
}

NamedTensors Arguments::results() const {
  NamedTensors all;
  for (const Placed &argument : placed) {
    Tensor tensor = Tensor::allocate(argument.type, argument.shape);
    std::memcpy(tensor.mutableBytes().data(), argument.buffer->bytes.data(),
                argument.buffer->size());
    all.emplace_back(argument.name, std::move(tensor));
  }
  return all;
}

/// Sizes of a kernel that nobody launches.
static FailureOr<Dim3> knownSize(gpu::GPUFuncOp kernel, llvm::StringRef name,
                                 std::optional<ArrayRef<int32_t>> sizes) {
  if (!sizes || sizes->size() != 3)
    return kernel.emitError("expects the attribute '")
           << name << "', or a host function that launches the kernel";
  return Dim3{static_cast<uint32_t>((*sizes)[0]),
              static_cast<uint32_t>((*sizes)[1]),
              static_cast<uint32_t>((*sizes)[2])};
}

static LogicalResult runKernel(Machine &machine, gpu::GPUFuncOp kernel,
                               ArrayRef<Word> arguments) {
  FailureOr<Dim3> block =
      knownSize(kernel, "known_block_size", kernel.getKnownBlockSize());
  FailureOr<Dim3> grid =
      knownSize(kernel, "known_grid_size", kernel.getKnownGridSize());
  if (failed(block) || failed(grid))
    return failure();
  const Program *program = machine.program(kernel);
  if (!program)
    return failure();
  uint32_t shared = 0;
  if (auto bytes = kernel->getAttrOfType<IntegerAttr>("dynamic_shared_memory"))
    shared = static_cast<uint32_t>(bytes.getInt());
  return machine.launch(*program, *grid, *block, shared, arguments,
                        kernel.getLoc());
}

FailureOr<NamedTensors> nibble::emulateGpu(ModuleOp module,
                                           llvm::StringRef entry,
                                           const NamedTensors &inputs) {
  // Other passes say what affine ops mean.
  OwningOpRef<ModuleOp> lowered = module.clone();
  PassManager passes(module.getContext());
  passes.addPass(createLowerAffinePass());
  if (failed(passes.run(*lowered)))
    return failure();
  if (qkernel::ProgramOp program = findProgram(*lowered, entry))
    return emulateProgram(*lowered, program, inputs);
  FunctionOpInterface function = findEntry(*lowered, entry);
  if (!function)
    return failure();
  Machine machine(*lowered);
  Arguments arguments(machine, function);
  if (failed(arguments.place(inputs)))
    return failure();
  auto kernel = dyn_cast<gpu::GPUFuncOp>(function.getOperation());
  if (failed(kernel ? runKernel(machine, kernel, arguments.words)
                    : machine.runHost(function, arguments.words)))
    return failure();
  return arguments.results();
}
