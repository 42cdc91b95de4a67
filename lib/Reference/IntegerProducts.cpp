//===- IntegerProducts.cpp - Products of quantized matrices ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// MatMulInteger and QLinearMatMul.
//
//===----------------------------------------------------------------------===//

#include "Elementwise.h"
#include "Products.h"

#include <algorithm>
#include <cmath>

namespace nibble::reference {

/// A scale or zero point of the rows of a matrix as a column, of its columns as
/// it is.
static Tensor broadcastable(const Tensor &given, const Tensor &matrix,
                            bool perRow) {
  if (given.size() == 1)
    return given.reshaped({});
  if (perRow && given.rank() == 1 && matrix.rank() > 1)
    return given.reshaped({static_cast<int64_t>(given.size()), 1});
  return given;
}

/// A matrix and its zero points (null: 0), per row or per column.
struct Codes {
  const Tensor &matrix;
  const Tensor *zero;
  bool perRow;
};

/// Codes as 64-bit integers with the zero points taken off.
static FailureOr<Tensor> withoutZero(const Call &call, const Codes &codes) {
  const Tensor &matrix = codes.matrix;
  if (!matrix.type().isInteger())
    return call.error() << "expects integers, got " << describe(matrix);
  Tensor wide = cast(matrix, ElementType::signedInt(64));
  if (!codes.zero)
    return wide;
  Tensor negated = cast(broadcastable(*codes.zero, matrix, codes.perRow),
                        ElementType::signedInt(64))
                       .clone();
  for (int64_t &value : negated.asMutable<int64_t>())
    value = -value;
  FailureOr<Tensor> shifted = add(call, wide, negated);
  if (failed(shifted))
    return failure();
  if (shifted->shape() != matrix.shape())
    return call.error() << "expects a zero point per row or column of "
                        << describe(matrix) << ", got "
                        << describe(*codes.zero);
  return shifted;
}

static FailureOr<Tensor> product(const Call &call, const Codes &a,
                                 const Codes &b) {
  FailureOr<Tensor> left = withoutZero(call, a), right = withoutZero(call, b);
  if (failed(left) || failed(right))
    return failure();
  return matmul(call, *left, *right);
}

static Results matmulInteger(const NodeCall &call) {
  FailureOr<Tensor> sum = product(call, {call[0], call.operand(2), true},
                                  {call[1], call.operand(3), false});
  if (failed(sum))
    return failure();
  return std::vector<Tensor>{cast(*sum, ElementType::signedInt(32))};
}

/// Operands: a, its scale, its zero point, b and its, those of the result. The
/// sum times both scales, in float32, is divided by the result's scale.
static Results quantizedMatmul(const NodeCall &call) {
  const Tensor &a = call[0], &b = call[3], &zero = call[7];
  if (!zero.type().isInteger() || call[6].size() != zero.size())
    return call.error() << "expects integers and as many zero points as scales "
                           "of the result, got "
                        << describe(zero) << " and " << describe(call[6]);
  FailureOr<Tensor> sum =
      product(call, {a, call.operand(2), true}, {b, call.operand(5), false});
  if (failed(sum))
    return failure();
  ElementType real = ElementType::float32();
  Shape shape = sum->shape();
  FailureOr<Tensor> scaled = cast(*sum, real);
  scaled = multiply(call, *scaled, cast(broadcastable(call[1], a, true), real));
  if (failed(scaled))
    return failure();
  scaled =
      multiply(call, *scaled, cast(broadcastable(call[4], b, false), real));
  if (failed(scaled))
    return failure();
  if (scaled->shape() != shape)
    return call.error() << "expects scales per row of a and per column of b";
  Tensor scale = broadcastable(call[6], *scaled, true),
         offset = broadcastable(zero, *scaled, true);
  auto common = broadcastShapes(scale.shape(), shape);
  if (!common || *common != shape)
    return call.error() << "expects a scale per row of the result, got "
                        << describe(call[6]);
  Tensor result = Tensor::allocate(zero.type(), shape);
  Shape steps = broadcastStrides(scale.shape(), shape);
  uint64_t next = 0;
  IndexSpace<1>(shape, {steps})
      .forEachRun({0}, [&](auto at, auto step, int64_t count) {
        for (int64_t i = 0; i < count; ++i, ++next) {
          uint64_t where = at[0] + i * step[0];
          float quotient = scaled->as<float>()[next] /
                           static_cast<float>(scale.numberAt(where));
          // Saturates to the type of the codes.
          result.setNumberAt(next,
                             std::nearbyint(quotient) + offset.numberAt(where));
        }
      });
  return std::vector<Tensor>{result};
}

void addIntegerProductNodes(NodeTable &table) {
  table["MatMulInteger"] = {matmulInteger, 2};
  table["QLinearMatMul"] = {quantizedMatmul, 8};
}

} // namespace nibble::reference
