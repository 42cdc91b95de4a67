//===- QKernelOps.cpp - The meaning of packed ops -------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A packed op is its unpacking and the qmodel op, and nothing else.
//
//===----------------------------------------------------------------------===//

#include "Indexing.h"
#include "Products.h"

#include "nibble/Numerics/PackFragments.h"
#include "nibble/Numerics/PackSparse.h"
#include "nibble/Numerics/PackWeights.h"
#include "nibble/Numerics/RoundToNearest.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QKernel/QKernel.h"

namespace nibble::reference {

/// The values of the codes that a weight stores.
template <typename Layout>
static FailureOr<Tensor> dequantized(const Call &call, const Layout &layout,
                                     const Tensor &codes, const Tensor *scales,
                                     const Tensor *zeros) {
  if (!scales)
    return call.error() << "expects scales for integer codes";
  auto logicalScales = call.take(unpackScales(layout, *scales));
  if (failed(logicalScales))
    return failure();
  Tensor logicalZeros;
  if (zeros) {
    auto unpacked = call.take(unpackZeros(layout, *zeros, layout.element));
    if (failed(unpacked))
      return failure();
    logicalZeros = *unpacked;
  }
  int64_t group = layout.sparse24 ? layout.group / 2 : layout.group;
  return call.take(nibble::dequantize(codes, *logicalScales,
                                      zeros ? &logicalZeros : nullptr, group));
}

/// The weight [out, in] in float32.
template <typename Layout>
static FailureOr<Tensor>
unpackedWeight(const Call &call, const Layout &layout, const Tensor &packed,
               const Tensor *scales, const Tensor *zeros) {
  if (Status status = layout.validate(); !status.isOk())
    return call.error() << status.message();
  // Of sparse weights, what is stored of them; positions have size 0 else.
  Compressed24 stored;
  if (layout.sparse24) {
    auto unpacked = call.take(unpackSparse(layout, packed));
    if (failed(unpacked))
      return failure();
    stored = *unpacked;
  } else {
    auto unpacked = call.take(unpackWeight(layout, packed));
    if (failed(unpacked))
      return failure();
    stored.values = *unpacked;
  }
  if (layout.element.isInteger()) {
    FailureOr<Tensor> values =
        dequantized(call, layout, stored.values, scales, zeros);
    if (failed(values))
      return failure();
    stored.values = *values;
  }
  if (!layout.sparse24)
    return stored.values;
  return call.take(decompress24(stored.values, stored.positions));
}

/// linear(x, unpacked weight, bias); operand `next` is the weight, and what
/// belongs to it follows.
template <typename Op>
static Results unpackedLinear(const Call &call, Op op, const Tensor &x,
                              size_t next) {
  const Tensor &packed = call[next++];
  const Tensor *scales = op.getScales() ? call.operand(next++) : nullptr;
  const Tensor *zeros = op.getZeros() ? call.operand(next++) : nullptr;
  const Tensor *bias = op.getBias() ? call.operand(next) : nullptr;
  qkernel::FragmentsAttr fragments = op.getFragments();
  FailureOr<Tensor> weight =
      fragments
          ? unpackedWeight(call, qkernel::fragmentLayout(fragments), packed,
                           scales, zeros)
          : unpackedWeight(call,
                           qkernel::rowInterleavedLayout(op.getRowLayout()),
                           packed, scales, zeros);
  if (failed(weight))
    return failure();
  FailureOr<Tensor> result = linear(call, x, *weight, bias);
  if (failed(result))
    return failure();
  return std::vector<Tensor>{*result};
}

static Results packedLinear(const Call &call) {
  auto op = mlir::cast<qkernel::PackedLinearOp>(call.op);
  qkernel::FragmentsAttr fragments = op.getFragments();
  if (!fragments)
    return unpackedLinear(call, op, call[0], 1);
  // Tensor cores multiply 16 bits; the sum is of more.
  ElementType type = *fromMlirType(qkernel::multipliedType(
      fragments, mlir::getElementTypeOrSelf(op.getX())));
  Results results = unpackedLinear(
      call, op, call[0].converted(type).converted(ElementType::float32()), 1);
  if (failed(results))
    return failure();
  return std::vector<Tensor>{results->front().converted(
      *fromMlirType(mlir::getElementTypeOrSelf(op.getResult())))};
}

/// A vector as a matrix of one row.
static Tensor asRows(const Tensor &tensor) {
  if (tensor.rank() != 1)
    return tensor;
  return tensor.reshaped({1, tensor.shape()[0]});
}

static Results packedIntegerLinear(const Call &call) {
  auto op = mlir::cast<qkernel::PackedIntegerLinearOp>(call.op);
  const Tensor *zeros = op.getXZeros() ? &call[2] : nullptr;
  Tensor zeroRows = zeros ? asRows(*zeros) : Tensor();
  FailureOr<Tensor> x = call.take(nibble::dequantize(
      asRows(call[0]), asRows(call[1]), zeros ? &zeroRows : nullptr,
      static_cast<int64_t>(op.getXGroup())));
  if (failed(x))
    return failure();
  return unpackedLinear(call, op, x->reshaped(call[0].shape()), zeros ? 3 : 2);
}

static Results packedEmbedding(const Call &call) {
  auto op = mlir::cast<qkernel::PackedEmbeddingOp>(call.op);
  auto element = fromMlirType(op.getElement());
  const Tensor &codes = call[1], &scales = call[2];
  const Tensor *zeros = call.operand(3);
  auto width = static_cast<int64_t>(op.getWidth()),
       group = static_cast<int64_t>(op.getGroup());
  if (!element || !element->isInteger() || element->bits < 2 ||
      element->bits > 8 || width < 1 || group < 1 || group > width)
    return call.error() << "expects codes of 2 to 8 bits in groups of 1 to "
                        << width;
  auto logical = call.take(unpackRows(codes, *element, width));
  if (failed(logical))
    return failure();
  Tensor logicalZeros;
  if (zeros) {
    bool isSigned = element->kind == ElementType::Kind::Signed;
    int64_t offset = isSigned ? int64_t(1) << (element->bits - 1) : 0;
    logicalZeros = Tensor::allocate(ElementType::signedInt(16), zeros->shape());
    for (uint64_t i = 0; i < zeros->size(); ++i)
      logicalZeros.setIntegerAt(i, zeros->integerAt(i) - offset);
  }
  FailureOr<Tensor> table = call.take(nibble::dequantize(
      *logical, scales, zeros ? &logicalZeros : nullptr, group));
  if (failed(table))
    return failure();
  FailureOr<Tensor> result = gather(call, *table, call[0], 0);
  if (failed(result))
    return failure();
  return std::vector<Tensor>{*result};
}

static Results group(const Call &call) {
  return call.runSubgraph(call.op->getRegion(0), call.operands);
}

void addQKernelOps(OpTable &table) {
  table["qkernel.group"] = group;
  table["qkernel.packed_linear"] = packedLinear;
  table["qkernel.packed_integer_linear"] = packedIntegerLinear;
  table["qkernel.packed_embedding"] = packedEmbedding;
}

} // namespace nibble::reference
