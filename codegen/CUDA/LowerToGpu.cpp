//===- LowerToGpu.cpp - qkernel.kernel to gpu.func ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The parts of a kernel (codegen/Kernel/Parts.h) become functions of their own,
// launched one behind the other, which is the order that parts of a task have
// on a CPU. A part is lowered by the first of these that knows it:
//
//   1. the entry of its op in the table of this folder
//   2. one thread per element
//   3. one thread per task
//
//===----------------------------------------------------------------------===//

#include "Lowerings.h"

#include "nibble/Support/Decline.h"
#include "nibble/codegen/CUDA/Kernels.h"
#include "nibble/codegen/CUDA/Passes.h"
#include "nibble/codegen/Kernel/KernelBody.h"
#include "nibble/codegen/Kernel/Parts.h"
#include "nibble/dialects/Ptx/Ptx.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Dominance.h"
#include "mlir/Transforms/CSE.h"

namespace nibble {
#define GEN_PASS_DEF_LOWERTOGPU
#include "nibble/codegen/CUDA/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::cuda;

namespace {

/// Threads of a block where threads have nothing to do with each other.
constexpr int64_t blockThreads = 256;

DimExpr blocksFor(const DimExpr &threads) {
  return (threads + DimExpr(blockThreads - 1)).floorDiv(blockThreads);
}

/// The entry of `op` in the table of this folder, if it knows this op.
const GpuLowering *acceptedLowering(const GpuKernel &gpu, Operation *op) {
  const GpuLowering *lowering = op ? findGpuLowering(op) : nullptr;
  return lowering && (!lowering->accepts || lowering->accepts(gpu, op))
             ? lowering
             : nullptr;
}

/// One thread for each of `count` positions.
void emitThreads(GpuKernel &gpu, llvm::function_ref<DimExpr(Kernel &)> countOf,
                 llvm::function_ref<void(Kernel &, Value)> body) {
  DimExpr count;
  LaunchCall call = gpu.add("", {.threads = blockThreads}, [&](GpuFunction &f) {
    Code &code = f.kernel.code;
    count = countOf(f.kernel);
    Value position =
        code.add(code.mul(f.block(), code.index(blockThreads)), f.thread());
    code.branch(code.compare(Compare::lt, position, f.kernel.evaluate(count)),
                [&] { body(f.kernel, position); });
  });
  call.grid.x = blocksFor(count);
  gpu.launch(std::move(call));
}

LogicalResult emit(GpuKernel &gpu, const Part &part) {
  if (const GpuLowering *lowering = acceptedLowering(gpu, part.single()))
    return lowering->lower(gpu, part.single());
  Value result = part.elementwise();
  if (result && !Kernel::isPacked(result)) {
    emitThreads(
        gpu, [&](Kernel &) { return gpu.elementCount(result); },
        [&](Kernel &kernel, Value position) {
          Values index = kernel.elementIndex(position, kernel.shape(result));
          kernel.storeAt(result, position, kernel.element(result, index));
        });
    return success();
  }
  if (Operation *op = part.driver())
    (void)decline(op, "qkernel-to-gpu",
                  "one thread does a whole task, which is slow: there is no "
                  "code for the threads of a block");
  emitThreads(
      gpu, [&](Kernel &kernel) { return part.tasks(kernel); },
      [&](Kernel &kernel, Value task) { part.emit(kernel, task); });
  return success();
}

LogicalResult lowerKernel(qkernel::KernelOp kernel, gpu::GPUModuleOp module) {
  DimsAnalysis dims;
  const LoweringTable &lowerings = cudaLowerings();
  if (failed(checkBody(kernel, lowerings, dims)))
    return failure();
  GpuKernel gpu(kernel, module, dims, lowerings);
  for (const Part &part : Part::of(kernel.getBody().front(), lowerings))
    if (failed(emit(gpu, part)))
      return failure();
  if (gpu.hasFailed())
    return failure();
  qkernel::setLaunches(kernel, gpu.launches());
  return success();
}

struct LowerToGpu : nibble::impl::LowerToGpuBase<LowerToGpu> {
  void runOnOperation() override {
    if (failed(lowerToGpu(getOperation())))
      signalPassFailure();
  }
};

} // namespace

LogicalResult nibble::lowerToGpu(ModuleOp module) {
  if (Operation *there = module.lookupSymbol(qkernel::gpuModuleName))
    return there->emitError("expects no '")
           << qkernel::gpuModuleName << "' in a module that is lowered to it";
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  auto kernels = gpu::GPUModuleOp::create(builder, module.getLoc(),
                                          qkernel::gpuModuleName);
  bool ok = true;
  for (auto kernel : module.getOps<qkernel::KernelOp>())
    ok &= succeeded(lowerKernel(kernel, kernels));
  // Lowerings repeat constants and indices.
  IRRewriter rewriter(module.getContext());
  DominanceInfo dominance;
  eliminateCommonSubExpressions(rewriter, dominance, kernels);
  return success(ok);
}

FailureOr<std::vector<CudaKernelSignature>>
nibble::cudaKernels(ModuleOp module) {
  std::vector<CudaKernelSignature> result;
  for (auto kernel : module.getOps<qkernel::KernelOp>()) {
    FailureOr<LaunchTable> launches = qkernel::launchesOf(kernel);
    if (failed(launches))
      return failure();
    Block &body = kernel.getBody().front();
    CudaKernelSignature &entry = result.emplace_back();
    entry.name = kernel.getSymName().str();
    entry.buffers =
        body.getNumArguments() + body.getTerminator()->getNumOperands();
    for (StringRef name : kernel.getScalars().getAsValueRange<StringAttr>())
      entry.scalars.push_back(name.str());
    entry.launches = std::move(*launches);
  }
  return result;
}
