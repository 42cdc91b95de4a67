//===- QuantizedForms.cpp - The meaning of quantized forms ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The qmodel ops that quantization inserts: codes to values and back, 2:4
// sparse weights, factors per channel. The arithmetic is that of lib/Numerics.
//
//===----------------------------------------------------------------------===//

#include "Elementwise.h"

#include "nibble/Numerics/Activations.h"
#include "nibble/Numerics/RoundToNearest.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QModel/QModel.h"

namespace nibble::reference {

static Results dequantizeOp(const Call &call) {
  auto op = mlir::cast<qmodel::DequantizeOp>(call.op);
  auto values = call.take(nibble::dequantize(
      call[0], call[1], call.operand(2), static_cast<int64_t>(op.getGroup()),
      static_cast<int64_t>(op.getRows())));
  if (failed(values))
    return failure();
  auto type = mlir::cast<mlir::ShapedType>(op.getResult().getType());
  auto element = fromMlirType(type.getElementType());
  return Results(std::vector<Tensor>{
      cast(*values, element.value_or(ElementType::float32()))});
}

static Results quantizeOp(const Call &call) {
  auto op = mlir::cast<qmodel::QuantizeOp>(call.op);
  auto codes = call.take(quantizeWith(call[0], call[1], call.operand(2),
                                      qmodel::blockScheme(op.getScheme())));
  if (failed(codes))
    return failure();
  return Results(std::vector<Tensor>{*codes});
}

static Results dynamicQuantizeOp(const Call &call) {
  auto op = mlir::cast<qmodel::DynamicQuantizeOp>(call.op);
  auto quantized =
      call.take(dynamicQuantize(call[0], qmodel::blockScheme(op.getScheme())));
  if (failed(quantized))
    return failure();
  std::vector<Tensor> results{quantized->codes, quantized->scales};
  if (op.getZeros())
    results.push_back(quantized->zeros);
  return Results(std::move(results));
}

static Results decompress24(const Call &call) {
  const Tensor &values = call[0], &positions = call[1];
  Shape shape = values.shape();
  if (values.rank() != 2 || shape[1] % 2 || positions.shape() != shape)
    return call.error() << "expects values and positions [out, in / 2], got "
                        << describe(values) << " and " << describe(positions);
  shape[1] *= 2;
  auto result = call.allocate(values.type(), shape);
  if (failed(result))
    return failure();
  // Pairs follow each other across rows as within one.
  for (uint64_t i = 0; i < values.size(); i += 2) {
    int64_t first = positions.integerAt(i), second = positions.integerAt(i + 1);
    if (first < 0 || first >= second || second > 3)
      return call.error() << "expects positions of 0 to 3 in ascending order "
                             "in each four, got "
                          << first << " and " << second << " as pair " << i / 2;
    result->setNumberAt(2 * i + first, values.numberAt(i));
    result->setNumberAt(2 * i + second, values.numberAt(i + 1));
  }
  return Results(std::vector<Tensor>{*result});
}

static Results channelScale(const Call &call) {
  FailureOr<Tensor> result =
      multiply(call, call[0], cast(call[1], call[0].type()));
  if (failed(result))
    return failure();
  return Results(std::vector<Tensor>{*result});
}

void addQuantizedForms(OpTable &table) {
  table["qmodel.dequantize"] = dequantizeOp;
  table["qmodel.quantize"] = quantizeOp;
  table["qmodel.dynamic_quantize"] = dynamicQuantizeOp;
  table["qmodel.decompress_24"] = decompress24;
  table["qmodel.channel_scale"] = channelScale;
}

} // namespace nibble::reference
