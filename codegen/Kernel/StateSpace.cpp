//===- StateSpace.cpp - Operators that carry a state ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// LinearAttention keeps a matrix S [keys, values] per head. Its columns do not
// meet: each depends on the same column of the values alone. So one task is up
// to eight columns of one head, for all tokens in order, on the present state
// in memory:
//
//   S = exp(decay) S;  v = beta (v - S^T k);  S = S + k v^T;  y = scale S^T q
//
// CausalConvWithState slides a window over each channel: one task is one row.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"
#include "nibble/codegen/Kernel/Math.h"

#include "mlir/IR/TypeUtilities.h"

#include <numeric>

using namespace mlir;

namespace nibble::codegen {

namespace {

/// Whether the dimensions of `tensor` are known to be `expected`.
bool hasShape(Kernel &kernel, Value tensor, const Shape &expected) {
  return kernel.shape(tensor) == expected;
}

/// What a node of LinearAttention says.
struct LinearAttentionNode {
  LinearAttentionNode(Kernel &kernel, Operation *op)
      : kernel(kernel), node(cast<onnx::NodeOp>(op)), past(node.input(3)),
        decay(node.input(4)), beta(node.input(5)),
        result(node.getOutputs().front()), state(node.getOutputs().back()),
        heads(node.intAttribute("kv_num_heads", 0)),
        queryHeads(node.intAttribute("q_num_heads", 0)) {
    problem = findProblem();
    if (!problem.empty())
      return;
    std::optional<int64_t> width = kernel.shape(state)[3].asConstant();
    lanes = width ? std::gcd(*width, int64_t(8)) : 1;
    group = queryHeads / heads;
  }

  Kernel &kernel;
  mutable onnx::NodeOp node;
  Value past, decay, beta; ///< null where absent
  Value result, state;
  int64_t heads, queryHeads;
  int64_t group = 1;   ///< queries per head
  int64_t lanes = 1;   ///< columns of a task: they divide a row of the state
  std::string problem; ///< why there is no code; empty if there is

private:
  std::string findProblem();
  bool fits();
};

/// Whether all shapes are known to go together.
bool LinearAttentionNode::fits() {
  Value q = node.getInputs()[0], k = node.getInputs()[1],
        v = node.getInputs()[2];
  if (node->getNumResults() != 2 || kernel.rank(q) != 3 ||
      kernel.rank(v) != 3 || kernel.rank(state) != 4)
    return false;
  const Shape &size = kernel.shape(state);
  DimExpr batch = kernel.shape(q)[0], tokens = kernel.shape(q)[1], count(heads),
          queryCount(queryHeads);
  auto has = [&](Value tensor, DimExpr width) {
    return hasShape(kernel, tensor, {batch, tokens, width});
  };
  return size[0] == batch && size[1] == count && has(q, queryCount * size[2]) &&
         has(k, count * size[2]) && has(v, count * size[3]) &&
         has(result, queryCount * size[3]) &&
         (!past || hasShape(kernel, past, size)) &&
         (!decay || has(decay, count) || has(decay, count * size[2])) &&
         (!beta || has(beta, DimExpr(1)) || has(beta, count));
}

std::string LinearAttentionNode::findProblem() {
  llvm::StringRef rule = node.stringAttribute("update_rule", "gated_delta");
  bool isGated = rule == "gated" || rule == "gated_delta";
  bool isDelta = rule == "delta" || rule == "gated_delta";
  if ((!isGated && !isDelta && rule != "linear") ||
      isGated != (decay != nullptr) || isDelta != (beta != nullptr))
    return "a decay or a beta that 'update_rule' does not go with";
  constexpr int64_t most = 1024; // a loop carries a value per query
  if (heads < 1 || queryHeads < 1 || queryHeads > most || queryHeads % heads)
    return "head counts that do not divide, or exceed 1024";
  if (!fits())
    return "shapes that are not known to fit together";
  for (Value tensor : {node.getInputs()[2], past, result, state})
    if (tensor && !getElementTypeOrSelf(tensor.getType()).isF32())
      return "elements other than float32";
  return "";
}

DimExpr linearAttentionTasks(Kernel &kernel, Operation *op) {
  LinearAttentionNode attention(kernel, op);
  if (!attention.problem.empty())
    return DimExpr(1);
  const Shape &state = kernel.shape(attention.state);
  return state[0] * state[1] * state[3].floorDiv(DimExpr(attention.lanes));
}

/// Columns [first, first + lanes) of the state of one head.
class StateColumns {
public:
  StateColumns(Kernel &kernel, const LinearAttentionNode &attention, Value task)
      : kernel(kernel), code(kernel.code), attention(attention),
        inputs(attention.node.getInputs()),
        type(code.vector(code.f32(), attention.lanes)),
        keyWidth(kernel.size(attention.state, 2)),
        valueWidth(kernel.size(attention.state, 3)) {
    Shape shape = kernel.shape(attention.state);
    Values at =
        kernel.indexOf(task, {shape[0], shape[1],
                              shape[3].floorDiv(DimExpr(attention.lanes))});
    batch = at[0];
    head = at[1];
    first = code.mul(at[2], code.index(attention.lanes));
    base = code.add(code.mul(code.mul(kernel.positionOf({batch, head},
                                                        {shape[0], shape[1]}),
                                      keyWidth),
                             valueWidth),
                    first);
    double scale = attention.node.floatAttribute("scale", 0);
    if (scale != 0)
      this->scale = code.real(code.f32(), scale);
    else
      this->scale = code.divide(code.real(code.f32(), 1),
                                code.sqrt(code.toFloat(keyWidth, code.f32())));
  }

  void emit() {
    eachRow([&](Value position) {
      Value past = attention.past;
      storeState(past ? code.load(type, kernel.pointer(past), position)
                      : code.zero(type),
                 position);
    });
    code.loop(code.index(0), kernel.size(inputs[0], 1), 1,
              [&](Value token) { addToken(token); });
  }

private:
  /// Calls `body` with the position of the columns in each row of the state.
  void eachRow(llvm::function_ref<void(Value position)> body) {
    code.loop(code.index(0), keyWidth, 1,
              [&](Value d) { body(rowPosition(d)); });
  }
  Value rowPosition(Value d) { return code.add(base, code.mul(d, valueWidth)); }
  Value loadState(Value position) {
    return code.load(type, kernel.output(attention.state), position);
  }
  void storeState(Value value, Value position) {
    code.store(value, kernel.output(attention.state), position);
  }
  /// Element `at` of a token of an operand, in all lanes.
  Value spread(Value tensor, Value token, Value at) {
    return code.spread(
        code.resizeFloat(kernel.element(tensor, {batch, token, at}),
                         code.f32()),
        type);
  }
  Value inHead(Value d) { return code.add(code.mul(head, keyWidth), d); }

  /// The factor of row `d` of the state.
  Value decayOf(Value token, Value d) {
    bool isPerHead =
        kernel.shape(attention.decay)[2].asConstant() == attention.heads;
    return exp(code,
               spread(attention.decay, token, isPerHead ? head : inHead(d)));
  }
  /// Decays the state and gives S^T k.
  Value decayAndRead(Value token) {
    return code.loop(
        code.index(0), keyWidth, 1, {code.zero(type)},
        [&](Value d, llvm::ArrayRef<Value> carried) -> Values {
          Value position = rowPosition(d), state = loadState(position);
          if (attention.decay) {
            state = code.mul(state, decayOf(token, d));
            storeState(state, position);
          }
          return {
              code.fma(state, spread(inputs[1], token, inHead(d)), carried[0])};
        })[0];
  }
  void addToken(Value token);

  Kernel &kernel;
  Code &code;
  const LinearAttentionNode &attention;
  ValueRange inputs;
  Type type; ///< of the columns of a row
  Value keyWidth, valueWidth;
  Value batch, head, first;
  Value base; ///< position of the columns in row 0
  Value scale;
};

void StateColumns::addToken(Value token) {
  Value known =
      attention.decay || attention.beta ? decayAndRead(token) : Value();
  const Shape &valueShape = kernel.shape(inputs[2]);
  Value value =
      code.load(type, kernel.pointer(inputs[2]),
                kernel.positionOf(
                    {batch, token, code.add(code.mul(head, valueWidth), first)},
                    valueShape));
  if (attention.beta) {
    bool isShared = kernel.shape(attention.beta)[2].asConstant() == 1;
    value = code.mul(
        code.sub(value, known),
        spread(attention.beta, token, isShared ? code.index(0) : head));
  }
  Value firstQuery = code.mul(head, code.index(attention.group));
  auto queryHead = [&](int64_t i) {
    return code.add(firstQuery, code.index(i));
  };
  Values sums = code.loop(
      code.index(0), keyWidth, 1, Values(attention.group, code.zero(type)),
      [&](Value d, llvm::ArrayRef<Value> carried) {
        Value position = rowPosition(d);
        Value state = code.fma(spread(inputs[1], token, inHead(d)), value,
                               loadState(position));
        storeState(state, position);
        Values next;
        for (auto [i, sum] : llvm::enumerate(carried)) {
          Value at = code.add(code.mul(queryHead(i), keyWidth), d);
          next.push_back(code.fma(spread(inputs[0], token, at), state, sum));
        }
        return next;
      });
  for (auto [i, sum] : llvm::enumerate(sums)) {
    Value at = code.add(code.mul(queryHead(i), valueWidth), first);
    code.store(
        code.mul(sum, code.spread(scale, type)),
        kernel.output(attention.result),
        kernel.positionOf({batch, token, at}, kernel.shape(attention.result)));
  }
}

void linearAttentionTask(Kernel &kernel, Operation *op, Value task) {
  LinearAttentionNode attention(kernel, op);
  if (!attention.problem.empty()) {
    kernel.unsupported(op, attention.problem);
    return;
  }
  StateColumns(kernel, attention, task).emit();
}

DimExpr convolutionTasks(Kernel &kernel, Operation *op) {
  const Shape &shape = kernel.shape(op->getOperand(0));
  return shape.size() == 3 ? shape[0] * shape[1] : DimExpr(1);
}

/// Whether all shapes of a CausalConvWithState are known to go together.
bool convolutionFits(Kernel &kernel, onnx::NodeOp node) {
  Value x = node.getInputs()[0], weight = node.getInputs()[1];
  Value bias = node.input(2), past = node.input(3);
  if (node->getNumResults() != 2 || kernel.rank(x) != 3 ||
      kernel.rank(weight) != 3)
    return false;
  const Shape &shape = kernel.shape(x);
  DimExpr width = kernel.shape(weight)[2];
  Shape state = {shape[0], shape[1], width - DimExpr(1)};
  return hasShape(kernel, weight, {shape[1], DimExpr(1), width}) &&
         hasShape(kernel, node.getOutputs()[0], shape) &&
         hasShape(kernel, node.getOutputs()[1], state) &&
         (!bias || hasShape(kernel, bias, {shape[1]})) &&
         (!past || hasShape(kernel, past, state));
}

/// One channel of one batch.
void convolutionTask(Kernel &kernel, Operation *op, Value task) {
  Code &code = kernel.code;
  auto node = cast<onnx::NodeOp>(op);
  if (!convolutionFits(kernel, node)) {
    kernel.unsupported(op, "shapes that are not known to fit together");
    return;
  }
  llvm::StringRef activation = node.stringAttribute("activation", "none");
  bool isActivated = activation == "silu" || activation == "swish";
  if (!isActivated && activation != "none") {
    kernel.unsupported(op, "an activation other than silu and swish");
    return;
  }
  Value x = node.getInputs()[0], weight = node.getInputs()[1];
  Value bias = node.input(2), past = node.input(3);
  Value result = node.getOutputs()[0], present = node.getOutputs()[1];
  llvm::ArrayRef<DimExpr> shape = kernel.shape(x);
  Values at = kernel.indexOf(task, shape.take_front(2));
  Value length = kernel.size(x, 2), width = kernel.size(weight, 2);
  Value before = code.sub(width, code.index(1));
  Type type = kernel.registerType(x);
  auto in = [&](Value tensor, Value i) {
    return kernel.element(tensor, {at[0], at[1], i});
  };
  // Element i of the past and x behind it.
  auto padded = [&](Value i) {
    return code.choose(
        code.compare(Compare::lt, i, before),
        [&] { return past ? in(past, i) : code.zero(type); },
        [&] { return in(x, code.sub(i, before)); });
  };
  auto convolve = [&](Value i, llvm::function_ref<Value(Value)> read) {
    Value initial = bias ? kernel.element(bias, {at[1]}) : code.zero(type);
    Value sum =
        code.loop(code.index(0), width, 1, {initial},
                  [&](Value j, llvm::ArrayRef<Value> carried) -> Values {
                    Value factor =
                        kernel.element(weight, {at[1], code.index(0), j});
                    return {code.fma(read(code.add(i, j)), factor, carried[0])};
                  })[0];
    if (isActivated)
      sum = code.mul(sum, sigmoid(code, sum));
    kernel.store(result, {at[0], at[1], i}, sum);
  };
  // Windows that begin in the past, and those of x alone.
  Value border = code.minimum(before, length);
  code.loop(code.index(0), border, 1, [&](Value i) { convolve(i, padded); });
  code.loop(border, length, 1, [&](Value i) {
    convolve(i, [&](Value j) { return in(x, code.sub(j, before)); });
  });
  code.loop(code.index(0), before, 1, [&](Value i) {
    kernel.store(present, {at[0], at[1], i}, padded(code.add(length, i)));
  });
}

} // namespace

void addStateSpaceLowerings(LoweringTable &table) {
  table["onnx.LinearAttention"].tasks = linearAttentionTasks;
  table["onnx.LinearAttention"].task = linearAttentionTask;
  table["onnx.LinearAttention"].operands = 3;
  table["onnx.CausalConvWithState"].tasks = convolutionTasks;
  table["onnx.CausalConvWithState"].task = convolutionTask;
  table["onnx.CausalConvWithState"].operands = 2;
}

} // namespace nibble::codegen
