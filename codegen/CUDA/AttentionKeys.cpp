//===- AttentionKeys.cpp - Which keys a query sees ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Keys that no query of a range sees are not read where the mask value hides
// exactly, or is so low that no score lifts it again and each query sees a key,
// its own. Otherwise a query that sees nothing is the mean of all values.
//
//===----------------------------------------------------------------------===//

#include "AttentionKeys.h"

#include "nibble/codegen/Kernel/Math.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>

using namespace mlir;

namespace nibble::cuda {

/// Scores that matter are smaller than this by far, and their rounding hides
/// what is added to a mask value below.
static constexpr double lowMask = -1e30;

AttentionKeys::AttentionKeys(Kernel &kernel, qmodel::AttentionOp op,
                             Value batch)
    : kernel(kernel), code(kernel.code), op(op),
      maskValue(op.getMaskValue().convertToDouble()), batch(batch),
      total(kernel.size(op.getK(), 2)) {
  length = total;
  if (Value lengths = op.getLengths())
    length = code.resizeInteger(kernel.element(lengths, {batch}), code.i64());
  offset = code.sub(length, kernel.size(op.getQ(), 2));
}

std::pair<Value, Value> AttentionKeys::range(Value firstQuery, Value endQuery) {
  Value first = code.index(0), end = total;
  bool isExact = std::isinf(maskValue);
  if (!isExact && (maskValue > lowMask || op.getKeyMask()))
    return {first, end};
  // Lengths come from data: nothing outside of the keys is read.
  if (op.getLengths())
    end = code.minimum(end, length);
  Value firstPosition = code.add(firstQuery, offset);
  Value endPosition = code.add(endQuery, offset);
  if (op.getCausal())
    end = code.minimum(end, endPosition);
  end = code.maximum(end, first);
  if (op.getWindow()) {
    Value window =
        code.sub(firstPosition, code.index(int64_t(*op.getWindow()) - 1));
    first = code.minimum(end, code.maximum(first, window));
  }
  if (isExact)
    return {first, end};
  Value seesItself =
      code.bitAnd(code.compare(Compare::ge, firstPosition, code.index(0)),
                  code.compare(Compare::le, endPosition, total));
  return {code.select(seesItself, first, code.index(0)),
          code.select(seesItself, end, total)};
}

/// Whether the query does not see the key; null if it sees all.
Value AttentionKeys::hidden(Value query, Value key) {
  Value result;
  auto alsoHide = [&](Value condition) {
    result = result ? code.bitOr(result, condition) : condition;
  };
  Value position = code.add(query, offset);
  if (op.getLengths())
    alsoHide(code.compare(Compare::ge, key, length));
  if (op.getCausal())
    alsoHide(code.compare(Compare::gt, key, position));
  if (op.getWindow())
    alsoHide(
        code.compare(Compare::le, key,
                     code.sub(position, code.index(int64_t(*op.getWindow())))));
  if (Value mask = op.getKeyMask())
    alsoHide(code.bitXor(kernel.element(mask, {batch, key}),
                         code.integer(code.i1(), 1)));
  return result;
}

Value AttentionKeys::score(Value product, Value head, Value query, Value key) {
  auto number = [&](double value) { return code.real(code.f32(), value); };
  Value score = code.mul(product, number(op.getScale().convertToDouble()));
  if (op.getSoftcap()) {
    Value cap = number(op.getSoftcap()->convertToDouble());
    score = code.mul(cap, codegen::tanh(code, code.divide(score, cap)));
  }
  if (Value bias = op.getBias()) {
    Shape shape(kernel.shape(op.getResult()));
    shape[3] = kernel.shape(op.getK())[2];
    score = code.add(
        score, kernel.broadcastElement(bias, {batch, head, query, key}, shape));
  }
  if (Value hide = hidden(query, key))
    score = code.select(hide, code.add(score, number(maskValue)), score);
  return score;
}

Value AttentionKeys::weight(Value x) {
  Value exponent =
      code.mul(x, code.real(code.f32(), 1.4426950408889634)); // log2(e)
  return math::Exp2Op::create(code.builder, code.location, exponent);
}

Value AttentionKeys::quotient(Value result, Value sum) {
  Value zero = code.zero(code.f32());
  Value isEmpty = code.compare(Compare::eq, sum, zero);
  return code.select(isEmpty, zero, code.divide(result, sum));
}

} // namespace nibble::cuda
