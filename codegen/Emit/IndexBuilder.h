//===- IndexBuilder.h - Lowered modules as a bundle's index -----*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   IndexBuilder builder;
//   if (failed(builder.addProcessor(module, signatures)) ||
//       failed(builder.addCuda(otherModule)))
//     return failure();
//   BundleIndex index = builder.take();
//
// Both modules are one model, lowered for two kinds of device: entry points,
// dimensions, states and layers are the same. Expressions were verified with
// the IR.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_EMIT_INDEXBUILDER_H
#define NIBBLE_CODEGEN_EMIT_INDEXBUILDER_H

#include "nibble/Bundle/Bundle.h"
#include "nibble/codegen/CPU/Kernels.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "llvm/ADT/StringMap.h"

namespace nibble {

class IndexBuilder {
public:
  /// Programs of the processor; first, if there are any.
  llvm::LogicalResult addProcessor(mlir::ModuleOp module,
                                   llvm::ArrayRef<KernelSignature> kernels);
  /// Programs of a GPU, from a module that went through lowerToGpu.
  llvm::LogicalResult addCuda(mlir::ModuleOp module);
  BundleIndex take();

  /// In the order of the index, of either module.
  std::vector<qmodel::WeightOp> weights;

private:
  /// What steps need to know of a kernel.
  struct KernelUse {
    uint32_t index = 0, buffers = 0;
    std::vector<std::string> scalars;
    DimExpr tasks = 1; ///< over the scalars
  };
  /// Symbols of one module, as numbers of the index.
  struct Symbols {
    mlir::ModuleOp module;
    llvm::StringMap<KernelUse> kernels;
    llvm::StringMap<uint32_t> weights;
  };

  llvm::LogicalResult addSymbols(Symbols &symbols);
  llvm::LogicalResult addDims(mlir::ModuleOp module);
  void addWeight(qmodel::WeightOp weight, Symbols &symbols);
  void addState(qkernel::StateOp state);
  void addLayers(mlir::ModuleOp module);
  void addDecoder(mlir::ModuleOp module);
  mlir::FailureOr<EntryPoint> interfaceOf(qkernel::ProgramOp program);
  llvm::LogicalResult fillProgram(qkernel::ProgramOp op, const Symbols &symbols,
                                  Program &program);
  mlir::FailureOr<Step> makeStep(qkernel::StepOp op, const Symbols &symbols);

  BundleIndex index;
  llvm::StringMap<uint32_t> dimIndex, stateIndex;
};

} // namespace nibble

#endif // NIBBLE_CODEGEN_EMIT_INDEXBUILDER_H
