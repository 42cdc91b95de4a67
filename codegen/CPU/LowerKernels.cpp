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

#include "Parts.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/codegen/CPU/Kernels.h"
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

/// Whether elements of this type have code: floats, booleans, and integers that
/// fill bytes or divide them.
bool isSupportedElement(Type type) {
  if (isa<FloatType>(type))
    return fromMlirType(type).has_value();
  auto integer = dyn_cast<IntegerType>(type);
  return integer && integer.getWidth() <= 64 &&
         llvm::isPowerOf2_32(integer.getWidth()) &&
         !integer.isUnsignedInteger(1);
}

bool hasSupportedTypes(Operation *op) {
  auto supported = [](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return isa<NoneType>(type) ||
           (tensor && isSupportedElement(tensor.getElementType()));
  };
  return llvm::all_of(op->getOperandTypes(), supported) &&
         llvm::all_of(op->getResultTypes(), supported);
}

bool hasRequiredOperands(Operation *op) {
  auto node = dyn_cast<onnx::NodeOp>(op);
  if (!node)
    return true;
  unsigned count = findLowering(op)->operands;
  return node.getInputs().size() >= count &&
         llvm::none_of(node.getInputs().take_front(count), [](Value operand) {
           return isa<NoneType>(operand.getType());
         });
}

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
  LogicalResult check();
  void createFunctions();
  void emitBody(Kernel &kernel, DimExpr &tasks);
  Value constantAddress(Code &code, onnx::ConstantOp constant);

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

/// Collects what has no code: all of it, before anything is emitted.
LogicalResult KernelLowering::check() {
  bool ok = true;
  for (Operation &op : sourceBlock()) {
    auto constant = dyn_cast<onnx::ConstantOp>(op);
    if (constant && !isa<DenseElementsAttr>(constant.getValue())) {
      op.emitError("expects a dense literal in a kernel; larger constants are "
                   "weights");
      ok = false;
    }
    if (isLeaf(&op))
      continue;
    if (!findLowering(&op)) {
      InFlightDiagnostic error = op.emitError("no CPU code for ");
      if (auto node = dyn_cast<onnx::NodeOp>(op))
        error << "ONNX operator '" << node.getOpType() << "'";
      else
        error << "'" << op.getName() << "'";
      error << " yet";
      ok = false;
    } else if (!hasRequiredOperands(&op)) {
      op.emitError("expects ") << findLowering(&op)->operands
                               << " operands, or more, that are not absent";
      ok = false;
    } else if (!hasSupportedTypes(&op)) {
      op.emitError("no CPU code for these element types: expects floats, "
                   "booleans and integers of 2, 4, 8, 16, 32 or 64 bits");
      ok = false;
    }
  }
  return success(ok);
}

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
  Code code(builder, location, target);
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

Value KernelLowering::constantAddress(Code &code, onnx::ConstantOp constant) {
  std::string name =
      source.getSymName().str() + ".constant" + std::to_string(constants++);
  auto type = cast<RankedTensorType>(constant.getType());
  auto dense = cast<DenseElementsAttr>(constant.getValue());
  Type element = type.getElementType();
  int64_t count = type.getNumElements();
  if (element.getIntOrFloatBitWidth() <= 8) {
    // Bytes as a tensor has them: one per boolean, several small elements in
    // one.
    FailureOr<Tensor> tensor = tensorFromLiteral(dense);
    if (failed(tensor))
      return code.zero(code.i64());
    element = builder.getI8Type();
    count = static_cast<int64_t>(tensor->bytes().size());
    llvm::ArrayRef<char> bytes(
        reinterpret_cast<const char *>(tensor->bytes().data()), count);
    dense = DenseElementsAttr::getFromRawBuffer(
        RankedTensorType::get({count}, element), bytes);
  } else if (isa<IntegerType>(element)) {
    element = builder.getIntegerType(element.getIntOrFloatBitWidth());
    dense = cast<DenseElementsAttr>(DenseElementsAttr::get(
        type.clone(element), llvm::to_vector(dense.getValues<llvm::APInt>())));
  }
  Type array = LLVM::LLVMArrayType::get(element, count);
  dense = dense.reshape(RankedTensorType::get({count}, element));
  OpBuilder atStart(result.getBodyRegion());
  auto global = LLVM::GlobalOp::create(
      atStart, constant.getLoc(), array, /*isConstant=*/true,
      LLVM::Linkage::Internal, name, dense, /*alignment=*/64, /*addrSpace=*/0,
      /*dsoLocal=*/true);
  return LLVM::AddressOfOp::create(code.builder, code.location, global);
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
  std::vector<Part> parts = Part::of(sourceBlock());
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
  if (failed(check()) || failed(dims.run(source)))
    return failure();
  for (Operation &op : sourceBlock())
    for (Value result : op.getResults())
      if (isa<RankedTensorType>(result.getType()) && !dims.of(result).shape)
        return op.emitError("no CPU code for a result whose shape depends on "
                            "data");
  createFunctions();
  Kernel kernel(Code(builder, location, target), dims);
  kernel.constantAddress = [&](onnx::ConstantOp constant) {
    return constantAddress(kernel.code, constant);
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

bool hasCpuLowering(Operation *op) {
  return isLeaf(op) ||
         (findLowering(op) && hasRequiredOperands(op) && hasSupportedTypes(op));
}

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
