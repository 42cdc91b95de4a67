//===- LowerKernels.cpp - qkernel.kernel to the LLVM dialect --------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every kernel becomes two functions: `name.body(buffers..., scalars..., begin,
// end)`, whose pointer parameters are `noalias`, and `name`, which has the
// signature of Target/KernelAbi.h and reads them from the two arrays. Only as
// parameters can LLVM know that buffers do not overlap.
//
// The parts of a kernel (Parts.h) share one range of tasks: first those of the
// first part, then those of the second, and so on.
//
//===----------------------------------------------------------------------===//

#include "Lowerings.h"

#include "nibble/codegen/CPU/Kernels.h"
#include "nibble/codegen/Kernel/KernelBody.h"
#include "nibble/codegen/Kernel/Parts.h"
#include "nibble/dialects/QKernel/QKernel.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

namespace nibble {

namespace {

using namespace cpu;

/// Lowers one kernel into `result`.
class KernelLowering {
public:
  KernelLowering(qkernel::KernelOp kernel, ModuleOp result,
                 const CpuTarget &target)
      : source(kernel), result(result), target(target),
        builder(OpBuilder::atBlockEnd(result.getBody())),
        location(kernel.getLoc()) {}

  LogicalResult run(KernelSignature &signature);

private:
  void createFunctions();
  void emitBody(Kernel &kernel, DimExpr &tasks);

  Block &sourceBlock() { return source.getBody().front(); }

  qkernel::KernelOp source;
  ModuleOp result;
  const CpuTarget &target;
  OpBuilder builder;
  Location location;
  DimsAnalysis dims;
  LLVM::LLVMFuncOp body;
  unsigned constants = 0;
};

/// Both functions with their parameters; `builder` ends in the body.
void KernelLowering::createFunctions() {
  MLIRContext *context = builder.getContext();
  Type pointer = LLVM::LLVMPointerType::get(context);
  Type i64 = builder.getI64Type();
  Type none = LLVM::LLVMVoidType::get(context);
  size_t arguments = sourceBlock().getNumArguments();
  size_t buffers = arguments + sourceBlock().getTerminator()->getNumOperands();
  size_t scalars = source.getScalars().size();

  llvm::SmallVector<Type> bodyTypes(buffers, pointer);
  bodyTypes.append(scalars + 2, i64);
  std::string name = source.getSymName().str();
  body = LLVM::LLVMFuncOp::create(builder, location, name + ".body",
                                  LLVM::LLVMFunctionType::get(none, bodyTypes),
                                  LLVM::Linkage::Internal,
                                  /*dsoLocal=*/true);
  // Inlining would turn the noalias parameters into weaker metadata.
  body.setPassthroughAttr(builder.getStrArrayAttr({"noinline", "nounwind"}));
  for (size_t i = 0; i < buffers; ++i) {
    body.setArgAttr(i, LLVM::LLVMDialect::getNoAliasAttrName(),
                    builder.getUnitAttr());
    if (i < arguments)
      body.setArgAttr(i, LLVM::LLVMDialect::getReadonlyAttrName(),
                      builder.getUnitAttr());
  }

  auto entry = LLVM::LLVMFuncOp::create(
      builder, location, name,
      LLVM::LLVMFunctionType::get(none, {pointer, pointer, i64, i64}),
      LLVM::Linkage::External, /*dsoLocal=*/true);
  entry.setPassthroughAttr(builder.getStrArrayAttr({"nounwind"}));
  builder.setInsertionPointToStart(entry.addEntryBlock(builder));
  Code code(builder, location, &target);
  Values operands;
  for (size_t i = 0; i < buffers; ++i)
    operands.push_back(code.load(pointer, entry.getArgument(0), code.index(i)));
  for (size_t i = 0; i < scalars; ++i)
    operands.push_back(code.load(i64, entry.getArgument(1), code.index(i)));
  operands.append({entry.getArgument(2), entry.getArgument(3)});
  LLVM::CallOp::create(builder, location, body, operands);
  LLVM::ReturnOp::create(builder, location, ValueRange());
  builder.setInsertionPointToStart(body.addEntryBlock(builder));
}

void KernelLowering::emitBody(Kernel &kernel, DimExpr &tasks) {
  Code &code = kernel.code;
  size_t parameter = 0;
  for (BlockArgument argument : sourceBlock().getArguments())
    kernel.buffers[argument] = body.getArgument(parameter++);
  auto yielded = sourceBlock().getTerminator()->getOperands();
  size_t output = parameter;
  parameter += yielded.size();
  for (Attribute name : source.getScalars())
    kernel.scalars[cast<StringAttr>(name).getValue()] =
        body.getArgument(parameter++);
  Value begin = body.getArgument(parameter);
  Value end = body.getArgument(parameter + 1);

  for (Value result : yielded)
    kernel.outputs[result] = body.getArgument(output++);
  std::vector<Part> parts = Part::of(sourceBlock(), cpuLowerings());
  for (const Part &part : parts) {
    Value first = kernel.evaluate(tasks);
    tasks = tasks + part.tasks(kernel);
    Value from = begin, to = end;
    if (parts.size() > 1) {
      from = code.maximum(begin, first);
      to = code.minimum(end, kernel.evaluate(tasks));
    }
    code.loop(from, to, 1, [&](Value position) {
      part.emit(kernel, code.sub(position, first));
    });
  }
  LLVM::ReturnOp::create(builder, location, ValueRange());
}

LogicalResult KernelLowering::run(KernelSignature &signature) {
  if (failed(checkBody(source, cpuLowerings(), dims)))
    return failure();
  createFunctions();
  Kernel kernel(Code(builder, location, &target), dims, cpuLowerings());
  kernel.constantAddress = [&](onnx::ConstantOp constant) -> Value {
    std::string name =
        source.getSymName().str() + ".constant" + std::to_string(constants++);
    auto global = makeConstant(constant, name, result.getBodyRegion());
    if (!global)
      return kernel.unsupported(constant, "a literal without bytes");
    return LLVM::AddressOfOp::create(builder, location, global);
  };
  DimExpr tasks(0);
  emitBody(kernel, tasks);
  signature.name = source.getSymName().str();
  signature.buffers = sourceBlock().getNumArguments() +
                      sourceBlock().getTerminator()->getNumOperands();
  for (Attribute name : source.getScalars())
    signature.scalars.push_back(cast<StringAttr>(name).str());
  signature.tasks = tasks;
  return failure(kernel.failed);
}

LogicalResult convertToLlvm(ModuleOp module) {
  PassManager passes(module.getContext());
  passes.addPass(createCSEPass());
  passes.addPass(createSCFToControlFlowPass());
  passes.addPass(createConvertMathToLLVMPass());
  passes.addPass(createArithToLLVMConversionPass());
  passes.addPass(createConvertControlFlowToLLVMPass());
  passes.addPass(createReconcileUnrealizedCastsPass());
  return passes.run(module);
}

} // namespace

const LoweringTable &cpu::cpuLowerings() {
  static const LoweringTable table = [] {
    LoweringTable result("CPU");
    addLowerings(result);
    addAttentionLowerings(result);
    addPackedLinearLowerings(result);
    addIntegerLinearLowerings(result);
    return result;
  }();
  return table;
}

bool hasCpuLowering(Operation *op) { return hasLowering(op, cpuLowerings()); }

FailureOr<LoweredKernels> lowerKernels(ModuleOp module,
                                       const CpuTarget &target) {
  module.getContext()
      ->loadDialect<arith::ArithDialect, cf::ControlFlowDialect,
                    LLVM::LLVMDialect, math::MathDialect, scf::SCFDialect>();
  LoweredKernels lowered;
  lowered.target = target;
  lowered.module = ModuleOp::create(module.getLoc());
  bool ok = true;
  for (auto kernel : module.getOps<qkernel::KernelOp>()) {
    KernelSignature signature;
    ok &= succeeded(
        KernelLowering(kernel, *lowered.module, lowered.target).run(signature));
    lowered.kernels.push_back(std::move(signature));
  }
  if (!ok || failed(convertToLlvm(*lowered.module)))
    return failure();
  return lowered;
}

} // namespace nibble
