//===- Quantization.cpp - Quantization operators of ONNX ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, and MatMulNBits of
// ONNX Runtime. Ties are rounded to even, as ONNX has it.
//
//===----------------------------------------------------------------------===//

#include "Conversions.h"
#include "Elementwise.h"
#include "Products.h"

#include "nibble/Support/WeightStore.h"

#include <cmath>

namespace nibble::reference {

/// How elements of x [outer, size, inner] share scales: one for all, one per
/// element of the axis, or one per block of it.
struct ScaleSpace {
  int64_t size = 1, inner = 1, block = 0, groups = 1;

  uint64_t scaleOf(uint64_t element) const {
    if (block == 0)
      return 0;
    uint64_t along = element / inner % size, outer = element / (inner * size);
    return (outer * groups + along / block) * inner + element % inner;
  }
  /// Per axis: scales do not depend on what is around the axis.
  uint64_t axisScaleOf(uint64_t element) const {
    return element / inner % size;
  }
  bool perAxis = false;
  uint64_t operator()(uint64_t element) const {
    return perAxis ? axisScaleOf(element) : scaleOf(element);
  }
};

static FailureOr<ScaleSpace> scaleSpace(const NodeCall &call, const Tensor &x,
                                        const Tensor &scale) {
  ScaleSpace space;
  if (const Tensor *zero = call.operand(2);
      zero && zero->size() != scale.size())
    return call.error() << "expects as many zero points as scales, got "
                        << describe(*zero) << " and " << describe(scale);
  if (scale.size() == 1 && scale.rank() <= 1)
    return space;
  FailureOr<int64_t> axis = call.axis(call.intAttribute("axis", 1), x.rank());
  if (failed(axis))
    return failure();
  space.size = x.shape()[*axis];
  space.inner = productOf(x.shape(), *axis + 1);
  if (scale.rank() == 1) {
    space.perAxis = true;
    if (scale.shape()[0] == space.size)
      return space;
  } else {
    space.block = call.intAttribute("block_size", 0);
    if (space.block > 0) {
      space.groups = (space.size + space.block - 1) / space.block;
      Shape expected = x.shape();
      expected[*axis] = space.groups;
      if (scale.shape() == expected)
        return space;
    }
  }
  return call.error() << "expects one scale, one per element of dimension "
                      << *axis << " of " << describe(x)
                      << ", or one per block of 'block_size', got "
                      << describe(scale);
}

static Results dequantize(const NodeCall &call) {
  const Tensor &x = call[0], &scale = call[1];
  const Tensor *zero = call.operand(2);
  FailureOr<ScaleSpace> space = scaleSpace(call, x, scale);
  if (failed(space))
    return failure();
  bool isFloat = x.type().isSmallFloat();
  if ((!x.type().isInteger() && !isFloat) || !scale.type().isFloat() ||
      (zero && zero->type() != x.type()))
    return call.error() << "expects codes, zero points of their type and "
                           "float scales, got "
                        << describe(x) << " and " << describe(scale);
  Tensor factors = cast(scale, ElementType::float32());
  FailureOr<Tensor> result = call.allocate(ElementType::float32(), x.shape());
  if (failed(result))
    return failure();
  std::span<float> target = result->asMutable<float>();
  for (uint64_t i = 0; i < x.size(); ++i) {
    uint64_t at = (*space)(i);
    float code;
    if (isFloat)
      code =
          static_cast<float>(x.numberAt(i) - (zero ? zero->numberAt(at) : 0));
    else
      code =
          static_cast<float>(x.integerAt(i) - (zero ? zero->integerAt(at) : 0));
    target[i] = code * factors.as<float>()[at];
  }
  auto declared =
      mlir::dyn_cast<mlir::ShapedType>(call.op->getResult(0).getType());
  auto type = declared ? fromMlirType(declared.getElementType()) : std::nullopt;
  return std::vector<Tensor>{
      cast(*result, type && type->isFloat() ? *type : scale.type())};
}

/// Smallest and largest integer of a type of up to 32 bits.
static std::pair<double, double> rangeOf(ElementType type) {
  bool isSigned = type.kind == ElementType::Kind::Signed;
  double half = std::ldexp(1.0, type.bits - 1);
  return isSigned ? std::pair(-half, half - 1) : std::pair(0.0, 2 * half - 1);
}

static Results quantize(const NodeCall &call) {
  const Tensor &x = call[0], &scale = call[1];
  const Tensor *zero = call.operand(2);
  FailureOr<ScaleSpace> space = scaleSpace(call, x, scale);
  if (failed(space))
    return failure();
  auto declared =
      mlir::dyn_cast<mlir::ShapedType>(call.op->getResult(0).getType());
  auto type = declared ? fromMlirType(declared.getElementType()) : std::nullopt;
  const SmallFloat *format = type ? SmallFloat::of(*type) : nullptr;
  if (!type || (!type->isInteger() && !format) || !scale.type().isFloat() ||
      (zero && zero->type() != *type))
    return call.error() << "expects a result of the type of the zero points, "
                           "and float scales";
  Tensor values = cast(x, ElementType::float32()),
         factors = cast(scale, ElementType::float32());
  FailureOr<Tensor> result = call.allocate(*type, x.shape());
  if (failed(result))
    return failure();
  if (format) {
    std::span<float> quotients = values.asMutable<float>();
    for (uint64_t i = 0; i < x.size(); ++i) {
      uint64_t at = (*space)(i);
      quotients[i] = quotients[i] / factors.as<float>()[at] +
                     static_cast<float>(zero ? zero->numberAt(at) : 0);
    }
    return std::vector<Tensor>{castToSmallFloat(
        values, *format, call.intAttribute("saturate", 1), "nearest")};
  }
  auto [low, high] = rangeOf(*type);
  for (uint64_t i = 0; i < x.size(); ++i) {
    uint64_t at = (*space)(i);
    double code =
        std::nearbyint(values.as<float>()[i] / factors.as<float>()[at]);
    code += zero ? static_cast<double>(zero->integerAt(at)) : 0;
    code = std::isnan(code) ? 0 : std::clamp(code, low, high);
    result->setIntegerAt(i, static_cast<int64_t>(code));
  }
  return std::vector<Tensor>{*result};
}

/// uint8 codes over the range of the whole tensor, widened to contain 0.
static Results dynamicQuantize(const NodeCall &call) {
  Tensor x = cast(call[0], ElementType::float32());
  float low = 0, high = 0;
  for (float value : x.as<float>()) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  float scale = (high - low) / 255;
  if (scale == 0)
    scale = 1;
  float zero = std::clamp(std::nearbyint((0 - low) / scale), 0.0f, 255.0f);
  Tensor codes = Tensor::allocate(ElementType::unsignedInt(8), x.shape());
  std::span<uint8_t> target = codes.asMutable<uint8_t>();
  std::span<const float> source = x.as<float>();
  for (size_t i = 0; i < source.size(); ++i) {
    float code = std::nearbyint(source[i] / scale) + zero;
    target[i] = std::isnan(code)
                    ? 0
                    : static_cast<uint8_t>(std::clamp(code, 0.0f, 255.0f));
  }
  Tensor scaleTensor = Tensor::allocate(ElementType::float32(), {});
  scaleTensor.setNumberAt(0, scale);
  Tensor zeroTensor = Tensor::allocate(ElementType::unsignedInt(8), {});
  zeroTensor.setNumberAt(0, zero);
  return std::vector<Tensor>{codes, scaleTensor, zeroTensor};
}

//===----------------------------------------------------------------------===//
// MatMulNBits
//===----------------------------------------------------------------------===//

/// Code `i` of `bits` bits in a row of packed bytes, the low bits first.
static int64_t packedCode(const Tensor &bytes, uint64_t row, uint64_t rowBytes,
                          uint64_t i, int64_t bits) {
  uint64_t bit = i * bits;
  int64_t byte = bytes.integerAt(row * rowBytes + bit / 8);
  return byte >> bit % 8 & ((1 << bits) - 1);
}

/// x W^T with W [N, K] in blocks of codes of a row, each with a scale and a
/// zero point (the middle of the range if there are none).
static Results matmulNBits(const NodeCall &call) {
  int64_t n = call.intAttribute("N", 0), k = call.intAttribute("K", 0),
          bits = call.intAttribute("bits", 4),
          block = call.intAttribute("block_size", 0);
  if (n <= 0 || k <= 0 || block < 16 || (bits != 2 && bits != 4 && bits != 8))
    return call.error() << "expects N, K, a block_size of at least 16 and 2, 4 "
                           "or 8 bits";
  if (call.operand(4))
    return call.error() << "has no reference with group indices";
  int64_t groups = (k + block - 1) / block, blockBytes = block * bits / 8,
          zeroBytes = (groups * bits + 7) / 8;
  const Tensor &codes = call[1], &scales = call[2];
  const Tensor *zeros = call.operand(3);
  bool packedZeros = zeros && zeros->type() == ElementType::unsignedInt(8);
  uint64_t zeroCount = packedZeros ? n * zeroBytes : n * groups;
  if (codes.type() != ElementType::unsignedInt(8) ||
      codes.size() != static_cast<uint64_t>(n * groups * blockBytes) ||
      scales.size() != static_cast<uint64_t>(n * groups) ||
      (zeros && zeros->size() != zeroCount))
    return call.error() << "expects codes, scales and zero points for " << n
                        << " rows of " << groups << " blocks, got "
                        << describe(codes) << " and " << describe(scales);
  FailureOr<Tensor> weight = call.allocate(ElementType::float32(), {n, k});
  if (failed(weight))
    return failure();
  std::span<float> target = weight->asMutable<float>();
  for (int64_t row = 0; row < n; ++row)
    for (int64_t i = 0; i < k; ++i) {
      int64_t g = i / block;
      double zero = double(int64_t(1) << (bits - 1));
      if (packedZeros)
        zero = packedCode(*zeros, row, zeroBytes, g, bits);
      else if (zeros)
        zero = zeros->numberAt(row * groups + g);
      double code =
          packedCode(codes, row * groups + g, blockBytes, i % block, bits);
      target[row * k + i] =
          static_cast<float>(code - zero) *
          static_cast<float>(scales.numberAt(row * groups + g));
    }
  Tensor x = cast(call[0], ElementType::float32());
  Tensor bias;
  if (call.operand(5))
    bias = cast(call[5], ElementType::float32());
  FailureOr<Tensor> y =
      linear(call, x, *weight, call.operand(5) ? &bias : nullptr);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{cast(*y, call[0].type())};
}

void addQuantizationNodes(NodeTable &table) {
  for (const char *domain : {"", "com.microsoft."}) {
    table[std::string(domain) + "QuantizeLinear"] = {quantize, 2};
    table[std::string(domain) + "DequantizeLinear"] = {dequantize, 2};
  }
  table["DynamicQuantizeLinear"] = {dynamicQuantize, 1};
  table["com.microsoft.MatMulNBits"] = {matmulNBits, 3};
}

} // namespace nibble::reference
