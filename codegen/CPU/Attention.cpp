//===- Attention.cpp - Scaled dot-product attention -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One task is one query row of one head. Keys are taken eight at a time with a
// running maximum and sum (Milakov and Gimelshein, "Online normalizer
// calculation for softmax"), so nothing but the row itself is kept:
//
//   m' = max(m, s);  sum = sum e^(m - m') + e^(s - m');  y = y e^(m - m') + ...
//
// The maximum starts at the lowest float rather than at -infinity: the
// exponential of a hidden score, -infinity, is then 0 and never NaN, and a row
// with nothing visible has the sum 0.
//
//===----------------------------------------------------------------------===//

#include "Kernel.h"
#include "Math.h"

#include "nibble/dialects/QModel/QModel.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace nibble::cpu {

namespace {

constexpr int64_t lanes = 8;

/// A row of `width` floats as vectors of 8 and one of the rest.
struct VectorRow {
  VectorRow(Code &code, int64_t width) {
    for (int64_t i = 0; i < width; i += lanes) {
      offsets.push_back(i);
      types.push_back(code.vector(code.f32(), std::min(lanes, width - i)));
    }
  }
  Values load(Code &code, Value row) const {
    Values values;
    for (auto [offset, type] : llvm::zip(offsets, types))
      values.push_back(code.load(type, row, code.index(offset)));
    return values;
  }
  llvm::SmallVector<int64_t> offsets;
  llvm::SmallVector<Type> types;
};

class AttentionRow {
public:
  AttentionRow(Kernel &kernel, qmodel::AttentionOp op, Value task)
      : kernel(kernel), code(kernel.code), op(op),
        width(kernel.shape(op.getQ())[3].asConstant().value_or(1)),
        valueWidth(kernel.shape(op.getV())[3].asConstant().value_or(1)),
        keyRow(code, width), valueRow(code, valueWidth),
        maskValue(op.getMaskValue().convertToDouble()) {
    llvm::ArrayRef<DimExpr> shape = kernel.shape(op.getResult());
    index = kernel.indexOf(task, shape.drop_back());
    // Known: (C2) of qmodel.attention.
    int64_t heads = shape[1].asConstant().value_or(1);
    int64_t keyHeads = kernel.shape(op.getK())[1].asConstant().value_or(1);
    keyHead = code.divide(index[1], code.index(heads / keyHeads), true);
    total = kernel.size(op.getK(), 2);
    lastVisible =
        code.add(index[2], code.sub(total, kernel.size(op.getQ(), 2)));
    query = keyRow.load(code,
                        rowPointer(op.getQ(), {index[0], index[1], index[2]}));
  }

  void emit();

private:
  Value rowPointer(Value tensor, Values at) {
    return rowPointer(tensor, kernel.pointer(tensor), std::move(at));
  }
  Value rowPointer(Value tensor, Value base, Values at) {
    at.push_back(code.index(0));
    return code.address(code.f32(), base,
                        kernel.positionOf(at, kernel.shape(tensor)));
  }
  Value keyPointer(Value tensor, Value key) {
    return rowPointer(tensor, {index[0], keyHead, key});
  }
  Value score(Value key);
  Value hide(Value score, Value key);
  Values addKeys(llvm::ArrayRef<Value> state, Value firstKey, int64_t count);

  Kernel &kernel;
  Code &code;
  qmodel::AttentionOp op;
  int64_t width, valueWidth;
  VectorRow keyRow, valueRow;
  double maskValue;
  Values index; ///< batch, head, row
  Value keyHead, total, lastVisible;
  Values query;
};

/// dot(q, k) * scale + bias, hidden if it must be.
Value AttentionRow::score(Value key) {
  Values keys = keyRow.load(code, keyPointer(op.getK(), key));
  // Whole vectors add up lane by lane, in two sums; then the rest.
  Value sums[2], rest;
  for (size_t i = 0; i < keys.size(); ++i) {
    bool isWhole = keyRow.types[i] == code.vector(code.f32(), lanes);
    Value &sum = isWhole ? sums[i % 2] : rest;
    sum = sum ? code.fma(query[i], keys[i], sum) : code.mul(query[i], keys[i]);
  }
  if (sums[0] && sums[1])
    sums[0] = code.add(sums[0], sums[1]);
  Value dot = sums[0] ? code.horizontalSum(sums[0]) : Value();
  if (rest)
    dot = dot ? code.add(dot, code.horizontalSum(rest))
              : code.horizontalSum(rest);
  Value score =
      code.mul(dot, code.real(code.f32(), op.getScale().convertToDouble()));
  if (Value bias = op.getBias()) {
    // The bias is broadcast to [batch, heads, seq, total].
    Shape shape(kernel.shape(op.getResult()));
    shape[3] = kernel.shape(op.getK())[2];
    Values at = index;
    at.push_back(key);
    score = code.add(score, kernel.broadcastElement(bias, at, shape));
  }
  return hide(score, key);
}

Value AttentionRow::hide(Value score, Value key) {
  Value hidden;
  // Keys after the last visible one are left out when they hide exactly.
  if (op.getCausal() && !std::isinf(maskValue))
    hidden = code.compare(Compare::gt, key, lastVisible);
  if (Value mask = op.getKeyMask()) {
    Value visible = kernel.element(mask, {index[0], key});
    Value masked = code.bitXor(visible, code.integer(code.i1(), 1));
    hidden = hidden ? code.bitOr(hidden, masked) : masked;
  }
  if (!hidden)
    return score;
  Value lowered = code.add(score, code.real(code.f32(), maskValue));
  return code.select(hidden, lowered, score);
}

/// State: maximum, sum, row. Takes in `count` keys at once.
Values AttentionRow::addKeys(llvm::ArrayRef<Value> state, Value firstKey,
                             int64_t count) {
  Type type = code.vector(code.f32(), count);
  Value scores;
  for (int64_t i = 0; i < count; ++i) {
    Value next = score(code.add(firstKey, code.index(i)));
    if (count == 1)
      scores = next;
    else
      scores = code.insert(scores ? scores : code.zero(type), next, i);
  }
  Value maximum = code.maximum(state[0], code.horizontalMaximum(scores));
  Value decay = exp(code, code.sub(state[0], maximum));
  Value weights = exp(code, code.sub(scores, code.broadcast(maximum, count)));
  Values next = {maximum,
                 code.fma(state[1], decay, code.horizontalSum(weights))};
  for (auto [type, value] : llvm::zip(valueRow.types, state.drop_front(2)))
    next.push_back(code.mul(value, code.spread(decay, type)));
  for (int64_t i = 0; i < count; ++i) {
    Values values = valueRow.load(
        code, keyPointer(op.getV(), code.add(firstKey, code.index(i))));
    Value weight = code.extract(weights, i);
    for (auto [v, value] : llvm::enumerate(values))
      next[2 + v] =
          code.fma(code.spread(weight, value.getType()), value, next[2 + v]);
  }
  return next;
}

void AttentionRow::emit() {
  Value keys = total;
  if (op.getCausal() && std::isinf(maskValue))
    keys =
        code.minimum(total, code.maximum(code.add(lastVisible, code.index(1)),
                                         code.index(0)));
  Values state = {code.real(code.f32(), std::numeric_limits<float>::lowest()),
                  code.zero(code.f32())};
  for (Type type : valueRow.types)
    state.push_back(code.zero(type));
  Value whole =
      code.mul(code.divide(keys, code.index(lanes), true), code.index(lanes));
  state = code.loop(code.index(0), whole, lanes, state,
                    [&](Value key, llvm::ArrayRef<Value> carried) {
                      return addKeys(carried, key, lanes);
                    });
  state = code.loop(whole, keys, 1, state,
                    [&](Value key, llvm::ArrayRef<Value> carried) {
                      return addKeys(carried, key, 1);
                    });
  Value isEmpty = code.compare(Compare::eq, state[1], code.zero(code.f32()));
  Value inverse = code.divide(code.real(code.f32(), 1), state[1]);
  inverse = code.select(isEmpty, code.zero(code.f32()), inverse);
  Value row = rowPointer(op.getResult(), kernel.output(op.getResult()), index);
  for (size_t v = 0; v < valueRow.types.size(); ++v)
    code.store(code.mul(state[2 + v], code.spread(inverse, valueRow.types[v])),
               row, code.index(valueRow.offsets[v]));
}

DimExpr attentionTasks(Kernel &kernel, Operation *op) {
  const Shape &shape = kernel.shape(op->getResult(0));
  return Kernel::product(shape, 0, shape.size() - 1);
}

void attentionTask(Kernel &kernel, Operation *op, Value task) {
  auto attention = cast<qmodel::AttentionOp>(op);
  for (Value tensor : {attention.getQ(), attention.getK(), attention.getV()})
    if (!cast<ShapedType>(tensor.getType()).getElementType().isF32()) {
      kernel.unsupported(op, "elements other than float32");
      return;
    }
  AttentionRow(kernel, attention, task).emit();
}

} // namespace

void addAttentionLowerings(LoweringTable &table) {
  table["qmodel.attention"].tasks = attentionTasks;
  table["qmodel.attention"].task = attentionTask;
}

} // namespace nibble::cpu
