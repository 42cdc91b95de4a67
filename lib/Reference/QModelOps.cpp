//===- QModelOps.cpp - The meaning of qmodel ops --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each function is the pseudo-code of the op's description in QModel.td.
// Also onnx.constant and onnx.none, which are not nodes.
//
//===----------------------------------------------------------------------===//

#include "Attention.h"
#include "Elementwise.h"
#include "Indexing.h"
#include "Normalization.h"
#include "Products.h"

#include "nibble/Numerics/RoundToNearest.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QModel/QModel.h"

namespace nibble::reference {

static Results single(FailureOr<Tensor> tensor) {
  if (failed(tensor))
    return failure();
  return std::vector<Tensor>{std::move(*tensor)};
}

static Results constant(const Call &call) {
  auto op = mlir::cast<onnx::ConstantOp>(call.op);
  FailureOr<Tensor> tensor = tensorFromLiteral(op.getValueAttr());
  if (failed(tensor))
    return call.error() << "expects a dense literal";
  return single(tensor);
}

static Results none(const Call &) { return std::vector<Tensor>(1); }

static Results load(const Call &call) {
  return single(qmodel::loadTensor(mlir::cast<qmodel::LoadOp>(call.op)));
}

static Results dimTensor(const Call &call) {
  auto op = mlir::cast<qmodel::DimTensorOp>(call.op);
  auto type = mlir::cast<mlir::RankedTensorType>(op.getResult().getType());
  auto element = fromMlirType(type.getElementType());
  if (!element || !type.hasStaticShape())
    return call.error() << "expects a static tensor of integers";
  Tensor result = Tensor::allocate(*element, type.getShape().vec());
  if (op.getValues().size() != result.size())
    return call.error() << "expects " << result.size() << " expressions, got "
                        << op.getValues().size();
  for (auto [i, value] : llvm::enumerate(op.getValues())) {
    auto text = mlir::cast<mlir::StringAttr>(value).getValue();
    auto expression = call.take(DimExpr::parse(text.str()));
    if (failed(expression))
      return failure();
    auto number = call.take(evaluateDim(*expression, call.dims));
    if (failed(number))
      return failure();
    result.setIntegerAt(i, *number);
  }
  return single(result);
}

static Results linearOp(const Call &call) {
  return single(linear(call, call[0], call[1], call.operand(2)));
}

static Results embedding(const Call &call) {
  if (call[0].rank() != 2)
    return call.error() << "expects a table [entries, width], got "
                        << describe(call[0]);
  return single(gather(call, call[0], call[1], 0));
}

static Results norm(const Call &call, const Tensor *bias, double epsilon,
                    bool centered) {
  if (call[0].rank() < 1)
    return call.error() << "expects rows, got " << describe(call[0]);
  auto rows = normalizeRows(call, call[0], call[0].rank() - 1, &call[1], bias,
                            epsilon, centered);
  if (failed(rows))
    return failure();
  return single(rows->result);
}

static Results rmsNorm(const Call &call) {
  auto op = mlir::cast<qmodel::RmsNormOp>(call.op);
  return norm(call, nullptr, op.getEpsilon().convertToDouble(), false);
}

static Results layerNorm(const Call &call) {
  auto op = mlir::cast<qmodel::LayerNormOp>(call.op);
  return norm(call, call.operand(2), op.getEpsilon().convertToDouble(), true);
}

static Results rope(const Call &call) {
  auto op = mlir::cast<qmodel::RopeOp>(call.op);
  return single(rotateHeads(call, call[0], call[1], call[2],
                            op.getInterleaved(), /*halfTables=*/false));
}

static Results attention(const Call &call) {
  auto op = mlir::cast<qmodel::AttentionOp>(call.op);
  const Tensor &q = call[0], &k = call[1];
  size_t next = 3;
  const Tensor *keyMask = op.getKeyMask() ? call.operand(next++) : nullptr;
  AttentionRule rule;
  rule.bias = op.getBias() ? call.operand(next) : nullptr;
  rule.scale = op.getScale().convertToDouble();
  rule.maskValue = op.getMaskValue().convertToDouble();
  if (q.rank() != 4 || k.rank() != 4)
    return call.error() << "expects operands of rank 4, got " << describe(q)
                        << " and " << describe(k);
  int64_t total = k.shape()[2], offset = total - q.shape()[2];
  if (keyMask && (keyMask->shape() != Shape{q.shape()[0], total} ||
                  keyMask->type() != ElementType::boolean()))
    return call.error() << "expects a boolean key mask [batch, total], got "
                        << describe(*keyMask);
  bool causal = op.getCausal();
  const uint8_t *visible = keyMask ? keyMask->as<uint8_t>().data() : nullptr;
  if (causal || visible)
    rule.hidden = [=](int64_t batch, int64_t i, int64_t j) {
      return (causal && j > i + offset) ||
             (visible && !visible[batch * total + j]);
    };
  return single(attend(call, q, k, call[2], rule));
}

static Tensor activate(const Tensor &x, qmodel::ActivationKind kind) {
  return mapFloat(x, [kind](auto v) {
    using T = decltype(v);
    switch (kind) {
    case qmodel::ActivationKind::Silu:
      return silu(v);
    case qmodel::ActivationKind::Gelu:
      return geluErf(v);
    case qmodel::ActivationKind::GeluTanh:
      return geluTanh(v);
    case qmodel::ActivationKind::GeluQuick:
      return geluQuick(v);
    case qmodel::ActivationKind::Relu:
      return v < T(0) ? T(0) : v;
    }
    return v;
  });
}

static Results activation(const Call &call) {
  auto op = mlir::cast<qmodel::ActivationOp>(call.op);
  return single(activate(call[0], op.getKind()));
}

static Results gatedActivation(const Call &call) {
  auto op = mlir::cast<qmodel::GatedActivationOp>(call.op);
  return single(multiply(call, activate(call[0], op.getKind()), call[1]));
}

static Results sum(const Call &call) {
  return single(add(call, call[0], call[1]));
}

static Results product(const Call &call) {
  return single(multiply(call, call[0], call[1]));
}

static Results dequantizeOp(const Call &call) {
  auto op = mlir::cast<qmodel::DequantizeOp>(call.op);
  const Tensor &codes = call[0];
  auto group = static_cast<int64_t>(op.getGroup());
  if (codes.rank() != 2 || !codes.type().isInteger() || group < 0)
    return call.error() << "expects codes [out, in], got " << describe(codes);
  int64_t in = codes.shape()[1];
  int64_t width = group == 0 || group > in ? std::max<int64_t>(in, 1) : group;
  Shape perGroup = {codes.shape()[0], (in + width - 1) / width};
  const Tensor *zeros = call.operand(2);
  if (call[1].shape() != perGroup || !call[1].type().isFloat() ||
      (zeros && (zeros->shape() != perGroup || !zeros->type().isInteger())))
    return call.error() << "expects scales and zero points "
                        << nibble::describe(ElementType::float32(), perGroup)
                        << ", got " << describe(call[1]);
  auto values = call.take(nibble::dequantize(
      codes, cast(call[1], ElementType::float32()), zeros, group));
  if (failed(values))
    return failure();
  auto type = mlir::cast<mlir::ShapedType>(op.getResult().getType());
  auto element = fromMlirType(type.getElementType());
  return single(cast(*values, element.value_or(ElementType::float32())));
}

void addQModelOps(OpTable &table) {
  table["onnx.constant"] = constant;
  table["onnx.none"] = none;
  table["qmodel.load"] = load;
  table["qmodel.dim_tensor"] = dimTensor;
  table["qmodel.linear"] = linearOp;
  table["qmodel.embedding"] = embedding;
  table["qmodel.rms_norm"] = rmsNorm;
  table["qmodel.layer_norm"] = layerNorm;
  table["qmodel.rope"] = rope;
  table["qmodel.attention"] = attention;
  table["qmodel.activation"] = activation;
  table["qmodel.gated_activation"] = gatedActivation;
  table["qmodel.add"] = sum;
  table["qmodel.multiply"] = product;
  table["qmodel.dequantize"] = dequantizeOp;
}

} // namespace nibble::reference
