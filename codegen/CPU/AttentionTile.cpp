//===- AttentionTile.cpp - Queries that share keys ------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One task is a tile of query rows that read the same keys: some queries, in
// all heads of a group. Keys are taken in blocks that stay in the first cache
// while every row of the tile goes over them, with a running maximum and sum
// per row (Milakov and Gimelshein, "Online normalizer calculation for
// softmax"):
//
//   m' = max(m, max s);  sum = sum e^(m - m') + sum e^(s - m')
//   y = y e^(m - m') + sum e^(s - m') v
//
// Scores are eight sums side by side, one per key, each over the lanes of a
// vector; a tree of shuffles adds the lanes. What a row adds up, and in which
// order, does not depend on the rows beside it.
//
// The maximum starts at the lowest float rather than at -infinity: the
// exponential of a hidden score, -infinity, is then 0 and never NaN, and a row
// with nothing visible has the sum 0.
//
// Keys that no row of the tile sees are not read where that changes nothing:
// the mask value hides exactly, or it is so low that no score lifts it again
// and each row sees a key, its own.
//
//===----------------------------------------------------------------------===//

#include "AttentionTile.h"
#include "nibble/codegen/Kernel/Math.h"

#include <cmath>
#include <limits>

using namespace mlir;

namespace nibble::cpu {

/// Scores that matter are smaller than this by far, and their rounding hides
/// what is added to a mask value below.
static constexpr double lowMask = -1e30;

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

Type AttentionTile::elementType(Value tensor) {
  return cast<ShapedType>(tensor.getType()).getElementType();
}

AttentionTile::Division::Division(Kernel &kernel, qmodel::AttentionOp op) {
  const Shape &q = kernel.shape(op.getQ()), &k = kernel.shape(op.getK());
  // Known: (C2) of qmodel.attention.
  int64_t keyHeads = k[1].asConstant().value_or(1);
  group = q[1].asConstant().value_or(1) / keyHeads;
  int64_t parts = 1;
  while (parts < group && (keyHeads * parts < fewestTasks || group % parts))
    ++parts;
  heads = group / parts;
  queries = q[2].asConstant() == 1 ? 1 : std::max<int64_t>(1, mostRows / heads);
  sizes[0] = k[0];
  sizes[1] = k[1];
  sizes[2] = DimExpr(parts);
  sizes[3] = (q[2] + DimExpr(queries - 1)).floorDiv(DimExpr(queries));
}

DimExpr AttentionTile::tasks(Kernel &kernel, qmodel::AttentionOp op) {
  Division division(kernel, op);
  DimExpr count(1);
  for (const DimExpr &size : division.sizes)
    count = count * size;
  return count;
}

AttentionTile::AttentionTile(Kernel &kernel, qmodel::AttentionOp op, Value task)
    : kernel(kernel), code(kernel.code), op(op),
      width(kernel.shape(op.getQ())[3].asConstant().value_or(1)),
      valueWidth(kernel.shape(op.getV())[3].asConstant().value_or(1)),
      division(kernel, op),
      stateFloats(2 * lanes + llvm::alignTo(valueWidth, lanes)),
      maskValue(op.getMaskValue().convertToDouble()),
      floats(code.vector(code.f32(), lanes)),
      ints(code.vector(code.i32(), lanes)) {
  Values index = kernel.indexOf(task, division.sizes);
  batch = index[0];
  keyHead = index[1];
  firstHead = code.add(code.mul(keyHead, code.index(division.group)),
                       code.mul(index[2], code.index(division.heads)));
  firstQuery = code.mul(index[3], code.index(division.queries));
  seq = kernel.size(op.getQ(), 2);
  total = kernel.size(op.getK(), 2);
  endQuery =
      code.minimum(code.add(firstQuery, code.index(division.queries)), seq);
  length = total;
  if (Value lengths = op.getLengths())
    length = code.resizeInteger(kernel.element(lengths, {batch}), code.i64());
  states =
      code.scratch(code.f32(), division.heads * division.queries * stateFloats);
  weights = code.scratch(code.f32(), blockKeys);
}

AttentionTile::Row AttentionTile::rowAt(Value number) {
  Row row;
  row.number = number;
  Value heads = code.index(division.heads);
  row.head = code.add(firstHead, code.remainder(number, heads, true));
  row.query = code.add(firstQuery, code.divide(number, heads, true));
  row.position = code.add(row.query, code.sub(length, seq));
  row.at = {batch, row.head, row.query};
  return row;
}

Value AttentionTile::stateOf(const Row &row) {
  return code.address(code.f32(), states,
                      code.mul(row.number, code.index(stateFloats)));
}

/// Row `row` of head `head` of q, k or v.
Value AttentionTile::rowPointer(Value tensor, Value head, Value row) {
  Value at = kernel.positionOf({batch, head, row, code.index(0)},
                               kernel.shape(tensor));
  return code.address(elementType(tensor), kernel.pointer(tensor), at);
}

/// Eight elements of a row, zeros behind its end; `offset` may be a constant.
Value AttentionTile::loadRow(Type stored, int64_t count, Value row,
                             Value offset) {
  Value loaded = code.loadFloats(stored, count, row, offset);
  if (count == lanes)
    return loaded;
  Value zeros = wide(0);
  return count == 1 ? code.insert(zeros, loaded, 0)
                    : code.extend(loaded, zeros);
}

//===----------------------------------------------------------------------===//
// Which keys
//===----------------------------------------------------------------------===//

/// The first key that some row may see, and the one behind the last.
std::pair<Value, Value> AttentionTile::keyRange() {
  Value first = code.index(0), end = total;
  bool isExact = std::isinf(maskValue);
  if (!isExact && maskValue > lowMask)
    return {first, end};
  Value offset = code.sub(length, seq); // position of query 0
  // Lengths come from data: nothing outside of the keys is read.
  if (op.getLengths())
    end = code.minimum(end, length);
  if (op.getCausal())
    end = code.minimum(end, code.add(endQuery, offset));
  end = code.maximum(end, first);
  if (op.getWindow()) {
    Value window = code.sub(code.add(firstQuery, offset),
                            code.index(int64_t(*op.getWindow()) - 1));
    first = code.minimum(end, code.maximum(first, window));
    // Blocks are the same for all tiles, and so is the order of sums.
    first = code.mul(code.divide(first, code.index(blockKeys), true),
                     code.index(blockKeys));
  }
  if (isExact)
    return {first, end};
  // A row that sees no key is the mean of all.
  if (op.getKeyMask())
    return {code.index(0), total};
  Value seesItself =
      code.compare(Compare::ge, code.add(firstQuery, offset), code.index(0));
  seesItself = code.bitAnd(
      seesItself, code.compare(Compare::le, code.add(endQuery, offset), total));
  return {code.select(seesItself, first, code.index(0)),
          code.select(seesItself, end, total)};
}

/// An index as i32; what lies outside of all keys stays outside.
Value AttentionTile::narrow(Value integer) {
  constexpr int64_t limit = std::numeric_limits<int32_t>::max();
  integer = code.minimum(code.maximum(integer, code.index(-limit)),
                         code.index(limit));
  return code.resizeInteger(integer, code.i32());
}

Value AttentionTile::keyNumbers(Value firstKey) {
  Value numbers = code.broadcast(narrow(firstKey), lanes);
  Value steps = code.zero(ints);
  for (int64_t i = 1; i < lanes; ++i)
    steps = code.insert(steps, code.integer(code.i32(), i), i);
  return code.add(numbers, steps);
}

/// `make` of eight keys as lanes; behind the last key, of that one.
Value AttentionTile::eachKey(Value firstKey, Type element,
                             llvm::function_ref<Value(Value key)> make) {
  Value last = code.sub(keyEnd, code.index(1));
  Value all = code.zero(code.vector(element, lanes));
  for (int64_t i = 0; i < lanes; ++i) {
    Value key = code.minimum(code.add(firstKey, code.index(i)), last);
    all = code.insert(all, make(key), i);
  }
  return all;
}

/// Which of eight keys the row does not see; null if it sees all.
Value AttentionTile::hidden(const Row &row, Value firstKey) {
  Value result, keys = keyNumbers(firstKey);
  auto alsoHide = [&](Value condition) {
    result = result ? code.bitOr(result, condition) : condition;
  };
  auto compare = [&](Compare kind, Value bound) {
    return code.compare(kind, keys, code.broadcast(narrow(bound), lanes));
  };
  if (op.getLengths())
    alsoHide(compare(Compare::ge, length));
  if (op.getCausal())
    alsoHide(compare(Compare::gt, row.position));
  if (op.getWindow())
    alsoHide(
        compare(Compare::le,
                code.sub(row.position, code.index(int64_t(*op.getWindow())))));
  if (Value mask = op.getKeyMask())
    alsoHide(code.bitXor(
        eachKey(firstKey, code.i1(),
                [&](Value key) { return kernel.element(mask, {batch, key}); }),
        code.integer(code.vector(code.i1(), lanes), 1)));
  return result;
}

//===----------------------------------------------------------------------===//
// Scores
//===----------------------------------------------------------------------===//

/// Lane i of the result is the sum of the lanes of vector i.
Value AttentionTile::sumEach(Values partial) {
  static constexpr int32_t order[3][2][lanes] = {
      {{0, 8, 2, 10, 4, 12, 6, 14}, {1, 9, 3, 11, 5, 13, 7, 15}},
      {{0, 1, 8, 9, 4, 5, 12, 13}, {2, 3, 10, 11, 6, 7, 14, 15}},
      {{0, 1, 2, 3, 8, 9, 10, 11}, {4, 5, 6, 7, 12, 13, 14, 15}}};
  for (const auto &level : order) {
    Values sums;
    for (size_t i = 0; i < partial.size(); i += 2) {
      Value both = code.concatenate(partial[i], partial[i + 1]);
      sums.push_back(
          code.add(code.permute(both, level[0]), code.permute(both, level[1])));
    }
    partial = sums;
  }
  return partial.front();
}

/// dot(q, k) for eight keys.
Value AttentionTile::products(Value query, Value firstKey) {
  Type stored = elementType(op.getK());
  Value last = code.sub(keyEnd, code.index(1));
  Values keys;
  for (int64_t i = 0; i < lanes; ++i)
    keys.push_back(
        rowPointer(op.getK(), keyHead,
                   code.minimum(code.add(firstKey, code.index(i)), last)));
  auto add = [&](Value offset, int64_t count, llvm::ArrayRef<Value> sums) {
    Value q = loadRow(code.f32(), count, query, offset);
    Values next;
    for (auto [key, sum] : llvm::zip_equal(keys, sums))
      next.push_back(code.fma(q, loadRow(stored, count, key, offset), sum));
    return next;
  };
  int64_t whole = width / lanes * lanes;
  Values sums(lanes, wide(0));
  if (whole)
    sums = code.loop(code.index(0), code.index(whole), lanes, sums,
                     [&](Value offset, llvm::ArrayRef<Value> carried) {
                       return add(offset, lanes, carried);
                     });
  if (whole < width)
    sums = add(code.index(whole), width - whole, sums);
  return sumEach(sums);
}

/// Scores as the op has them: scaled, capped, with bias, hidden.
Value AttentionTile::adjusted(const Row &row, Value scores, Value firstKey) {
  scores = code.mul(scores, wide(op.getScale().convertToDouble()));
  if (op.getSoftcap()) {
    Value cap = wide(op.getSoftcap()->convertToDouble());
    scores = code.mul(cap, tanh(code, code.divide(scores, cap)));
  }
  if (Value bias = op.getBias()) {
    // The bias is broadcast to [batch, heads, seq, total].
    Shape shape(kernel.shape(op.getResult()));
    shape[3] = kernel.shape(op.getK())[2];
    Value biases = eachKey(firstKey, code.f32(), [&](Value key) {
      Values at = row.at;
      at.push_back(key);
      return kernel.broadcastElement(bias, at, shape);
    });
    scores = code.add(scores, biases);
  }
  if (Value hide = hidden(row, firstKey))
    scores = code.select(hide, code.add(scores, wide(maskValue)), scores);
  // Behind the last key there is none, which no mask value brings back.
  Value isOutside = code.compare(Compare::ge, keyNumbers(firstKey),
                                 code.broadcast(narrow(keyEnd), lanes));
  return code.select(isOutside, wide(-std::numeric_limits<double>::infinity()),
                     scores);
}

//===----------------------------------------------------------------------===//
// Blocks of keys
//===----------------------------------------------------------------------===//

/// Takes `count` keys into the state of a row.
void AttentionTile::addBlock(const Row &row, Value firstKey, Value count) {
  Value query = rowPointer(op.getQ(), row.head, row.query);
  Value state = stateOf(row);
  Value old = code.load(code.f32(), state, code.index(0));
  Value largest =
      code.loop(code.index(0), count, lanes, {code.broadcast(old, lanes)},
                [&](Value i, llvm::ArrayRef<Value> carried) -> Values {
                  Value key = code.add(firstKey, i);
                  Value scores = adjusted(row, products(query, key), key);
                  code.store(scores, weights, i);
                  return {code.maximum(carried[0], scores)};
                })[0];
  Value maximum = code.horizontalMaximum(largest);
  Value spread = code.broadcast(maximum, lanes);
  Value sum = code.loop(code.index(0), count, lanes, {wide(0)},
                        [&](Value i, llvm::ArrayRef<Value> carried) -> Values {
                          Value scores = code.load(floats, weights, i);
                          Value weight = exp(code, code.sub(scores, spread));
                          code.store(weight, weights, i);
                          return {code.add(carried[0], weight)};
                        })[0];
  Value decay = exp(code, code.sub(old, maximum));
  Value before = code.load(code.f32(), state, code.index(1));
  code.store(maximum, state, code.index(0));
  code.store(code.fma(before, decay, code.horizontalSum(sum)), state,
             code.index(1));
  Value values = rowPointer(op.getV(), keyHead, firstKey);
  Type stored = elementType(op.getV());
  // As many vectors at a time as leave registers for what they are made of.
  constexpr int64_t chunk = 8 * lanes;
  for (int64_t from = 0; from < valueWidth; from += chunk) {
    llvm::SmallVector<std::pair<int64_t, int64_t>> pieces; // offset, count
    for (int64_t i = from; i < std::min(from + chunk, valueWidth); i += lanes)
      pieces.emplace_back(i, std::min(lanes, valueWidth - i));
    Values sums;
    for (auto [offset, count] : pieces)
      sums.push_back(
          code.mul(code.load(floats, state, code.index(2 * lanes + offset)),
                   code.broadcast(decay, lanes)));
    sums = code.loop(
        code.index(0), count, 1, sums,
        [&](Value key, llvm::ArrayRef<Value> carried) {
          Value weight =
              code.broadcast(code.load(code.f32(), weights, key), lanes);
          Value value = code.address(stored, values,
                                     code.mul(key, code.index(valueWidth)));
          Values next;
          for (auto [piece, sum] : llvm::zip_equal(pieces, carried))
            next.push_back(code.fma(
                weight,
                loadRow(stored, piece.second, value, code.index(piece.first)),
                sum));
          return next;
        });
    for (auto [piece, sum] : llvm::zip_equal(pieces, sums))
      code.store(sum, state, code.index(2 * lanes + piece.first));
  }
}

void AttentionTile::finish(const Row &row) {
  Value state = stateOf(row);
  Value sum = code.load(code.f32(), state, code.index(1));
  Value isEmpty = code.compare(Compare::eq, sum, number(0));
  Value inverse = code.divide(number(1), sum);
  inverse = code.select(isEmpty, number(0), inverse);
  Value at = kernel.positionOf(
      {batch, row.head, row.query},
      llvm::ArrayRef<DimExpr>(kernel.shape(op.getResult())).drop_back());
  Value result = kernel.outputRow(op.getResult(), at);
  for (int64_t i = 0; i < valueWidth; i += lanes) {
    Value y = code.mul(code.load(floats, state, code.index(2 * lanes + i)),
                       code.broadcast(inverse, lanes));
    code.store(code.slice(y, 0, std::min(lanes, valueWidth - i)), result,
               code.index(i));
  }
}

void AttentionTile::emit() {
  Value rows =
      code.mul(code.sub(endQuery, firstQuery), code.index(division.heads));
  auto forRows = [&](llvm::function_ref<void(const Row &)> body) {
    code.loop(code.index(0), rows, 1,
              [&](Value number) { body(rowAt(number)); });
  };
  forRows([&](const Row &row) {
    Value state = stateOf(row);
    code.store(number(std::numeric_limits<float>::lowest()), state,
               code.index(0));
    code.store(number(0), state, code.index(1));
    code.loop(code.index(2 * lanes), code.index(stateFloats), lanes,
              [&](Value i) { code.store(wide(0), state, i); });
  });
  auto [first, end] = keyRange();
  keyEnd = end;
  code.loop(first, end, blockKeys, [&](Value key) {
    Value count = code.minimum(code.sub(keyEnd, key), code.index(blockKeys));
    forRows([&](const Row &row) { addBlock(row, key, count); });
  });
  forRows([&](const Row &row) { finish(row); });
}

} // namespace nibble::cpu
