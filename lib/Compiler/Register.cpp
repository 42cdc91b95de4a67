//===- Register.cpp - Everything that a driver needs to know --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Compiler/Register.h"

#include "nibble/Compiler/Passes.h"
#include "nibble/Compiler/Pipelines.h"
#include "nibble/Emulator/Passes.h"
#include "nibble/Reference/Passes.h"
#include "nibble/Verify/Passes.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/Ptx/Ptx.h"
#include "nibble/dialects/QKernel/QKernel.h"
#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Calibrate/Passes.h"
#include "nibble/passes/Frontend/Passes.h"
#include "nibble/passes/Lower/Passes.h"
#include "nibble/passes/Pack/Passes.h"
#include "nibble/passes/Plan/Passes.h"
#include "nibble/passes/Quantize/Passes.h"
#include "nibble/passes/Smooth/Passes.h"
#include "nibble/passes/Sparsify/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Transforms/Passes.h"

using namespace nibble;

void nibble::registerAllDialects(mlir::DialectRegistry &registry) {
  registry.insert<mlir::func::FuncDialect, mlir::arith::ArithDialect,
                  onnx::OnnxDialect, qmodel::QModelDialect,
                  qkernel::QKernelDialect, ptx::PtxDialect>();
}

void nibble::registerAllPasses() {
  frontend::registerFrontendPasses();
  registerNibblePlanPasses();
  registerNibbleCalibratePasses();
  registerNibbleSparsifyPasses();
  registerNibbleSmoothPasses();
  registerNibbleQuantizePasses();
  registerNibblePackPasses();
  registerNibbleLowerPasses();
  registerNibbleReferencePasses();
  registerNibbleEmulatorPasses();
  registerNibbleVerifyPasses();
  registerNibbleCompilerPasses();
  registerPipelines();
  mlir::registerTransformsPasses();
}
