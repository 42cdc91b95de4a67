//===- Code.cpp - Writing kernels as if they were C++ ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Constants, arithmetic and conversions. Each function creates one or two ops.
// Index arithmetic on constants is folded here, because emitters look at
// constants to choose code (constantIndex).
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Code.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace nibble::codegen {

//===----------------------------------------------------------------------===//
// Types and constants
//===----------------------------------------------------------------------===//

Type Code::pointer() {
  return LLVM::LLVMPointerType::get(builder.getContext());
}

Type Code::vector(Type element, int64_t count) {
  return count == 1 ? element : Type(VectorType::get({count}, element));
}

Type Code::sameShape(Type type, Type element) {
  if (auto vectorType = dyn_cast<VectorType>(type))
    return vectorType.clone(element);
  return element;
}

Value Code::integer(Type type, int64_t value) {
  Type element = getElementTypeOrSelf(type);
  APInt bits(64, static_cast<uint64_t>(value), true);
  TypedAttr attribute = builder.getIntegerAttr(
      element, bits.sextOrTrunc(element.getIntOrFloatBitWidth()));
  if (auto vectorType = dyn_cast<VectorType>(type))
    attribute = DenseElementsAttr::get(vectorType, Attribute(attribute));
  return arith::ConstantOp::create(builder, location, attribute);
}

Value Code::real(Type type, double value) {
  TypedAttr attribute = builder.getFloatAttr(getElementTypeOrSelf(type), value);
  if (auto vectorType = dyn_cast<VectorType>(type))
    attribute = DenseElementsAttr::get(vectorType, Attribute(attribute));
  return arith::ConstantOp::create(builder, location, attribute);
}

Value Code::zero(Type type) {
  return isa<FloatType>(getElementTypeOrSelf(type)) ? real(type, 0)
                                                    : integer(type, 0);
}

std::optional<int64_t> Code::constantIndex(Value value) {
  APInt constant;
  if (isa<IntegerType>(value.getType()) &&
      matchPattern(value, m_ConstantInt(&constant)))
    return constant.getSExtValue();
  return std::nullopt;
}

bool Code::isFloat(Value value) {
  return isa<FloatType>(getElementTypeOrSelf(value.getType()));
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

Value Code::add(Value a, Value b) {
  if (isFloat(a))
    return arith::AddFOp::create(builder, location, a, b);
  std::optional<int64_t> x = constantIndex(a), y = constantIndex(b);
  if (x && y)
    return integer(a.getType(), *x + *y);
  if (x == 0)
    return b;
  if (y == 0)
    return a;
  return arith::AddIOp::create(builder, location, a, b);
}

Value Code::sub(Value a, Value b) {
  if (isFloat(a))
    return arith::SubFOp::create(builder, location, a, b);
  std::optional<int64_t> x = constantIndex(a), y = constantIndex(b);
  if (x && y)
    return integer(a.getType(), *x - *y);
  return y == 0 ? a : arith::SubIOp::create(builder, location, a, b);
}

Value Code::mul(Value a, Value b) {
  if (isFloat(a))
    return arith::MulFOp::create(builder, location, a, b);
  std::optional<int64_t> x = constantIndex(a), y = constantIndex(b);
  if (x && y)
    return integer(a.getType(), *x * *y);
  if (x == 1 || y == 0)
    return b;
  if (y == 1 || x == 0)
    return a;
  return arith::MulIOp::create(builder, location, a, b);
}

Value Code::fma(Value a, Value b, Value c) {
  return math::FmaOp::create(builder, location, a, b, c);
}

Value Code::negate(Value a) {
  if (isFloat(a))
    return arith::NegFOp::create(builder, location, a);
  return sub(zero(a.getType()), a);
}

Value Code::divide(Value a, Value b, bool isUnsigned) {
  if (isFloat(a))
    return arith::DivFOp::create(builder, location, a, b);
  if (constantIndex(b) == 1)
    return a;
  if (isUnsigned)
    return arith::DivUIOp::create(builder, location, a, b);
  return arith::DivSIOp::create(builder, location, a, b);
}

Value Code::remainder(Value a, Value b, bool isUnsigned) {
  if (constantIndex(b) == 1)
    return zero(a.getType());
  if (isUnsigned)
    return arith::RemUIOp::create(builder, location, a, b);
  return arith::RemSIOp::create(builder, location, a, b);
}

Value Code::floorDivide(Value a, Value b) {
  Value quotient = divide(a, b);
  Value rest = sub(a, mul(quotient, b));
  Value none = zero(a.getType());
  Value signsDiffer = compare(Compare::lt, bitXor(a, b), none);
  Value adjust = bitAnd(compare(Compare::ne, rest, none), signsDiffer);
  return select(adjust, sub(quotient, integer(a.getType(), 1)), quotient);
}

Value Code::floorModulo(Value a, Value b) {
  return sub(a, mul(floorDivide(a, b), b));
}

Value Code::minimum(Value a, Value b, bool isUnsigned) {
  if (isFloat(a)) {
    // Keeps a NaN of either side, in two instructions that vectorize anywhere.
    Value smaller = select(compare(Compare::lt, b, a), b, a);
    return select(compare(Compare::ne, b, b), b, smaller);
  }
  return select(compare(Compare::lt, a, b, isUnsigned), a, b);
}

Value Code::maximum(Value a, Value b, bool isUnsigned) {
  if (isFloat(a)) {
    Value larger = select(compare(Compare::gt, b, a), b, a);
    return select(compare(Compare::ne, b, b), b, larger);
  }
  return select(compare(Compare::gt, a, b, isUnsigned), a, b);
}

Value Code::bitAnd(Value a, Value b) {
  return arith::AndIOp::create(builder, location, a, b);
}
Value Code::bitOr(Value a, Value b) {
  return arith::OrIOp::create(builder, location, a, b);
}
Value Code::bitXor(Value a, Value b) {
  return arith::XOrIOp::create(builder, location, a, b);
}
Value Code::shiftLeft(Value a, Value b) {
  return arith::ShLIOp::create(builder, location, a, b);
}
Value Code::shiftRight(Value a, Value b) {
  return arith::ShRUIOp::create(builder, location, a, b);
}

Value Code::compare(Compare kind, Value a, Value b, bool isUnsigned) {
  if (isFloat(a)) {
    using P = arith::CmpFPredicate;
    static constexpr P predicates[] = {P::OEQ, P::UNE, P::OLT,
                                       P::OLE, P::OGT, P::OGE};
    return arith::CmpFOp::create(builder, location,
                                 predicates[static_cast<int>(kind)], a, b);
  }
  using P = arith::CmpIPredicate;
  static constexpr P forSigned[] = {P::eq,  P::ne,  P::slt,
                                    P::sle, P::sgt, P::sge};
  static constexpr P forUnsigned[] = {P::eq,  P::ne,  P::ult,
                                      P::ule, P::ugt, P::uge};
  return arith::CmpIOp::create(
      builder, location,
      (isUnsigned ? forUnsigned : forSigned)[static_cast<int>(kind)], a, b);
}

Value Code::select(Value condition, Value a, Value b) {
  return arith::SelectOp::create(builder, location, condition, a, b);
}
Value Code::sqrt(Value a) { return math::SqrtOp::create(builder, location, a); }
Value Code::floor(Value a) {
  return math::FloorOp::create(builder, location, a);
}
Value Code::ceil(Value a) { return math::CeilOp::create(builder, location, a); }
Value Code::roundEven(Value a) {
  return math::RoundEvenOp::create(builder, location, a);
}
Value Code::absolute(Value a) {
  if (isFloat(a))
    return math::AbsFOp::create(builder, location, a);
  Value none = zero(a.getType());
  return select(compare(Compare::lt, a, none), sub(none, a), a);
}
Value Code::copySign(Value magnitude, Value sign) {
  return math::CopySignOp::create(builder, location, magnitude, sign);
}

//===----------------------------------------------------------------------===//
// Conversions
//===----------------------------------------------------------------------===//

Value Code::bitcast(Value value, Type type) {
  return arith::BitcastOp::create(builder, location,
                                  sameShape(value.getType(), type), value);
}

Value Code::toFloat(Value value, Type type, bool isUnsigned) {
  type = sameShape(value.getType(), type);
  if (isUnsigned)
    return arith::UIToFPOp::create(builder, location, type, value);
  return arith::SIToFPOp::create(builder, location, type, value);
}

Value Code::toInteger(Value value, Type type, bool isUnsigned) {
  type = sameShape(value.getType(), type);
  if (isUnsigned)
    return arith::FPToUIOp::create(builder, location, type, value);
  return arith::FPToSIOp::create(builder, location, type, value);
}

Value Code::resizeFloat(Value value, Type type) {
  unsigned from = getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth();
  unsigned to = type.getIntOrFloatBitWidth();
  if (from == to)
    return value;
  type = sameShape(value.getType(), type);
  if (from < to)
    return arith::ExtFOp::create(builder, location, type, value);
  return arith::TruncFOp::create(builder, location, type, value);
}

Value Code::resizeInteger(Value value, Type type, bool isUnsigned) {
  unsigned from = getElementTypeOrSelf(value.getType()).getIntOrFloatBitWidth();
  unsigned to = type.getIntOrFloatBitWidth();
  if (from == to)
    return value;
  type = sameShape(value.getType(), type);
  if (from > to)
    return arith::TruncIOp::create(builder, location, type, value);
  if (isUnsigned)
    return arith::ExtUIOp::create(builder, location, type, value);
  return arith::ExtSIOp::create(builder, location, type, value);
}

} // namespace nibble::codegen
