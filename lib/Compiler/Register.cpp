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
#include "nibble/codegen/CUDA/Passes.h"
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
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/Passes.h"

using namespace nibble;

void nibble::registerAllDialects(mlir::DialectRegistry &registry) {
  registry.insert<mlir::func::FuncDialect, mlir::arith::ArithDialect,
                  onnx::OnnxDialect, qmodel::QModelDialect,
                  qkernel::QKernelDialect, ptx::PtxDialect>();
  // What GPU kernels are written in.
  registry.insert<mlir::gpu::GPUDialect, mlir::LLVM::LLVMDialect,
                  mlir::NVVM::NVVMDialect, mlir::cf::ControlFlowDialect,
                  mlir::math::MathDialect, mlir::memref::MemRefDialect,
                  mlir::nvgpu::NVGPUDialect, mlir::scf::SCFDialect,
                  mlir::vector::VectorDialect>();
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
  registerNibbleCodegenCUDAPasses();
  registerNibbleVerifyPasses();
  registerNibbleCompilerPasses();
  registerPipelines();
  mlir::registerTransformsPasses();
}
