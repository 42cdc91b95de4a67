//===- CodeFlow.cpp - Loops, branches and dimensions ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Code.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace nibble::codegen {

//===----------------------------------------------------------------------===//
// Control flow
//===----------------------------------------------------------------------===//

void Code::loop(Value from, Value to, int64_t step,
                llvm::function_ref<void(Value)> body) {
  loop(from, to, step, {}, [&](Value i, llvm::ArrayRef<Value>) -> Values {
    body(i);
    return {};
  });
}

Values
Code::loop(Value from, Value to, int64_t step, llvm::ArrayRef<Value> init,
           llvm::function_ref<Values(Value, llvm::ArrayRef<Value>)> body) {
  auto op = scf::ForOp::create(
      builder, location, from, to, index(step), init,
      [&](OpBuilder &, Location, Value i, ValueRange carried) {
        Values next = body(i, llvm::to_vector(carried));
        scf::YieldOp::create(builder, location, next);
      });
  return llvm::to_vector(llvm::map_range(
      op.getResults(), [](OpResult result) -> Value { return result; }));
}

void Code::branch(Value condition, llvm::function_ref<void()> then,
                  llvm::function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(builder, location, TypeRange(), condition,
                              static_cast<bool>(otherwise));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(op.thenBlock());
  then();
  if (!otherwise)
    return;
  builder.setInsertionPointToStart(op.elseBlock());
  otherwise();
}

Value Code::choose(Value condition, llvm::function_ref<Value()> then,
                   llvm::function_ref<Value()> otherwise) {
  auto yield = [&](llvm::function_ref<Value()> branch) {
    return [this, branch](OpBuilder &, Location) {
      Value value = branch();
      scf::YieldOp::create(builder, location, value);
    };
  };
  return scf::IfOp::create(builder, location, condition, yield(then),
                           yield(otherwise))
      .getResult(0);
}

//===----------------------------------------------------------------------===//
// Dimensions
//===----------------------------------------------------------------------===//

namespace {

/// Reads what DimExpr::str prints, emitting ops instead of building a tree: the
/// text is the interface of DimExpr, its nodes are private.
class DimensionEmitter {
public:
  DimensionEmitter(Code &code, llvm::StringRef text,
                   const llvm::StringMap<Value> &symbols)
      : code(code), text(text), symbols(symbols) {}

  Value sum() {
    Value result = product();
    while (true) {
      if (consume('+'))
        result = code.add(result, product());
      else if (consume('-'))
        result = code.sub(result, product());
      else
        return result;
    }
  }

private:
  bool consume(char c) {
    text = text.ltrim(' ');
    return text.consume_front(llvm::StringRef(&c, 1));
  }

  Value product() {
    Value result = factor();
    while (consume('*'))
      result = code.mul(result, factor());
    return result;
  }

  Value factor() {
    if (consume('-'))
      return code.sub(code.index(0), factor());
    if (consume('(')) {
      Value result = sum();
      consume(')');
      return result;
    }
    uint64_t number = 0;
    if (!text.consumeInteger(10, number))
      return code.index(static_cast<int64_t>(number));
    llvm::StringRef name = text.take_while(
        [](char c) { return llvm::isAlnum(c) || c == '_' || c == '.'; });
    text = text.drop_front(name.size());
    if (!consume('('))
      return symbol(name);
    Value a = sum();
    consume(',');
    Value b = sum();
    consume(')');
    return call(name, a, b);
  }

  Value symbol(llvm::StringRef name) {
    // Every symbol of a kernel is one of its scalars (qkernel.kernel C2).
    auto it = symbols.find(name);
    return it == symbols.end() ? code.index(0) : it->second;
  }

  Value call(llvm::StringRef name, Value a, Value b) {
    if (name == "floordiv")
      return code.floorDivide(a, b);
    if (name == "mod")
      return code.floorModulo(a, b);
    return name == "min" ? code.minimum(a, b) : code.maximum(a, b);
  }

  Code &code;
  llvm::StringRef text;
  const llvm::StringMap<Value> &symbols;
};

} // namespace

Value Code::dimension(const DimExpr &expression,
                      const llvm::StringMap<Value> &symbols) {
  if (std::optional<int64_t> constant = expression.asConstant())
    return index(*constant);
  std::string text = expression.str();
  return DimensionEmitter(*this, text, symbols).sum();
}

} // namespace nibble::codegen
