//===- StateSpace.cpp - Operators that carry a state ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// LinearAttention and CausalConvWithState of ai.onnx 27: what a token adds goes
// into a state of fixed size, instead of a cache that grows. Everything is
// computed in float64, token after token, and rounded once.
//
//===----------------------------------------------------------------------===//

#include "Strided.h"

#include <cmath>

namespace nibble::reference {

//===----------------------------------------------------------------------===//
// LinearAttention
//===----------------------------------------------------------------------===//

namespace {

/// A call of LinearAttention, checked. Per head the state S is a matrix
/// [keyWidth, valueWidth]; a token does
///
///   S = exp(decay) S;  v = beta (v - S^T k);  S = S + k v^T;  y = scale S^T q
///
/// of which 'update_rule' may leave out the first two.
struct LinearAttention {
  int64_t batches, tokens, queryHeads, heads, keyWidth, valueWidth;
  const Tensor *query, *key, *value;
  const Tensor *past, *decay, *beta; ///< null where absent
  double scale;

  static FailureOr<LinearAttention> check(const NodeCall &call);
  /// Runs all tokens of one head and of the queries that share it.
  void run(int64_t batch, int64_t head, std::vector<double> &state,
           Tensor &result) const;

private:
  LogicalResult checkRule(const NodeCall &call) const;
  LogicalResult checkShapes(const NodeCall &call) const;
  /// Element of a tensor [batches, tokens, ...].
  static double at(const Tensor &tensor, int64_t row, int64_t i) {
    return tensor.numberAt(row * tensor.shape()[2] + i);
  }
};

} // namespace

LogicalResult LinearAttention::checkRule(const NodeCall &call) const {
  llvm::StringRef rule =
      call.node.stringAttribute("update_rule", "gated_delta");
  bool isGated = rule == "gated" || rule == "gated_delta";
  bool isDelta = rule == "delta" || rule == "gated_delta";
  if (!isGated && !isDelta && rule != "linear")
    return call.error() << "expects 'update_rule' to be linear, gated, delta "
                           "or gated_delta, got '"
                        << rule << "'";
  if (isGated != (decay != nullptr) || isDelta != (beta != nullptr))
    return call.error() << "expects operand 'decay' for gated rules and 'beta' "
                           "for delta rules, and no others, got update_rule = '"
                        << rule << "' " << (decay ? "with" : "without")
                        << " decay and " << (beta ? "with" : "without")
                        << " beta";
  return success();
}

LogicalResult LinearAttention::checkShapes(const NodeCall &call) const {
  Shape expectedKey = {batches, tokens, heads * keyWidth};
  Shape expectedValue = {batches, tokens, heads * valueWidth};
  if (key->shape() != expectedKey || value->shape() != expectedValue)
    return call.error() << "expects keys and values of " << batches << "x"
                        << tokens << " tokens with " << heads
                        << " heads, keys as wide as queries, got "
                        << describe(*query) << ", " << describe(*key) << " and "
                        << describe(*value);
  Shape expectedState = {batches, heads, keyWidth, valueWidth};
  if (past && past->shape() != expectedState)
    return call.error() << "expects a past state "
                        << describe(past->type(), expectedState) << ", got "
                        << describe(*past);
  auto fits = [&](const Tensor *tensor, int64_t few, int64_t many) {
    if (!tensor)
      return true;
    if (tensor->rank() != 3)
      return false;
    int64_t width = tensor->shape()[2];
    return tensor->shape() == Shape{batches, tokens, width} &&
           (width == few || width == many);
  };
  if (!fits(decay, heads, heads * keyWidth))
    return call.error() << "expects a decay per head or per element of the "
                           "keys, got "
                        << describe(*decay);
  if (!fits(beta, 1, heads))
    return call.error() << "expects a beta per head or one for all, got "
                        << describe(*beta);
  return success();
}

FailureOr<LinearAttention> LinearAttention::check(const NodeCall &call) {
  for (size_t i = 0; i < 6; ++i)
    if (call.operand(i) && !call[i].type().isFloat())
      return call.error() << "expects floats, got " << describe(call[i]);
  for (size_t i = 0; i < 3; ++i)
    if (call[i].rank() != 3)
      return call.error() << "expects [batch, tokens, width], got "
                          << describe(call[i]) << " as operand #" << i;
  LinearAttention self;
  self.queryHeads = call.intAttribute("q_num_heads", 0);
  self.heads = call.intAttribute("kv_num_heads", 0);
  self.query = &call[0];
  self.key = &call[1];
  self.value = &call[2];
  self.past = call.operand(3);
  self.decay = call.operand(4);
  self.beta = call.operand(5);
  self.batches = self.query->shape()[0];
  self.tokens = self.query->shape()[1];
  if (self.heads < 1 || self.queryHeads < 1 ||
      self.queryHeads % self.heads != 0 ||
      self.query->shape()[2] % self.queryHeads != 0)
    return call.error() << "expects 'q_num_heads' to be a multiple of "
                           "'kv_num_heads' that divides the width of "
                        << describe(*self.query) << ", got " << self.queryHeads
                        << " and " << self.heads;
  self.keyWidth = self.query->shape()[2] / self.queryHeads;
  self.valueWidth = self.value->shape()[2] / self.heads;
  self.scale = call.floatAttribute("scale", 0);
  if (self.scale == 0)
    self.scale =
        1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, self.keyWidth)));
  if (failed(self.checkRule(call)) || failed(self.checkShapes(call)))
    return failure();
  return self;
}

void LinearAttention::run(int64_t batch, int64_t head,
                          std::vector<double> &state, Tensor &result) const {
  std::vector<double> added(valueWidth);
  int64_t group = queryHeads / heads;
  for (int64_t token = 0; token < tokens; ++token) {
    int64_t row = batch * tokens + token;
    auto keyAt = [&](int64_t d) { return at(*key, row, head * keyWidth + d); };
    if (decay) {
      bool isPerHead = decay->shape()[2] == heads;
      for (int64_t d = 0; d < keyWidth; ++d) {
        double factor =
            std::exp(at(*decay, row, isPerHead ? head : head * keyWidth + d));
        for (int64_t m = 0; m < valueWidth; ++m)
          state[d * valueWidth + m] *= factor;
      }
    }
    for (int64_t m = 0; m < valueWidth; ++m) {
      added[m] = at(*value, row, head * valueWidth + m);
      if (!beta)
        continue;
      double known = 0;
      for (int64_t d = 0; d < keyWidth; ++d)
        known += state[d * valueWidth + m] * keyAt(d);
      added[m] =
          (added[m] - known) * at(*beta, row, beta->shape()[2] == 1 ? 0 : head);
    }
    for (int64_t d = 0; d < keyWidth; ++d)
      for (int64_t m = 0; m < valueWidth; ++m)
        state[d * valueWidth + m] += keyAt(d) * added[m];
    for (int64_t i = head * group; i < (head + 1) * group; ++i)
      for (int64_t m = 0; m < valueWidth; ++m) {
        double sum = 0;
        for (int64_t d = 0; d < keyWidth; ++d)
          sum += at(*query, row, i * keyWidth + d) * state[d * valueWidth + m];
        result.setNumberAt((row * queryHeads + i) * valueWidth + m,
                           scale * sum);
      }
  }
}

static Results linearAttention(const NodeCall &call) {
  FailureOr<LinearAttention> checked = LinearAttention::check(call);
  if (failed(checked))
    return failure();
  const LinearAttention &rule = *checked;
  FailureOr<Tensor> result =
      call.allocate(call[0].type(), {rule.batches, rule.tokens,
                                     rule.queryHeads * rule.valueWidth});
  FailureOr<Tensor> present =
      call.allocate(rule.past ? rule.past->type() : call[0].type(),
                    {rule.batches, rule.heads, rule.keyWidth, rule.valueWidth});
  if (failed(result) || failed(present))
    return failure();
  int64_t size = rule.keyWidth * rule.valueWidth;
  std::vector<double> state(size);
  for (int64_t i = 0; i < rule.batches * rule.heads; ++i) {
    for (int64_t j = 0; j < size; ++j)
      state[j] = rule.past ? rule.past->numberAt(i * size + j) : 0;
    rule.run(i / rule.heads, i % rule.heads, state, *result);
    for (int64_t j = 0; j < size; ++j)
      present->setNumberAt(i * size + j, state[j]);
  }
  return std::vector<Tensor>{*result, *present};
}

//===----------------------------------------------------------------------===//
// CausalConvWithState
//===----------------------------------------------------------------------===//

/// x [batch, channels, length] behind the last k - 1 elements before it, each
/// channel convolved with its own row of weights [channels, 1, k].
static Results causalConvolution(const NodeCall &call) {
  const Tensor &x = call[0], &weight = call[1];
  const Tensor *bias = call.operand(2), *past = call.operand(3);
  llvm::StringRef activation = call.node.stringAttribute("activation", "none");
  if (activation != "none" && activation != "silu" && activation != "swish")
    return call.error() << "expects 'activation' to be none, silu or swish, "
                           "got '"
                        << activation << "'";
  for (size_t i = 0; i < 4; ++i)
    if (call.operand(i) && !call[i].type().isFloat())
      return call.error() << "expects floats, got " << describe(call[i]);
  if (x.rank() != 3 || weight.rank() != 3 || weight.shape()[2] < 1 ||
      weight.shape() != Shape{x.shape()[1], 1, weight.shape()[2]})
    return call.error() << "expects x [batch, channels, length] and weights "
                           "[channels, 1, k], got "
                        << describe(x) << " and " << describe(weight);
  int64_t channels = x.shape()[1], length = x.shape()[2],
          before = weight.shape()[2] - 1;
  if (bias && bias->shape() != Shape{channels})
    return call.error() << "expects a bias per channel, got "
                        << describe(*bias);
  Shape stateShape = {x.shape()[0], channels, before};
  if (past && past->shape() != stateShape)
    return call.error() << "expects a past state "
                        << describe(x.type(), stateShape) << ", got "
                        << describe(*past);
  FailureOr<Tensor> present = call.allocate(x.type(), stateShape);
  FailureOr<Tensor> result = call.allocate(x.type(), x.shape());
  if (failed(present) || failed(result))
    return failure();
  for (int64_t row = 0; row < x.shape()[0] * channels; ++row) {
    auto padded = [&](int64_t i) {
      if (i >= before)
        return x.numberAt(row * length + i - before);
      return past ? past->numberAt(row * before + i) : 0.0;
    };
    int64_t channel = row % channels;
    for (int64_t i = 0; i < length; ++i) {
      double sum = bias ? bias->numberAt(channel) : 0;
      for (int64_t j = 0; j <= before; ++j)
        sum += padded(i + j) * weight.numberAt(channel * (before + 1) + j);
      if (activation != "none")
        sum /= 1 + std::exp(-sum);
      result->setNumberAt(row * length + i, sum);
    }
    for (int64_t i = 0; i < before; ++i)
      present->setNumberAt(row * before + i, padded(length + i));
  }
  return std::vector<Tensor>{*result, *present};
}

void addStateSpaceNodes(NodeTable &table) {
  table["LinearAttention"] = {linearAttention, 3};
  table["CausalConvWithState"] = {causalConvolution, 2};
}

} // namespace nibble::reference
