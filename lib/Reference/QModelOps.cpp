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

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QModel/QModel.h"

#include <cstring>
#include <limits>

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
  FailureOr<Tensor> rows = gather(call, call[0], call[1], 0);
  if (failed(rows))
    return failure();
  auto type =
      mlir::cast<mlir::RankedTensorType>(call.op->getResult(0).getType());
  auto element = fromMlirType(type.getElementType());
  return single(cast(*rows, element.value_or(rows->type())));
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
  rule.bias = op.getBias() ? call.operand(next++) : nullptr;
  rule.softcap = op.getSoftcap() ? op.getSoftcap()->convertToDouble() : 0;
  rule.scale = op.getScale().convertToDouble();
  rule.maskValue = op.getMaskValue().convertToDouble();
  if (q.rank() != 4 || k.rank() != 4)
    return call.error() << "expects operands of rank 4, got " << describe(q)
                        << " and " << describe(k);
  int64_t seq = q.shape()[2], total = k.shape()[2];
  if (keyMask && (keyMask->shape() != Shape{q.shape()[0], total} ||
                  keyMask->type() != ElementType::boolean()))
    return call.error() << "expects a boolean key mask [batch, total], got "
                        << describe(*keyMask);
  llvm::SmallVector<int64_t> lengths(q.shape()[0], total);
  if (op.getLengths()) {
    auto given = call.integers(next);
    if (failed(given))
      return failure();
    if (given->size() != lengths.size())
      return call.error() << "expects lengths [batch], got "
                          << describe(call[next]);
    lengths = *given;
  }
  bool causal = op.getCausal();
  int64_t window = op.getWindow().value_or(std::numeric_limits<int32_t>::max());
  const uint8_t *visible = keyMask ? keyMask->as<uint8_t>().data() : nullptr;
  rule.hidden = [=](int64_t batch, int64_t i, int64_t j) {
    int64_t position = i + lengths[batch] - seq;
    return j >= lengths[batch] || (causal && j > position) ||
           j <= position - window || (visible && !visible[batch * total + j]);
  };
  // Caches may have fewer bits than queries.
  return single(
      attend(call, q, cast(k, q.type()), cast(call[2], q.type()), rule));
}

static Results append(const Call &call) {
  auto lengths = call.integers(2), total = call.integers(3);
  if (failed(lengths) || failed(total))
    return failure();
  if (total->size() != 1)
    return call.error() << "expects one total, got " << describe(call[3]);
  bool inPlace = mlir::cast<qmodel::AppendOp>(call.op).getInPlace();
  return single(appendTokens(call, &call[0], cast(call[1], call[0].type()),
                             *lengths, total->front(), inPlace));
}

static Results positions(const Call &call) {
  auto op = mlir::cast<qmodel::PositionsOp>(call.op);
  auto past = call.integers(0), count = call.integers(1);
  if (failed(past) || failed(count))
    return failure();
  if (count->size() != 1 || count->front() < 0)
    return call.error() << "expects one count, got " << describe(call[1]);
  int64_t limit = op.getLimit();
  FailureOr<Tensor> result =
      call.allocate(ElementType::signedInt(64),
                    {static_cast<int64_t>(past->size()), count->front()});
  if (failed(result))
    return failure();
  size_t next = 0;
  for (int64_t first : *past)
    for (int64_t i = 0; i < count->front(); ++i)
      result->setIntegerAt(next++, std::min(first + i, limit - 1));
  return single(result);
}

static Results selectRows(const Call &call) {
  const Tensor &x = call[0];
  auto rows = call.integers(1);
  if (failed(rows))
    return failure();
  if (x.rank() < 2 || x.shape()[0] != static_cast<int64_t>(rows->size()) ||
      x.shape()[1] < 1 || x.type().bits % 8 != 0)
    return call.error() << "expects x [batch, seq, ...] of whole bytes and one "
                           "row per batch, got "
                        << describe(x) << " and " << rows->size() << " rows";
  Shape shape = x.shape();
  int64_t seq = shape[1];
  shape[1] = 1;
  FailureOr<Tensor> result = call.allocate(x.type(), shape);
  if (failed(result))
    return failure();
  size_t bytes = result->bytes().size() / std::max<size_t>(rows->size(), 1);
  for (auto [b, row] : llvm::enumerate(*rows)) {
    int64_t from = b * seq + std::clamp<int64_t>(row, 0, seq - 1);
    if (bytes > 0)
      std::memcpy(result->mutableBytes().data() + b * bytes,
                  x.bytes().data() + from * bytes, bytes);
  }
  return single(result);
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
  table["qmodel.append"] = append;
  table["qmodel.positions"] = positions;
  table["qmodel.select_rows"] = selectRows;
  table["qmodel.activation"] = activation;
  table["qmodel.gated_activation"] = gatedActivation;
  table["qmodel.add"] = sum;
  table["qmodel.multiply"] = product;
}

} // namespace nibble::reference
