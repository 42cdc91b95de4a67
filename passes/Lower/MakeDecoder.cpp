//===- MakeDecoder.cpp - Entry points prefill and decode ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A clone of @main gets caches in place (DecoderCaches), positions per sequence
// (DecoderPositions) and, as @prefill, an end for the last tokens alone
// (SelectRows). @decode is the same with a sequence of one token, which makes
// many sizes numbers. Nothing is left in the module unless both succeed.
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Lower/Passes.h"

#include "Decoder.h"

#include "nibble/Support/Decline.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace nibble {
#define GEN_PASS_DEF_MAKEDECODER
#include "nibble/passes/Lower/Passes.h.inc"
} // namespace nibble

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;
using namespace nibble::qmodel;

namespace {

/// Erases ops that nothing uses.
void eraseDead(func::FuncOp function) {
  SmallVector<Operation *> ops;
  for (Operation &op : function.getBody().front().without_terminator())
    ops.push_back(&op);
  for (Operation *op : llvm::reverse(ops))
    if (op->use_empty() && isMemoryEffectFree(op))
      op->erase();
}

class DecoderBuilder {
public:
  DecoderBuilder(ModuleOp module, func::FuncOp main, DecoderParts parts,
                 Type element)
      : module(module), main(main), parts(std::move(parts)), element(element) {}

  void run() {
    if (failed(build()))
      for (func::FuncOp function : {prefill, decode})
        if (function)
          function.erase();
  }

private:
  LogicalResult build();
  func::FuncOp clone(func::FuncOp source, StringRef name);
  /// Everything that both entry points have in common, in `prefill`.
  LogicalResult makeCommon();
  void solveCounts(const DecoderValues &values);
  void limitCapacity(const DecoderValues &values, const DimsAnalysis &dims);
  LogicalResult replaceArguments();
  void widenTokens(BlockArgument tokens);
  LogicalResult finish(func::FuncOp function, DimsAnalysis &dims, Value last);
  void addStates();
  /// An i64 argument [batch] with elements in [0, limit).
  BlockArgument addCounts(func::FuncOp function, unsigned index, StringRef name,
                          int64_t limit);

  ModuleOp module;
  func::FuncOp main, prefill, decode;
  DecoderParts parts;
  Type element;
  std::vector<DecoderState> states;
};

func::FuncOp DecoderBuilder::clone(func::FuncOp source, StringRef name) {
  func::FuncOp copy = source.clone();
  copy.setSymName(name);
  module.getBody()->push_back(copy);
  return copy;
}

BlockArgument DecoderBuilder::addCounts(func::FuncOp function, unsigned index,
                                        StringRef name, int64_t limit) {
  Builder builder(module.getContext());
  auto type = RankedTensorType::get(
      {parts.batch.asConstant().value_or(ShapedType::kDynamic)},
      builder.getI64Type());
  (void)function.insertArgument(
      index, type,
      builder.getDictionaryAttr(
          {builder.getNamedAttr(dimsAttrName, builder.getStrArrayAttr(StringRef(
                                                  parts.batch.str()))),
           builder.getNamedAttr(onnx::nameAttrName,
                                builder.getStringAttr(name)),
           builder.getNamedAttr(qkernel::rangeAttrName,
                                builder.getI64ArrayAttr({0, limit}))}),
      function.getLoc());
  return function.getArgument(index);
}

/// Inputs that count tokens of each sequence are what makes the lengths of
/// attentions all tokens, and new tokens come behind the past.
void DecoderBuilder::solveCounts(const DecoderValues &values) {
  DimExpr past = DimExpr::symbol(parts.past);
  auto solve = [&](Value value, const DimExpr &wanted) {
    std::optional<DimExpr> element =
        value ? values.integer(value) : std::nullopt;
    if (!element)
      return;
    for (const std::string &symbol : element->symbols())
      if (std::optional<unsigned> argument = argumentOfCount(symbol)) {
        DimExpr rest = *element - DimExpr::symbol(symbol);
        if (!rest.symbols().count(symbol))
          parts.counts[*argument] = wanted - rest;
      }
  };
  for (Operation &op : prefill.getBody().front()) {
    if (auto attention = dyn_cast<AttentionOp>(op))
      solve(attention.getLengths(), past + DimExpr::symbol(parts.sequence));
    else if (auto node = dyn_cast<onnx::NodeOp>(op);
             node && node.is("TensorScatter"))
      solve(node.input(2), past);
  }
}

/// A table of positions ends what the cache can hold.
void DecoderBuilder::limitCapacity(const DecoderValues &values,
                                   const DimsAnalysis &dims) {
  for (Operation &op : prefill.getBody().front()) {
    Value table, indices;
    if (auto embedding = dyn_cast<EmbeddingOp>(op)) {
      table = embedding.getTable();
      indices = embedding.getIndices();
    } else if (auto packed = dyn_cast<qkernel::PackedEmbeddingOp>(op)) {
      table = packed.getCodes();
      indices = packed.getIndices();
    } else if (auto node = dyn_cast<onnx::NodeOp>(op);
               node && node.is("Gather") && node.intAttribute("axis", 0) == 0) {
      table = node.input(0);
      indices = node.input(1);
    }
    if (!table || !values.dependsOnPast(indices) || !values.integer(indices) ||
        !dims.of(table).shape || dims.of(table).shape->empty())
      continue;
    std::optional<int64_t> rows = dims.of(table).shape->front().asConstant();
    // Of the first token of a sequence.
    std::map<std::string, DimExpr> first{{parts.past, DimExpr(0)}};
    for (unsigned i = 1; i <= dims.of(indices).shape->size(); ++i)
      first.emplace(coordinateName(i), DimExpr(0));
    std::optional<int64_t> offset =
        values.integer(indices)->substitute(first).asConstant();
    if (rows && offset)
      parts.capacity = std::min(parts.capacity, *rows - *offset);
  }
}

LogicalResult DecoderBuilder::makeCommon() {
  prefill = clone(main, "prefill");
  DimExpr past = DimExpr::symbol(parts.past);
  auto bounds = dimBounds(module);
  bounds.try_emplace(parts.past, DimExpr::Bound{0, parts.capacity - 1});
  if (parts.mask)
    if (auto list =
            prefill.getArgAttrOfType<ArrayAttr>(*parts.mask, dimsAttrName))
      // A mask whose length has a name of its own.
      if (Expected<DimExpr> length =
              DimExpr::parse(cast<StringAttr>(list[1]).getValue().str());
          length && length->asSymbol() && *length->asSymbol() != parts.sequence)
        renameDims(prefill, {{*length->asSymbol(),
                              past + DimExpr::symbol(parts.sequence)}});
  DimsAnalysis dims;
  if (failed(dims.run(prefill)))
    return failure();
  DecoderValues first(parts, dims, bounds);
  first.run(prefill);
  solveCounts(first);
  DecoderValues values(parts, dims, bounds);
  values.run(prefill);
  limitCapacity(values, dims);
  if (parts.capacity < 1)
    return decline(main, makeDecoderName, "has a table without positions");

  BlockArgument lengths = addCounts(prefill, prefill.getNumArguments(),
                                    "past_lengths", parts.capacity);
  FailureOr<std::vector<DecoderState>> replaced =
      replaceCaches(prefill, parts, values, dims, lengths, element);
  if (failed(replaced))
    return failure();
  states = std::move(*replaced);
  // The caches of the model go; the states come.
  Operation *end = prefill.getBody().front().getTerminator();
  SmallVector<Value> results{end->getOperand(parts.logits)};
  for (const DecoderState &state : states)
    results.push_back(state.next);
  end->setOperands(results);
  eraseDead(prefill);
  if (failed(replacePositions(prefill, parts, values, dims, lengths)))
    return failure();
  eraseDead(prefill);
  return replaceArguments();
}

/// Tokens are i64, whatever the model's are.
void DecoderBuilder::widenTokens(BlockArgument tokens) {
  auto type = cast<RankedTensorType>(tokens.getType());
  OpBuilder builder(module.getContext());
  if (type.getElementType() == builder.getI64Type())
    return;
  tokens.setType(type.clone(builder.getI64Type()));
  auto takesAny = [](OpOperand &use) {
    return isa<EmbeddingOp, qkernel::PackedEmbeddingOp>(use.getOwner());
  };
  if (llvm::all_of(tokens.getUses(), takesAny))
    return;
  constexpr int64_t onnxInt32 = 6;
  builder.setInsertionPointToStart(&prefill.getBody().front());
  Value narrow = makeNode(
      builder, prefill.getLoc(), "Cast", type, tokens,
      builder.getNamedAttr("to", builder.getI64IntegerAttr(onnxInt32)));
  tokens.replaceUsesWithIf(narrow, [&](OpOperand &use) {
    return !takesAny(use) && use.getOwner() != narrow.getDefiningOp();
  });
}

/// Leaves tokens, past_lengths and states, in this order.
LogicalResult DecoderBuilder::replaceArguments() {
  llvm::BitVector erased(prefill.getNumArguments());
  for (unsigned i = 0; i < main.getNumArguments(); ++i) {
    if (i == parts.tokens)
      continue;
    for (Operation *user : prefill.getArgument(i).getUsers())
      return decline(user, makeDecoderName,
                     "reads argument " + Twine(i) +
                         ", which no prompt says: it is no part of a cache");
    erased.set(i);
  }
  (void)prefill.eraseArguments(erased);
  widenTokens(prefill.getArgument(0));
  prefill.setArgAttr(0, onnx::nameAttrName,
                     StringAttr::get(module.getContext(), "input_ids"));
  return success();
}

/// Types, the logits [batch, vocabulary] and the signature. `last` is null
/// where there is one token.
LogicalResult DecoderBuilder::finish(func::FuncOp function, DimsAnalysis &dims,
                                     Value last) {
  Operation *end = function.getBody().front().getTerminator();
  OpBuilder builder(end);
  Location location = end->getLoc();
  Value logits = end->getOperand(0);
  if (last)
    logits = selectLastRows(logits, last, dims);
  auto type = cast<RankedTensorType>(logits.getType());
  if (type.getRank() != 3 || type.getDimSize(1) != 1)
    return decline(function, makeDecoderName,
                   "has no logits [batch, sequence, vocabulary]");
  // Logits of fewer bits were computed in float32.
  if (auto cast = logits.getDefiningOp<onnx::NodeOp>();
      cast && cast.is("Cast") &&
      getElementTypeOrSelf(cast.input(0).getType()).isF32())
    logits = cast.input(0);
  if (!getElementTypeOrSelf(logits.getType()).isF32()) {
    constexpr int64_t onnxFloat = 1;
    logits = makeNode(
        builder, location, "Cast", type.clone(builder.getF32Type()), logits,
        builder.getNamedAttr("to", builder.getI64IntegerAttr(onnxFloat)));
  }
  logits =
      makeNode(builder, location, "Squeeze",
               RankedTensorType::get({type.getDimSize(0), type.getDimSize(2)},
                                     builder.getF32Type()),
               {logits, makeSizes(builder, location, DimExpr(1))});
  end->setOperand(0, logits);
  eraseDead(function);

  SmallVector<DictionaryAttr> attributes;
  auto named = [&](StringRef name, bool isState) {
    SmallVector<NamedAttribute> list{
        builder.getNamedAttr(onnx::nameAttrName, builder.getStringAttr(name))};
    if (isState)
      list.push_back(builder.getNamedAttr(
          qkernel::stateAttrName,
          FlatSymbolRefAttr::get(module.getContext(), name)));
    attributes.push_back(builder.getDictionaryAttr(list));
  };
  named("logits", /*isState=*/false);
  for (const DecoderState &state : states)
    named(state.name, /*isState=*/true);
  function.setType(builder.getFunctionType(
      function.getBody().getArgumentTypes(), end->getOperandTypes()));
  function.setAllResultAttrs(attributes);
  return success();
}

void DecoderBuilder::addStates() {
  OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
  for (unsigned i = 0; i < decode.getNumArguments(); ++i)
    if (auto symbol = decode.getArgAttrOfType<FlatSymbolRefAttr>(
            i, qkernel::stateAttrName))
      qkernel::StateOp::create(
          builder, main.getLoc(), symbol.getValue(), element,
          decode.getArgAttrOfType<ArrayAttr>(i, dimsAttrName));
}

LogicalResult DecoderBuilder::build() {
  // Its dimensions were derived before; where they contradict each other now,
  // the model is none of what this pass knows.
  std::string trouble;
  auto quietly = [&](llvm::function_ref<LogicalResult()> step) {
    ScopedDiagnosticHandler keep(
        module.getContext(), [&](Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() != DiagnosticSeverity::Error)
            return failure(); // remarks go on
          trouble = diagnostic.str();
          return success();
        });
    LogicalResult result = step();
    if (failed(result) && !trouble.empty())
      (void)decline(main, makeDecoderName, trouble);
    return result;
  };
  if (failed(quietly([&] { return makeCommon(); })))
    return failure();
  decode = clone(prefill, "decode");
  renameDims(decode, {{parts.sequence, DimExpr(1)}});
  auto bounds = dimBounds(module);
  BlockArgument last =
      addCounts(prefill, 2, "last", bounds[parts.sequence].max);
  DimsAnalysis prefillDims, decodeDims;
  auto refine = [&] {
    return success(succeeded(refineTypes(prefill, parts.past, prefillDims)) &&
                   succeeded(refineTypes(decode, parts.past, decodeDims)) &&
                   succeeded(finish(prefill, prefillDims, last)) &&
                   succeeded(finish(decode, decodeDims, Value())));
  };
  if (failed(quietly(refine)))
    return failure();
  addStates();
  if (failed(quietly([&] {
        return success(succeeded(verify(prefill)) && succeeded(verify(decode)));
      }))) {
    for (auto state :
         llvm::make_early_inc_range(module.getOps<qkernel::StateOp>()))
      state.erase();
    return failure();
  }
  Builder builder(module.getContext());
  auto symbol = [&](func::FuncOp function) {
    return FlatSymbolRefAttr::get(function.getSymNameAttr());
  };
  module->setAttr(
      qkernel::decoderAttrName,
      builder.getDictionaryAttr(
          {builder.getNamedAttr("prefill", symbol(prefill)),
           builder.getNamedAttr("decode", symbol(decode)),
           builder.getNamedAttr("capacity",
                                builder.getI64IntegerAttr(parts.capacity))}));
  return success();
}

struct MakeDecoder : nibble::impl::MakeDecoderBase<MakeDecoder> {
  using MakeDecoderBase::MakeDecoderBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    Type element;
    if (cacheType == "float32")
      element = Float32Type::get(&getContext());
    else if (cacheType == "float16")
      element = Float16Type::get(&getContext());
    if (!element) {
      module.emitError("expects a cache-type of float32 or float16, got '")
          << cacheType << "'";
      return signalPassFailure();
    }
    auto main = module.lookupSymbol<func::FuncOp>("main");
    if (!main || !main.getBody().hasOneBlock() ||
        module->hasAttr(qkernel::decoderAttrName) ||
        module.lookupSymbol("prefill") || module.lookupSymbol("decode"))
      return;
    if (std::optional<DecoderParts> parts = findDecoder(main))
      DecoderBuilder(module, main, std::move(*parts), element).run();
  }
};

} // namespace
