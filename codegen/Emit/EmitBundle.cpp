//===- EmitBundle.cpp - A lowered module to a deployable file -------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Programs, kernels and weights become the index of the bundle
// (IndexBuilder.h); codegen/CPU and codegen/CUDA make the code; weights are
// read one at a time while the file is written.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Emit/EmitBundle.h"

#include "IndexBuilder.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QKernel/Launches.h"

using namespace mlir;
using namespace nibble;
using nibble::qmodel::WeightOp;

/// Compiles the kernels of the GPU, if there are any.
static FailureOr<std::vector<CudaCodeImage>>
compileCuda(const EmitOptions &options, ModuleOp module) {
  if (!module)
    return std::vector<CudaCodeImage>();
  auto kernels = module.lookupSymbol<gpu::GPUModuleOp>(qkernel::gpuModuleName);
  if (!kernels)
    return module.emitError("expects GPU kernels, got none");
  return compileGpuModule(kernels, options.cudaTargets, options.helper,
                          findPtxas());
}

FailureOr<EmitReport> nibble::emitBundle(const EmitModules &modules,
                                         const EmitOptions &options) {
  ModuleOp module = modules.processor ? modules.processor : modules.cuda;
  IndexBuilder builder;
  BundleContents contents;
  CompiledKernels compiled;
  if (modules.processor) {
    FailureOr<CompiledKernels> made =
        compileKernels(modules.processor, options.targets, options.helper);
    if (failed(made))
      return failure();
    compiled = std::move(*made);
    if (failed(builder.addProcessor(modules.processor, compiled.kernels)))
      return failure();
  }
  FailureOr<std::vector<CudaCodeImage>> cuda =
      compileCuda(options, modules.cuda);
  if (failed(cuda) || (modules.cuda && failed(builder.addCuda(modules.cuda))))
    return failure();

  contents.index = builder.take();
  for (CodeImage &image : compiled.images) {
    CodeVariant variant;
    variant.target = image.target;
    for (const KernelEntry &kernel : contents.index.kernels)
      variant.kernelOffsets.push_back(image.offsets.at(kernel.name));
    contents.index.variants.push_back(std::move(variant));
    contents.images.push_back(std::move(image.bytes));
  }
  EmitReport report;
  for (CudaCodeImage &image : *cuda) {
    nibble::CudaImage &entry = contents.index.cuda->images.emplace_back();
    entry.target = image.target;
    entry.isPtx = image.isPtx;
    contents.cudaImages.push_back(std::move(image.bytes));
    report.cuda.push_back({image.target, image.isPtx,
                           contents.cudaImages.back().size(),
                           std::move(image.functions)});
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
  return report;
}
