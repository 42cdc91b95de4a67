//===- Attention.cpp - Scaled dot-product attention and its caches --------===//
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
// Keys that are hidden exactly, behind the last visible one or before the
// window, are not read.
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
    length = total;
    if (Value lengths = op.getLengths())
      length =
          code.resizeInteger(kernel.element(lengths, {index[0]}), code.i64());
    position = code.add(index[2], code.sub(length, kernel.size(op.getQ(), 2)));
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
  Value dot(Value key);
  Value biased(Value score, Value key);
  Value hide(Value score, Value key);
  Value scoresOf(Value firstKey, int64_t count);
  std::pair<Value, Value> keyRange();
  Values addKeys(llvm::ArrayRef<Value> state, Value firstKey, int64_t count);

  Kernel &kernel;
  Code &code;
  qmodel::AttentionOp op;
  int64_t width, valueWidth;
  VectorRow keyRow, valueRow;
  double maskValue;
  Values index; ///< batch, head, row
  Value keyHead, total;
  Value length;   ///< keys of this sequence
  Value position; ///< of the query among them
  Values query;
};

Value AttentionRow::dot(Value key) {
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
  return dot;
}

Value AttentionRow::biased(Value score, Value key) {
  Value bias = op.getBias();
  if (!bias)
    return score;
  // The bias is broadcast to [batch, heads, seq, total].
  Shape shape(kernel.shape(op.getResult()));
  shape[3] = kernel.shape(op.getK())[2];
  Values at = index;
  at.push_back(key);
  return code.add(score, kernel.broadcastElement(bias, at, shape));
}

Value AttentionRow::hide(Value score, Value key) {
  Value hidden;
  auto alsoHide = [&](Value condition) {
    hidden = hidden ? code.bitOr(hidden, condition) : condition;
  };
  // What hides exactly is outside of the range of keys.
  if (!std::isinf(maskValue)) {
    if (op.getLengths())
      alsoHide(code.compare(Compare::ge, key, length));
    if (op.getCausal())
      alsoHide(code.compare(Compare::gt, key, position));
    if (op.getWindow())
      alsoHide(code.compare(
          Compare::le, key,
          code.sub(position, code.index(int64_t(*op.getWindow())))));
  }
  if (Value mask = op.getKeyMask())
    alsoHide(code.bitXor(kernel.element(mask, {index[0], key}),
                         code.integer(code.i1(), 1)));
  if (!hidden)
    return score;
  Value lowered = code.add(score, code.real(code.f32(), maskValue));
  return code.select(hidden, lowered, score);
}

/// dot(q, k) * scale, capped, plus bias, hidden where it must be, for `count`
/// keys.
Value AttentionRow::scoresOf(Value firstKey, int64_t count) {
  Type type = code.vector(code.f32(), count);
  auto eachKey = [&](llvm::function_ref<Value(Value, int64_t)> make) {
    Value all = code.zero(type);
    for (int64_t i = 0; i < count; ++i) {
      Value one = make(code.add(firstKey, code.index(i)), i);
      all = count == 1 ? one : code.insert(all, one, i);
    }
    return all;
  };
  Value scores = eachKey([&](Value key, int64_t) { return dot(key); });
  scores = code.mul(scores, code.real(type, op.getScale().convertToDouble()));
  if (op.getSoftcap()) {
    Value cap = code.real(type, op.getSoftcap()->convertToDouble());
    scores = code.mul(cap, tanh(code, code.divide(scores, cap)));
  }
  return eachKey([&](Value key, int64_t i) {
    Value score = count == 1 ? scores : code.extract(scores, i);
    return hide(biased(score, key), key);
  });
}

/// State: maximum, sum, row. Takes in `count` keys at once.
Values AttentionRow::addKeys(llvm::ArrayRef<Value> state, Value firstKey,
                             int64_t count) {
  Value scores = scoresOf(firstKey, count);
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

/// The first key that may be seen, and the one behind the last.
std::pair<Value, Value> AttentionRow::keyRange() {
  Value first = code.index(0), end = total;
  if (!std::isinf(maskValue))
    return {first, end};
  // Lengths come from data: nothing outside of the keys is read.
  if (op.getLengths())
    end = code.minimum(end, length);
  if (op.getCausal())
    end = code.minimum(end, code.add(position, code.index(1)));
  if (end != total)
    end = code.maximum(end, first);
  if (op.getWindow())
    first = code.minimum(
        end, code.maximum(
                 first,
                 code.sub(position, code.index(int64_t(*op.getWindow() - 1)))));
  return {first, end};
}

void AttentionRow::emit() {
  auto [first, end] = keyRange();
  Values state = {code.real(code.f32(), std::numeric_limits<float>::lowest()),
                  code.zero(code.f32())};
  for (Type type : valueRow.types)
    state.push_back(code.zero(type));
  Value whole = code.add(first, code.mul(code.divide(code.sub(end, first),
                                                     code.index(lanes), true),
                                         code.index(lanes)));
  state = code.loop(first, whole, lanes, state,
                    [&](Value key, llvm::ArrayRef<Value> carried) {
                      return addKeys(carried, key, lanes);
                    });
  state = code.loop(whole, end, 1, state,
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

/// Tokens of the past, then the new ones, then zeros. Branches, not selects: a
/// token of the one operand may lie outside of the other.
Value appendElement(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto append = cast<qmodel::AppendOp>(op);
  Value past = append.getPast(), added = append.getNewTokens();
  Value seq = kernel.size(added, 2), zero = code.index(0);
  Value length = code.resizeInteger(
      kernel.element(append.getLengths(), {index[0]}), code.i64());
  Value first = code.maximum(code.sub(length, seq), zero);
  auto token = [&](Value tensor, Value at) {
    return kernel.element(tensor, {index[0], index[1], at, index[3]});
  };
  Type type = kernel.registerType(op->getResult(0));
  Value isPast = code.compare(Compare::lt, index[2],
                              code.minimum(first, kernel.size(past, 2)));
  return code.choose(
      isPast, [&] { return token(past, index[2]); },
      [&] {
        Value at = code.sub(index[2], first);
        return code.choose(
            code.compare(Compare::lt, at, seq, /*isUnsigned=*/true),
            [&] { return token(added, at); }, [&] { return code.zero(type); });
      });
}

/// A cache with new tokens from a position per batch on, which wraps around if
/// the cache is circular.
Value tensorScatter(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  Value cache = node.getInputs()[0], update = node.getInputs()[1];
  int64_t axis = node.intAttribute("axis", -2);
  axis += axis < 0 ? kernel.rank(cache) : 0;
  Value at = index[axis];
  if (Value positions = node.input(2))
    at = code.sub(at, code.resizeInteger(kernel.element(positions, {index[0]}),
                                         code.i64()));
  if (node.stringAttribute("mode", "linear") == "circular")
    at = code.floorModulo(at, kernel.size(cache, axis));
  Value isNew = code.compare(Compare::lt, at, kernel.size(update, axis),
                             /*isUnsigned=*/true);
  Values updateIndex(index.begin(), index.end());
  updateIndex[axis] = at;
  return code.choose(
      isNew, [&] { return kernel.element(update, updateIndex); },
      [&] { return kernel.element(cache, index); });
}

} // namespace

void addAttentionLowerings(LoweringTable &table) {
  table["onnx.TensorScatter"].element = tensorScatter;
  table["onnx.TensorScatter"].operands = 2;
  table["qmodel.append"].element = appendElement;
  table["qmodel.attention"].tasks = attentionTasks;
  table["qmodel.attention"].task = attentionTask;
}

} // namespace nibble::cpu
