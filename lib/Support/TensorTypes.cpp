//===- TensorTypes.cpp - MLIR types and literals as tensors ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Base/SmallFloat.h"
#include "nibble/Support/WeightStore.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;

namespace nibble {

Type toMlirType(MLIRContext *context, ElementType type) {
  switch (type.kind) {
  case ElementType::Kind::Bool:
    return IntegerType::get(context, 1);
  case ElementType::Kind::Signed:
    return IntegerType::get(context, type.bits);
  case ElementType::Kind::Unsigned:
    return IntegerType::get(context, type.bits, IntegerType::Unsigned);
  case ElementType::Kind::BFloat:
    return BFloat16Type::get(context);
  case ElementType::Kind::Float:
    if (type.bits == 16)
      return Float16Type::get(context);
    if (type.bits == 64)
      return Float64Type::get(context);
    return Float32Type::get(context);
  case ElementType::Kind::Float8E4M3FN:
    return Float8E4M3FNType::get(context);
  case ElementType::Kind::Float8E5M2:
    return Float8E5M2Type::get(context);
  case ElementType::Kind::Float8E4M3FNUZ:
    return Float8E4M3FNUZType::get(context);
  case ElementType::Kind::Float8E5M2FNUZ:
    return Float8E5M2FNUZType::get(context);
  case ElementType::Kind::Float8E8M0FNU:
    return Float8E8M0FNUType::get(context);
  case ElementType::Kind::Float4E2M1FN:
    return Float4E2M1FNType::get(context);
  }
  return {};
}

std::optional<ElementType> fromMlirType(Type type) {
  if (type.isF32())
    return ElementType::float32();
  if (type.isF64())
    return ElementType::float64();
  if (type.isF16())
    return ElementType::float16();
  if (type.isBF16())
    return ElementType::bfloat16();
  if (auto real = dyn_cast<FloatType>(type)) {
    for (const SmallFloat &format : SmallFloat::all())
      if (toMlirType(type.getContext(), format.type) == type)
        return format.type;
    return std::nullopt;
  }
  auto integer = dyn_cast<IntegerType>(type);
  if (!integer || integer.getWidth() == 0 || integer.getWidth() > 64)
    return std::nullopt;
  if (integer.isUnsigned())
    return ElementType::unsignedInt(integer.getWidth());
  if (integer.isSignless() && integer.getWidth() == 1)
    return ElementType::boolean();
  return ElementType::signedInt(integer.getWidth());
}

RankedTensorType tensorTypeOf(MLIRContext *context, const Tensor &tensor) {
  return RankedTensorType::get(tensor.shape(),
                               toMlirType(context, tensor.type()));
}

FailureOr<Tensor> tensorFromLiteral(Attribute literal) {
  auto elements = dyn_cast_or_null<DenseElementsAttr>(literal);
  if (!elements)
    return failure();
  std::optional<ElementType> type = fromMlirType(elements.getElementType());
  if (!type)
    return failure();
  // A literal of one repeated value may stand for any number of elements.
  Expected<Tensor> allocated =
      Tensor::tryAllocate(*type, elements.getType().getShape().vec());
  if (!allocated)
    return emitError(UnknownLoc::get(literal.getContext()))
           << allocated.status().message();
  Tensor tensor = allocated.take();
  uint64_t index = 0;
  if (type->isFloat()) {
    // Bit patterns are copied, so that NaN payloads and -0.0 survive.
    for (const APFloat &value : elements.getValues<APFloat>())
      tensor.setBitsAt(index++, value.bitcastToAPInt().getZExtValue());
    return tensor;
  }
  bool isUnsigned = type->kind != ElementType::Kind::Signed;
  for (const APInt &value : elements.getValues<APInt>())
    tensor.setIntegerAt(index++,
                        isUnsigned ? static_cast<int64_t>(value.getZExtValue())
                                   : value.getSExtValue());
  return tensor;
}

DenseElementsAttr literalFromTensor(MLIRContext *context,
                                    const Tensor &tensor) {
  RankedTensorType type = tensorTypeOf(context, tensor);
  uint64_t count = tensor.size();
  if (tensor.type().isFloat()) {
    SmallVector<APFloat> values;
    values.reserve(count);
    auto floatType = cast<FloatType>(type.getElementType());
    for (uint64_t i = 0; i < count; ++i)
      values.emplace_back(floatType.getFloatSemantics(),
                          APInt(floatType.getWidth(), tensor.bitsAt(i)));
    return DenseElementsAttr::get(type, values);
  }
  unsigned width = type.getElementTypeBitWidth();
  SmallVector<APInt> values;
  values.reserve(count);
  for (uint64_t i = 0; i < count; ++i)
    values.emplace_back(width, static_cast<uint64_t>(tensor.integerAt(i)),
                        /*isSigned=*/false, /*implicitTrunc=*/true);
  return DenseElementsAttr::get(type, values);
}

} // namespace nibble
