//===- GpuKernel.cpp - One qkernel.kernel as GPU functions ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GpuKernel.h"

#include "nibble/codegen/Kernel/KernelBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"

#include <set>

using namespace mlir;

namespace nibble::cuda {

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

static Value toI64(Code &code, Value index) {
  return arith::IndexCastOp::create(code.builder, code.location, code.i64(),
                                    index);
}

Value GpuFunction::thread() {
  Code &code = kernel.code;
  return toI64(code, gpu::ThreadIdOp::create(code.builder, code.location,
                                             gpu::Dimension::x));
}

Value GpuFunction::block(unsigned dimension) {
  Code &code = kernel.code;
  return toI64(code,
               gpu::BlockIdOp::create(code.builder, code.location,
                                      static_cast<gpu::Dimension>(dimension)));
}

Value GpuFunction::shared(Type element, llvm::ArrayRef<int64_t> shape) {
  auto space = gpu::AddressSpaceAttr::get(
      op.getContext(), gpu::GPUDialect::getWorkgroupAddressSpace());
  auto type =
      MemRefType::get(shape, element, MemRefLayoutAttrInterface(), space);
  return op.addWorkgroupAttribution(type, kernel.code.location);
}

void GpuFunction::barrier() {
  gpu::BarrierOp::create(kernel.code.builder, kernel.code.location);
}

Value GpuFunction::shuffleXor(Value value, int32_t distance) {
  Code &code = kernel.code;
  Type type = value.getType();
  if (type.getIntOrFloatBitWidth() == 64) {
    // Registers have 32 bits: one half after the other.
    Value bits = code.bitcast(value, code.i64());
    Value half = code.index(32);
    auto moved = [&](Value part) {
      part = shuffleXor(code.resizeInteger(part, code.i32()), distance);
      return code.resizeInteger(part, code.i64(), /*isUnsigned=*/true);
    };
    Value high = code.shiftLeft(moved(code.shiftRight(bits, half)), half);
    return code.bitcast(code.bitOr(high, moved(bits)), type);
  }
  return gpu::ShuffleOp::create(code.builder, code.location, value, distance,
                                /*width=*/32, gpu::ShuffleMode::XOR)
      .getShuffleResult();
}

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

DimExpr GpuKernel::rows(Value tensor) const {
  const Shape &own = shape(tensor);
  return Kernel::product(own, 0, own.empty() ? 0 : own.size() - 1);
}

DimExpr GpuKernel::elementCount(Value tensor) const {
  const Shape &own = shape(tensor);
  return Kernel::product(own, 0, own.size());
}

bool GpuKernel::isInMemory(Value tensor) const {
  Operation *op = tensor.getDefiningOp();
  qkernel::KernelOp kernel = source;
  Operation *yield = kernel.getBody().front().getTerminator();
  return !op || isa<onnx::ConstantOp>(op) ||
         llvm::is_contained(yield->getOperands(), tensor);
}

//===----------------------------------------------------------------------===//
// Functions of a kernel
//===----------------------------------------------------------------------===//

/// The kernel with the function's parameters; `builder` stands in its entry.
Kernel GpuKernel::bind(gpu::GPUFuncOp function, OpBuilder &builder) {
  Kernel kernel(Code(builder, source.getLoc()), dims, lowerings);
  Block &body = source.getBody().front();
  size_t parameter = 0;
  for (BlockArgument argument : body.getArguments())
    kernel.buffers[argument] = function.getArgument(parameter++);
  for (Value result : body.getTerminator()->getOperands())
    kernel.outputs[result] = function.getArgument(parameter++);
  for (StringRef name : source.getScalars().getAsValueRange<StringAttr>())
    kernel.scalars[name] = function.getArgument(parameter++);
  kernel.constantAddress = [this,
                            &builder](onnx::ConstantOp constant) -> Value {
    std::string name =
        source.getSymName().str() + "_constant" + std::to_string(constants++);
    auto global = makeConstant(constant, name, module.getBodyRegion());
    if (!global) {
      failed = true;
      return LLVM::PoisonOp::create(
          builder, constant.getLoc(),
          LLVM::LLVMPointerType::get(builder.getContext()));
    }
    return LLVM::AddressOfOp::create(builder, constant.getLoc(), global);
  };
  return kernel;
}

LaunchCall GpuKernel::add(llvm::StringRef suffix,
                          const GpuFunctionOptions &options,
                          llvm::function_ref<void(GpuFunction &)> body) {
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  Block &block = source.getBody().front();
  SmallVector<Type> types(block.getNumArguments() +
                              block.getTerminator()->getNumOperands(),
                          LLVM::LLVMPointerType::get(builder.getContext()));
  types.append(source.getScalars().size(), builder.getI64Type());
  if (options.hasWorkspace)
    types.push_back(LLVM::LLVMPointerType::get(builder.getContext()));

  std::string base = source.getSymName().str();
  if (!suffix.empty())
    base += "_" + suffix.str();
  std::string name = base;
  for (unsigned i = 2; module.lookupSymbol(name); ++i)
    name = base + "_" + std::to_string(i);
  auto function = gpu::GPUFuncOp::create(builder, source.getLoc(), name,
                                         builder.getFunctionType(types, {}));
  function->setAttr(gpu::GPUDialect::getKernelFuncAttrName(),
                    builder.getUnitAttr());
  // What is appended in place has two names for one buffer.
  auto appends = [](qmodel::AppendOp op) { return op.getInPlace(); };
  if (llvm::none_of(block.getOps<qmodel::AppendOp>(), appends))
    for (size_t i = 0; i < types.size(); ++i)
      if (isa<LLVM::LLVMPointerType>(types[i]))
        function.setArgAttr(i, LLVM::LLVMDialect::getNoAliasAttrName(),
                            builder.getUnitAttr());
  auto threads = static_cast<int32_t>(options.threads);
  function.setKnownBlockSize(ArrayRef<int32_t>{threads, 1, 1});
  if (options.dynamicSharedBytes)
    function->setAttr("dynamic_shared_memory",
                      builder.getI64IntegerAttr(options.dynamicSharedBytes));
  if (options.blocksPerSm)
    function->setAttr(
        NVVM::NVVMDialect::getMinctasmAttrName(),
        builder.getI32IntegerAttr(static_cast<int32_t>(options.blocksPerSm)));
  builder.setInsertionPointToStart(&function.getBody().front());

  GpuFunction made(function, bind(function, builder),
                   options.hasWorkspace ? function.getArguments().back()
                                        : Value());
  body(made);
  failed |= made.kernel.failed;
  gpu::ReturnOp::create(builder, source.getLoc());
  return {name, {}};
}

//===----------------------------------------------------------------------===//
// Launches
//===----------------------------------------------------------------------===//

void GpuKernel::launch(LaunchCall call) {
  launch(LaunchTable{0, {Launch{std::nullopt, {std::move(call)}, 0}}});
}

/// The launch of a table for values up to `limit`.
static const Launch &launchFor(const LaunchTable &table,
                               std::optional<int64_t> limit) {
  for (const Launch &launch : table.launches)
    if (!launch.upTo || (limit && *limit <= *launch.upTo))
      return launch;
  return table.launches.back();
}

/// Parts of a kernel run one behind the other: their tables become one, with
/// the limits of both.
void GpuKernel::launch(LaunchTable more) {
  if (table.launches.empty()) {
    table = std::move(more);
    return;
  }
  bool isDivided = table.launches.size() > 1;
  if (isDivided && more.launches.size() > 1 && more.over != table.over) {
    source.emitError("no CUDA code for parts that are launched by different "
                     "sizes, '")
        << table.over.str() << "' and '" << more.over.str() << "'";
    failed = true;
    return;
  }
  std::set<int64_t> limits;
  for (const LaunchTable *each : {&table, &more})
    for (const Launch &launch : each->launches)
      if (launch.upTo)
        limits.insert(*launch.upTo);
  std::vector<std::optional<int64_t>> all(limits.begin(), limits.end());
  all.push_back(std::nullopt);
  LaunchTable merged;
  merged.over = isDivided ? table.over : more.over;
  for (std::optional<int64_t> limit : all) {
    Launch launch = launchFor(table, limit);
    const Launch &behind = launchFor(more, limit);
    launch.upTo = limit;
    llvm::append_range(launch.calls, behind.calls);
    launch.workspace = DimExpr::max(launch.workspace, behind.workspace);
    merged.launches.push_back(std::move(launch));
  }
  table = std::move(merged);
}

} // namespace nibble::cuda
