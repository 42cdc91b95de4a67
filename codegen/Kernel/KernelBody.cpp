//===- KernelBody.cpp - What is in a qkernel.kernel -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/KernelBody.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/codegen/Kernel/Parts.h"

using namespace mlir;

namespace nibble::codegen {

//===----------------------------------------------------------------------===//
// Checks
//===----------------------------------------------------------------------===//

/// Whether elements of this type have code: floats, booleans, and integers that
/// fill bytes or divide them.
static bool isSupportedElement(Type type) {
  if (isa<FloatType>(type))
    return fromMlirType(type).has_value();
  auto integer = dyn_cast<IntegerType>(type);
  return integer && integer.getWidth() <= 64 &&
         llvm::isPowerOf2_32(integer.getWidth()) &&
         !integer.isUnsignedInteger(1);
}

static bool hasSupportedTypes(Operation *op) {
  auto supported = [](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return isa<NoneType>(type) ||
           (tensor && isSupportedElement(tensor.getElementType()));
  };
  return llvm::all_of(op->getOperandTypes(), supported) &&
         llvm::all_of(op->getResultTypes(), supported);
}

static bool hasRequiredOperands(Operation *op, const Lowering &lowering) {
  auto node = dyn_cast<onnx::NodeOp>(op);
  if (!node)
    return true;
  unsigned count = lowering.operands;
  return node.getInputs().size() >= count &&
         llvm::none_of(node.getInputs().take_front(count), [](Value operand) {
           return isa<NoneType>(operand.getType());
         });
}

bool hasLowering(Operation *op, const LoweringTable &lowerings) {
  const Lowering *lowering = lowerings.find(op);
  return isLeaf(op) || (lowering && hasRequiredOperands(op, *lowering) &&
                        hasSupportedTypes(op));
}

static LogicalResult checkOp(Operation *op, const LoweringTable &lowerings) {
  const Lowering *lowering = lowerings.find(op);
  const std::string &device = lowerings.device;
  if (!lowering) {
    InFlightDiagnostic error = op->emitError("no ") << device << " code for ";
    if (auto node = dyn_cast<onnx::NodeOp>(op))
      error << "ONNX operator '" << node.getOpType() << "'";
    else
      error << "'" << op->getName() << "'";
    return error << " yet";
  }
  if (!hasRequiredOperands(op, *lowering))
    return op->emitError("expects ")
           << lowering->operands << " operands, or more, that are not absent";
  if (!hasSupportedTypes(op))
    return op->emitError("no ")
           << device
           << " code for these element types: expects floats, booleans and "
              "integers of 2, 4, 8, 16, 32 or 64 bits";
  return success();
}

LogicalResult checkBody(qkernel::KernelOp kernel,
                        const LoweringTable &lowerings, DimsAnalysis &dims,
                        llvm::function_ref<bool(Operation *)> isKnown) {
  Block &body = kernel.getBody().front();
  bool ok = true;
  for (Operation &op : body) {
    auto constant = dyn_cast<onnx::ConstantOp>(op);
    if (constant && !isa<DenseElementsAttr>(constant.getValue())) {
      op.emitError("expects a dense literal in a kernel; larger constants are "
                   "weights");
      ok = false;
    }
    if (!isLeaf(&op) && !(isKnown && isKnown(&op)))
      ok &= succeeded(checkOp(&op, lowerings));
  }
  if (!ok || failed(dims.run(kernel)))
    return failure();
  for (Operation &op : body)
    for (Value result : op.getResults())
      if (isa<RankedTensorType>(result.getType()) && !dims.of(result).shape)
        return op.emitError("no ")
               << lowerings.device
               << " code for a result whose shape depends on data";
  return success();
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

LLVM::GlobalOp makeConstant(onnx::ConstantOp constant, llvm::StringRef name,
                            Region &region) {
  OpBuilder builder(region);
  auto type = cast<RankedTensorType>(constant.getType());
  auto dense = cast<DenseElementsAttr>(constant.getValue());
  Type element = type.getElementType();
  int64_t count = type.getNumElements();
  if (element.getIntOrFloatBitWidth() <= 8) {
    // Bytes as a tensor has them: one per boolean, several small elements in
    // one.
    FailureOr<Tensor> tensor = tensorFromLiteral(dense);
    if (failed(tensor))
      return nullptr;
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
  return LLVM::GlobalOp::create(builder, constant.getLoc(), array,
                                /*isConstant=*/true, LLVM::Linkage::Internal,
                                name, dense, /*alignment=*/64, /*addrSpace=*/0,
                                /*dsoLocal=*/true);
}

} // namespace nibble::codegen
