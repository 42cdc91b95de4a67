//===- CompileModule.cpp - GPU functions to PTX and cubins ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The module is lowered once; all targets have the same LLVM IR.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/CUDA/CompileModule.h"

#include "LowerToNvvm.h"
#include "Ptxas.h"

#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/GPU/GPUToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"

using namespace mlir;
using namespace nibble::cuda;

namespace nibble {

namespace {

/// LLVM IR of `kernels`, checked for all targets.
std::unique_ptr<llvm::Module>
translate(gpu::GPUModuleOp kernels, llvm::ArrayRef<const CudaTarget *> targets,
          llvm::LLVMContext &context) {
  for (const CudaTarget *target : targets)
    if (failed(checkInstructions(kernels, *target)))
      return nullptr;
  FailureOr<OwningOpRef<ModuleOp>> lowered = lowerToNvvm(kernels);
  if (failed(lowered))
    return nullptr;
  MLIRContext *mlirContext = kernels.getContext();
  registerBuiltinDialectTranslation(*mlirContext);
  registerGPUDialectTranslation(*mlirContext);
  registerLLVMDialectTranslation(*mlirContext);
  registerNVVMDialectTranslation(*mlirContext);
  gpu::GPUModuleOp module = *(*lowered)->getOps<gpu::GPUModuleOp>().begin();
  return translateModuleToLLVMIR(module, context, kernels.getName());
}

/// The image of one target while it is being made.
class ImageCompilation {
public:
  ImageCompilation(Location location, const CudaTarget &target,
                   llvm::StringRef helper, llvm::StringRef ptxas)
      : target(target), backEnd(location, helper, target.name) {
    image.target = target.name;
    image.isPtx = target.isVirtual || ptxas.empty();
    if (!image.isPtx)
      assembler.emplace(location, ptxas, target);
  }

  LogicalResult makePtx(const llvm::Module &module) {
    return backEnd.start(module);
  }
  LogicalResult assemble();
  FailureOr<CudaCodeImage> finish();

private:
  const CudaTarget &target;
  CudaCodeImage image;
  BackEndRun backEnd;
  std::optional<PtxasRun> assembler;
};

/// Waits for the PTX, and starts ptxas on it if it is to run.
LogicalResult ImageCompilation::assemble() {
  FailureOr<std::string> ptx = backEnd.wait();
  if (failed(ptx))
    return failure();
  if (assembler)
    return assembler->start(*ptx);
  auto data = reinterpret_cast<const std::byte *>(ptx->data());
  image.bytes.assign(data, data + ptx->size());
  return success();
}

FailureOr<CudaCodeImage> ImageCompilation::finish() {
  if (assembler && failed(assembler->wait(image)))
    return failure();
  return std::move(image);
}

FailureOr<SmallVector<const CudaTarget *>>
findTargets(Location location, llvm::ArrayRef<std::string> names) {
  SmallVector<const CudaTarget *> targets;
  for (const std::string &name : names) {
    targets.push_back(findCudaTarget(name));
    if (!targets.back())
      return emitError(location)
             << "expects a CUDA target, one of " << cudaTargetNames()
             << "; got '" << name << "'";
  }
  return targets;
}

void warnOfPtx(Location location, llvm::ArrayRef<const CudaTarget *> targets) {
  std::string names;
  for (const CudaTarget *target : targets)
    if (!target->isVirtual)
      names += (names.empty() ? "" : ", ") + target->name;
  if (!names.empty())
    emitWarning(location)
        << "found no ptxas: code for " << names
        << " is PTX, which drivers compile whenever they load it; install the "
           "CUDA Toolkit, or set CUDA_HOME to where it is";
}

} // namespace

FailureOr<std::vector<CudaCodeImage>>
compileGpuModule(gpu::GPUModuleOp kernels, llvm::ArrayRef<std::string> names,
                 llvm::StringRef helper, llvm::StringRef ptxas) {
  Location location = kernels.getLoc();
  auto targets = findTargets(location, names);
  if (failed(targets))
    return failure();
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module = translate(kernels, *targets, context);
  if (!module)
    return failure();
  if (ptxas.empty())
    warnOfPtx(location, *targets);
  std::vector<std::unique_ptr<ImageCompilation>> compilations;
  for (const CudaTarget *target : *targets) {
    compilations.push_back(
        std::make_unique<ImageCompilation>(location, *target, helper, ptxas));
    if (failed(compilations.back()->makePtx(*module)))
      return failure();
  }
  for (const auto &compilation : compilations)
    if (failed(compilation->assemble()))
      return failure();
  std::vector<CudaCodeImage> images;
  for (const auto &compilation : compilations) {
    FailureOr<CudaCodeImage> image = compilation->finish();
    if (failed(image))
      return failure();
    images.push_back(std::move(*image));
  }
  return images;
}

FailureOr<std::string> printPtx(gpu::GPUModuleOp kernels,
                                const CudaTarget &target,
                                llvm::StringRef helper) {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module = translate(kernels, &target, context);
  if (!module)
    return failure();
  BackEndRun run(kernels.getLoc(), helper, target.name);
  if (failed(run.start(*module)))
    return failure();
  return run.wait();
}

} // namespace nibble
