//===- LowerToNvvm.cpp - gpu.module to LLVM's dialects --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Upstream's patterns, in an order in which none meets what another has to
// lower first: nvgpu wants memrefs and vectors as they were, and leaves scf.
// Ops that they have no pattern for, or would call libdevice for, go first
// (LowerPtxAndMath.cpp).
//
//===----------------------------------------------------------------------===//

#include "LowerToNvvm.h"

#include "nibble/dialects/Ptx/Ptx.h"

#include "mlir/Conversion/AffineToStandard/AffineToStandard.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/GPUToNVVM/GPUToNVVMPass.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/NVGPUToNVVM/NVGPUToNVVM.h"
#include "mlir/Conversion/NVVMToLLVM/NVVMToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/UBToLLVM/UBToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Conversion/VectorToSCF/VectorToSCF.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/GPU/Transforms/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/DialectConversion.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace nibble::cuda {

namespace {

/// What an op needs beyond compute capability 8.0.
struct Requirement {
  unsigned capability;
  bool isExact; ///< of this device alone: "a"
};

std::optional<Requirement> requirementOf(Operation *op) {
  // Products of whole warpgroups.
  if (isa<ptx::WgmmaOp, NVVM::WgmmaMmaAsyncOp, NVVM::WgmmaFenceAlignedOp,
          NVVM::WgmmaGroupSyncAlignedOp, NVVM::WgmmaWaitGroupSyncOp,
          nvgpu::WarpgroupMmaOp, NVVM::SetMaxRegisterOp>(op))
    return Requirement{90, true};
  // Bulk copies, clusters, barriers that count bytes.
  if (isa<NVVM::CpAsyncBulkGlobalToSharedClusterOp, NVVM::ElectSyncOp,
          NVVM::FenceProxyOp, NVVM::FenceMbarrierInitOp, NVVM::ClusterArriveOp,
          NVVM::ClusterWaitOp, NVVM::MBarrierArriveExpectTxOp,
          NVVM::MBarrierTryWaitParityOp, nvgpu::MBarrierArriveExpectTxOp,
          nvgpu::MBarrierTryWaitParityOp, nvgpu::TmaAsyncLoadOp,
          NVVM::GriddepcontrolOp>(op))
    return Requirement{90, false};
  return std::nullopt;
}

bool meets(const CudaTarget &target, Requirement requirement) {
  if (requirement.isExact)
    return target.isArchSpecific && target.capability == requirement.capability;
  return target.capability >= requirement.capability;
}

/// Vectors of several dimensions become pieces of one; ids that devices do not
/// have, arithmetic on those that they have.
LogicalResult lowerVectorsAndIds(gpu::GPUModuleOp kernels) {
  RewritePatternSet patterns(kernels.getContext());
  populateGpuGlobalIdPatterns(patterns);
  populateGpuSubgroupIdPatterns(patterns);
  vector::populateVectorBitCastLoweringPatterns(patterns);
  vector::populateVectorBroadcastLoweringPatterns(patterns);
  vector::populateVectorShapeCastLoweringPatterns(patterns);
  vector::populateVectorShuffleLoweringPatterns(patterns);
  vector::populateVectorInsertExtractStridedSliceTransforms(patterns);
  vector::populateVectorRankReducingFMAPattern(patterns);
  vector::populateVectorFromElementsUnrollPatterns(patterns);
  vector::populateVectorToElementsUnrollPatterns(patterns);
  if (failed(applyPatternsGreedily(kernels, std::move(patterns))))
    return failure();
  constexpr int64_t warpSize = 32;
  kernels.walk([](gpu::SubgroupSizeOp op) {
    OpBuilder builder(op);
    op.replaceAllUsesWith(
        arith::ConstantIndexOp::create(builder, op.getLoc(), warpSize)
            .getResult());
    op.erase();
  });
  return success();
}

/// Everything that is left, with one idea of what types become: so that it does
/// not matter which extensions of dialects are registered.
LogicalResult convertToLlvm(gpu::GPUModuleOp kernels) {
  MLIRContext *context = kernels.getContext();
  LLVMTypeConverter types(context);
  configureGpuToNVVMTypeConverter(types);
  RewritePatternSet patterns(context);
  arith::populateArithToLLVMConversionPatterns(types, patterns);
  cf::populateControlFlowToLLVMConversionPatterns(types, patterns);
  populateFinalizeMemRefToLLVMConversionPatterns(types, patterns);
  populateVectorToLLVMConversionPatterns(types, patterns);
  ub::populateUBToLLVMConversionPatterns(types, patterns);
  populateGpuToNVVMConversionPatterns(types, patterns, /*benefit=*/10);
  LLVMConversionTarget target(*context);
  configureGpuToNVVMConversionLegality(target);
  return applyPartialConversion(kernels, target, std::move(patterns));
}

LogicalResult lower(ModuleOp module) {
  MLIRContext *context = module.getContext();
  gpu::GPUModuleOp kernels = *module.getOps<gpu::GPUModuleOp>().begin();
  PassManager first(context);
  OpPassManager &nested = first.nest<gpu::GPUModuleOp>();
  nested.addPass(memref::createExpandStridedMetadataPass());
  nested.addPass(createLowerAffinePass());
  nested.addPass(arith::createArithExpandOpsPass());
  nested.addPass(createConvertVectorToSCFPass());
  first.addPass(createConvertNVGPUToNVVMPass());
  first.addPass(createSCFToControlFlowPass());
  PassManager last(context);
  last.addPass(createConvertNVVMToLLVMPass());
  last.addPass(createCanonicalizerPass());
  last.addPass(createCSEPass());
  last.addPass(createReconcileUnrealizedCastsPass());
  if (failed(lowerPtxAndMath(kernels)) || failed(first.run(module)) ||
      failed(lowerVectorsAndIds(kernels)) || failed(convertToLlvm(kernels)))
    return failure();
  return last.run(module);
}

/// What upstream leaves open about shared memory. Without an alignment LLVM
/// would take that of an element, where 16 bytes are read at once. Dynamic
/// shared memory has a size that only the launch knows: as a definition of no
/// bytes, LLVM could take any access for one that never happens.
void settleSharedMemory(ModuleOp module) {
  constexpr unsigned shared =
      static_cast<unsigned>(NVVM::NVVMMemorySpace::Shared);
  module.walk([](LLVM::GlobalOp global) {
    if (global.getAddrSpace() != shared)
      return;
    if (global.getAlignment().value_or(0) < 16)
      global.setAlignment(16);
    auto type = dyn_cast<LLVM::LLVMArrayType>(global.getGlobalType());
    if (type && type.getNumElements() == 0)
      global.setLinkage(LLVM::Linkage::External);
  });
}

/// Ops that were left, one of each name with how many there are.
LogicalResult checkLowered(ModuleOp module) {
  llvm::MapVector<llvm::StringRef, SmallVector<Operation *>> left;
  module.walk([&](Operation *op) {
    if (isa<ModuleOp, gpu::GPUModuleOp>(op))
      return;
    if (auto call = dyn_cast<LLVM::CallOp>(op))
      left[call.getCallee().value_or("a pointer")].push_back(op);
    else if (!isa_and_present<LLVM::LLVMDialect, NVVM::NVVMDialect>(
                 op->getDialect()))
      left[op->getName().getStringRef()].push_back(op);
  });
  for (auto &[name, ops] : left) {
    // Casts stand around ops that were left.
    if (left.size() > 1 && isa<UnrealizedConversionCastOp>(ops.front()))
      continue;
    InFlightDiagnostic error = ops.front()->emitError();
    if (isa<LLVM::CallOp>(ops.front()))
      error << "expects a kernel that calls no library, got a call of '" << name
            << "'; use ops that PTX has instructions for";
    else
      error << "no PTX for '" << name << "' with these types and attributes";
    if (ops.size() > 1)
      error << " (and for " << ops.size() - 1 << " more)";
  }
  return success(left.empty());
}

} // namespace

LogicalResult checkInstructions(gpu::GPUModuleOp kernels,
                                const CudaTarget &target) {
  bool ok = true;
  kernels.walk([&](Operation *op) {
    std::optional<Requirement> requirement = requirementOf(op);
    if (!requirement || meets(target, *requirement))
      return;
    op->emitError("expects ")
        << (requirement->isExact ? "" : "at least ") << "sm_"
        << requirement->capability << (requirement->isExact ? "a" : "")
        << " for '" << op->getName() << "', got " << target.name;
    ok = false;
  });
  return success(ok);
}

FailureOr<OwningOpRef<ModuleOp>> lowerToNvvm(gpu::GPUModuleOp kernels) {
  OwningOpRef<ModuleOp> module = ModuleOp::create(kernels.getLoc());
  OpBuilder builder = OpBuilder::atBlockEnd(module->getBody());
  builder.clone(*kernels);
  if (failed(lower(*module)) || failed(checkLowered(*module)))
    return failure();
  settleSharedMemory(*module);
  return module;
}

} // namespace nibble::cuda
