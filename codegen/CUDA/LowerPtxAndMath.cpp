//===- LowerPtxAndMath.cpp - What upstream lowers not at all, or to calls -===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Upstream lowers math to calls of libdevice, which is a file of the CUDA
// Toolkit. PTX has instructions for what rounds exactly (floor, sqrt, fma), and
// for 2^x; other functions are the polynomials of codegen/Kernel/Math.h, so
// that their results are those of the CPU.
//
//===----------------------------------------------------------------------===//

#include "LowerToNvvm.h"

#include "nibble/codegen/Kernel/Math.h"
#include "nibble/dialects/Ptx/Ptx.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/NVGPU/IR/NVGPUDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace nibble::cuda {

namespace {

//===----------------------------------------------------------------------===//
// Products and inline assembly
//===----------------------------------------------------------------------===//

Value assembly(OpBuilder &builder, Location location, Type result,
               ValueRange operands, const std::string &text,
               const std::string &constraints, bool hasSideEffects) {
  return LLVM::InlineAsmOp::create(
             builder, location, result, operands, text, constraints,
             hasSideEffects, /*is_align_stack=*/false,
             LLVM::tailcallkind::TailCallKind::None,
             LLVM::AsmDialectAttr::get(builder.getContext(),
                                       LLVM::AsmDialect::AD_ATT),
             /*operand_attrs=*/ArrayAttr())
      .getResult(0);
}

/// Without side effects, so that LLVM moves it and finds equal ones.
void lowerLop3(ptx::Lop3Op op) {
  OpBuilder builder(op);
  std::string constraints = "=r";
  for (Value operand : op->getOperands())
    constraints += matchPattern(operand, m_Constant()) ? ",n" : ",r";
  Value result = assembly(builder, op.getLoc(), op.getType(), op->getOperands(),
                          "lop3.b32 $0, $1, $2, $3, " +
                              std::to_string(op.getTable()) + ";",
                          constraints, false);
  op.getResult().replaceAllUsesWith(result);
  op.erase();
}

/// "{$first, ..., $last}"
std::string registers(unsigned first, unsigned count) {
  std::string text;
  for (unsigned i = 0; i < count; ++i)
    text += (i ? ", $" : "{$") + std::to_string(first + i);
  return text + "}";
}

/// Pairs of halves (a fragment of A or B) as the registers that hold them.
SmallVector<Value> pairs(OpBuilder &builder, Location location,
                         Value fragment) {
  SmallVector<Value> result;
  for (int64_t i = 0; i < cast<VectorType>(fragment.getType()).getDimSize(0);
       ++i)
    result.push_back(LLVM::BitcastOp::create(
        builder, location, builder.getI32Type(),
        vector::ExtractOp::create(builder, location, fragment,
                                  ArrayRef<int64_t>{i})));
  return result;
}

/// Position of element `i` of a vector of several dimensions.
SmallVector<int64_t> positionOf(VectorType type, int64_t i) {
  SmallVector<int64_t> position(type.getRank());
  for (int64_t d = type.getRank() - 1; d >= 0; i /= type.getDimSize(d--))
    position[d] = i % type.getDimSize(d);
  return position;
}

/// The elements of an accumulator.
SmallVector<Value> elementsOf(OpBuilder &builder, Location location,
                              Value vector) {
  auto type = cast<VectorType>(vector.getType());
  SmallVector<Value> result;
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    result.push_back(vector::ExtractOp::create(builder, location, vector,
                                               positionOf(type, i)));
  return result;
}

/// What a product returns; `packed` makes a vector of it again.
Type structOf(OpBuilder &builder, VectorType type) {
  return LLVM::LLVMStructType::getLiteral(
      builder.getContext(),
      SmallVector<Type>(type.getNumElements(), type.getElementType()));
}

Value packed(OpBuilder &builder, Location location, Value elements,
             VectorType type) {
  Value result =
      arith::ConstantOp::create(builder, location, builder.getZeroAttr(type));
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    result = vector::InsertOp::create(
        builder, location,
        LLVM::ExtractValueOp::create(builder, location, elements,
                                     ArrayRef<int64_t>{i}),
        result, positionOf(type, i));
  return result;
}

/// The accumulator goes in and out in the same registers. Products are ordered
/// among each other and with the fences around them.
void lowerWgmma(ptx::WgmmaOp op) {
  OpBuilder builder(op);
  Location location = op.getLoc();
  auto type = cast<VectorType>(op.getResult().getType());
  auto sums = static_cast<unsigned>(type.getNumElements());
  SmallVector<Value> operands = pairs(builder, location, op.getA());
  operands.push_back(op.getB());
  operands.append(elementsOf(builder, location, op.getAccumulator()));

  bool isBf16 = getElementTypeOrSelf(op.getA().getType()).isBF16();
  std::string element = isBf16 ? "bf16" : "f16";
  std::string text =
      "wgmma.mma_async.sync.aligned.m64n" + std::to_string(2 * sums) +
      "k16.f32." + element + "." + element + " " + registers(0, sums) + ", " +
      registers(sums, 4) + ", $" + std::to_string(sums + 4) + ", 1, 1, 1, 0;";
  std::string constraints;
  for (unsigned i = 0; i < sums; ++i)
    constraints += "=f,";
  constraints += "r,r,r,r,l";
  for (unsigned i = 0; i < sums; ++i)
    constraints += "," + std::to_string(i);
  constraints += ",~{memory}";
  Value result = assembly(builder, location, structOf(builder, type), operands,
                          text, constraints, true);
  op.getResult().replaceAllUsesWith(packed(builder, location, result, type));
  op.erase();
}

/// Products of bfloat16, which upstream's lowering of nvgpu does not know.
void lowerBfloatProduct(nvgpu::MmaSyncOp op) {
  OpBuilder builder(op);
  Location location = op.getLoc();
  auto type = cast<VectorType>(op.getRes().getType());
  SmallVector<int64_t> shape;
  for (Attribute size : op.getMmaShape())
    shape.push_back(cast<IntegerAttr>(size).getInt());
  constexpr auto bf16 = NVVM::MMATypes::bf16;
  Value result = NVVM::MmaOp::create(
      builder, location, structOf(builder, type),
      pairs(builder, location, op.getMatrixA()),
      pairs(builder, location, op.getMatrixB()),
      elementsOf(builder, location, op.getMatrixC()), shape, std::nullopt,
      std::nullopt, std::array{bf16, bf16},
      std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  op.getRes().replaceAllUsesWith(packed(builder, location, result, type));
  op.erase();
}

bool isBfloatProduct(nvgpu::MmaSyncOp op) {
  return getElementTypeOrSelf(op.getMatrixA().getType()).isBF16();
}

//===----------------------------------------------------------------------===//
// Mathematical functions
//===----------------------------------------------------------------------===//

/// The intrinsic of LLVM that becomes an instruction of PTX; null if there is
/// none. Those that also take whether 0 is undefined have a flag.
struct Intrinsic {
  const char *name;
  bool hasFlag = false;
};

Intrinsic intrinsicOf(Operation *op) {
  return llvm::TypeSwitch<Operation *, Intrinsic>(op)
      .Case([](math::AbsFOp) { return Intrinsic{"llvm.fabs"}; })
      .Case([](math::AbsIOp) { return Intrinsic{"llvm.abs", true}; })
      .Case([](math::CeilOp) { return Intrinsic{"llvm.ceil"}; })
      .Case([](math::FloorOp) { return Intrinsic{"llvm.floor"}; })
      .Case([](math::TruncOp) { return Intrinsic{"llvm.trunc"}; })
      .Case([](math::RoundEvenOp) { return Intrinsic{"llvm.roundeven"}; })
      .Case([](math::SqrtOp) { return Intrinsic{"llvm.sqrt"}; })
      .Case([](math::FmaOp) { return Intrinsic{"llvm.fma"}; })
      .Case([](math::CopySignOp) { return Intrinsic{"llvm.copysign"}; })
      .Case([](math::CtPopOp) { return Intrinsic{"llvm.ctpop"}; })
      .Case([](math::CountLeadingZerosOp) {
        return Intrinsic{"llvm.ctlz", true};
      })
      .Case([](math::CountTrailingZerosOp) {
        return Intrinsic{"llvm.cttz", true};
      })
      .Default([](Operation *) { return Intrinsic{nullptr}; });
}

/// ex2.approx: 2 ulp, and subnormal results are kept.
Value exp2(codegen::Code &code, Value x) {
  auto call = [&](Value scalar) {
    return LLVM::CallIntrinsicOp::create(
               code.builder, code.location, code.f32(),
               code.builder.getStringAttr("llvm.nvvm.ex2.approx.f32"), scalar)
        .getResult(0);
  };
  auto type = dyn_cast<VectorType>(x.getType());
  if (!type)
    return call(x);
  Value result = code.zero(type);
  for (int64_t i = 0; i < type.getNumElements(); ++i)
    result = code.insert(result, call(code.extract(x, i)), i);
  return result;
}

/// The function of float32 or float64 that `op` is; null if it is none of those
/// that are known.
Value functionOf(Operation *op, codegen::Code &code, ValueRange x) {
  bool isDouble = getElementTypeOrSelf(x.front().getType()).isF64();
  auto times = [&](Value value, double factor) {
    return code.mul(value, code.real(value.getType(), factor));
  };
  return llvm::TypeSwitch<Operation *, Value>(op)
      .Case([&](math::ExpOp) { return codegen::exp(code, x[0]); })
      .Case([&](math::ExpM1Op) { return codegen::expm1(code, x[0]); })
      .Case([&](math::Exp2Op) {
        return isDouble ? codegen::exp(code, times(x[0], M_LN2))
                        : exp2(code, x[0]);
      })
      .Case([&](math::LogOp) { return codegen::log(code, x[0]); })
      .Case([&](math::Log2Op) {
        return times(codegen::log(code, x[0]), M_LOG2E);
      })
      .Case([&](math::SinOp) { return codegen::sin(code, x[0]); })
      .Case([&](math::CosOp) { return codegen::cos(code, x[0]); })
      .Case([&](math::RsqrtOp) {
        return code.divide(code.real(x[0].getType(), 1), code.sqrt(x[0]));
      })
      .Case([&](math::TanhOp) { return codegen::tanh(code, x[0]); })
      .Case([&](math::ErfOp) { return codegen::erf(code, x[0]); })
      .Case([&](math::PowFOp) { return codegen::pow(code, x[0], x[1]); })
      .Default([](Operation *) { return Value(); });
}

/// Functions of half precision are computed in float32.
LogicalResult expandFunction(Operation *op) {
  auto function = op->getParentOfType<FunctionOpInterface>();
  // Code keeps in mind where the entry block is.
  OpBuilder builder(op->getContext());
  builder.setInsertionPointToStart(&function.getFunctionBody().front());
  codegen::Code code(builder, op->getLoc());
  builder.setInsertionPoint(op);
  Type element = getElementTypeOrSelf(op->getResult(0).getType());
  bool isNarrow = element.getIntOrFloatBitWidth() < 32;
  SmallVector<Value> operands;
  for (Value operand : op->getOperands())
    operands.push_back(isNarrow ? code.resizeFloat(operand, code.f32())
                                : operand);
  Value result = functionOf(op, code, operands);
  if (!result)
    return op->emitError("no PTX for '")
           << op->getName()
           << "'; use what the page on emulating GPU kernels lists";
  if (isNarrow)
    result = code.resizeFloat(result, element);
  op->getResult(0).replaceAllUsesWith(result);
  op->erase();
  return success();
}

void lowerToIntrinsic(Operation *op, Intrinsic intrinsic) {
  OpBuilder builder(op);
  SmallVector<Value> operands(op->getOperands());
  if (intrinsic.hasFlag)
    operands.push_back(LLVM::ConstantOp::create(builder, op->getLoc(),
                                                builder.getI1Type(),
                                                builder.getBoolAttr(false)));
  op->replaceAllUsesWith(LLVM::CallIntrinsicOp::create(
      builder, op->getLoc(), op->getResult(0).getType(),
      builder.getStringAttr(intrinsic.name), operands));
  op->erase();
}

SmallVector<Operation *> mathOps(gpu::GPUModuleOp kernels) {
  SmallVector<Operation *> ops;
  kernels.walk([&](Operation *op) {
    if (isa_and_present<math::MathDialect>(op->getDialect()))
      ops.push_back(op);
  });
  return ops;
}

/// Polynomials bring ops that have intrinsics, so those come last.
LogicalResult lowerMath(gpu::GPUModuleOp kernels) {
  bool ok = true;
  for (Operation *op : mathOps(kernels)) {
    Type type = op->getResult(0).getType();
    auto vector = dyn_cast<VectorType>(type);
    if (vector && vector.getRank() != 1) {
      op->emitError("no PTX for '")
          << op->getName() << "' of " << type
          << "; expects numbers, or vectors of one dimension of them";
      ok = false;
    } else if (!intrinsicOf(op).name) {
      ok &= succeeded(expandFunction(op));
    }
  }
  if (!ok)
    return failure();
  for (Operation *op : mathOps(kernels))
    lowerToIntrinsic(op, intrinsicOf(op));
  return success();
}

} // namespace

LogicalResult lowerPtxAndMath(gpu::GPUModuleOp kernels) {
  kernels.walk([](Operation *op) {
    if (auto lop3 = dyn_cast<ptx::Lop3Op>(op))
      lowerLop3(lop3);
    else if (auto wgmma = dyn_cast<ptx::WgmmaOp>(op))
      lowerWgmma(wgmma);
    else if (auto product = dyn_cast<nvgpu::MmaSyncOp>(op);
             product && isBfloatProduct(product))
      lowerBfloatProduct(product);
  });
  return lowerMath(kernels);
}

} // namespace nibble::cuda
