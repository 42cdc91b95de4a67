//===- EmulateGpu.cpp - The GPU emulator as a pass ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Runs kernels on arrays from a file; changes nothing in the module.
//
//===----------------------------------------------------------------------===//

#include "nibble/Emulator/Emulator.h"
#include "nibble/Emulator/Passes.h"

#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace nibble {
#define GEN_PASS_DEF_EMULATEGPU
#include "nibble/Emulator/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;

namespace {
class EmulateGpu : public nibble::impl::EmulateGpuBase<EmulateGpu> {
public:
  using nibble::impl::EmulateGpuBase<EmulateGpu>::EmulateGpuBase;

  // What affine ops are lowered to.
  void getDependentDialects(DialectRegistry &registry) const override {
    registry.insert<cf::ControlFlowDialect, memref::MemRefDialect,
                    scf::SCFDialect, vector::VectorDialect>();
  }

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
    markAllAnalysesPreserved();
  }

private:
  LogicalResult run() {
    ModuleOp module = getOperation();
    NamedTensors arrays;
    if (!inputs.empty()) {
      Expected<NamedTensors> read = readNpz(inputs);
      if (!read)
        return emitError(module.getLoc(), read.status().message());
      arrays = read.take();
    }
    FailureOr<NamedTensors> results = emulateGpu(module, entry, arrays);
    if (failed(results))
      return failure();
    if (outputs.empty())
      return success();
    if (Status status = writeNpz(outputs, *results); !status.isOk())
      return emitError(module.getLoc(), status.message());
    return success();
  }
};
} // namespace
