//===- FixInputs.cpp - Inputs of a model become constants -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An input whose value is known before the run leaves the signature: a shape, a
// list of axes, a flag. Dimension symbols that its size settles become numbers
// in all other inputs. Nothing else is computed here; that is what
// onnx-fold-shapes does.
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Npy.h"
#include "nibble/Support/Dims.h"
#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/QModel/QModel.h"
#include "nibble/passes/Frontend/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace nibble::frontend {
#define GEN_PASS_DEF_FIXINPUTS
#include "nibble/passes/Frontend/Passes.h.inc"

namespace {

/// Largest literals; what is larger is a weight. As for initializers.
constexpr uint64_t maxConstantIntegers = 1024, maxConstantFloats = 16;

std::string inputName(func::FuncOp function, unsigned index) {
  auto name = function.getArgAttrOfType<StringAttr>(index, onnx::nameAttrName);
  return name ? name.str() : std::to_string(index);
}

/// The argument of that name; an error that lists the names if there is none.
FailureOr<unsigned> findInput(func::FuncOp function, StringRef name) {
  SmallVector<std::string> names;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    names.push_back(inputName(function, i));
    if (names.back() == name)
      return i;
  }
  return function.emitOpError("cannot fix the input '")
         << name << "': expects one of "
         << (names.empty() ? "none" : llvm::join(names, ", "));
}

/// The dimensions of argument `index`: its names, else its static sizes.
ArrayAttr dimsOf(func::FuncOp function, unsigned index) {
  if (auto dims = function.getArgAttrOfType<ArrayAttr>(index, dimsAttrName))
    return dims;
  Builder builder(function.getContext());
  SmallVector<Attribute> sizes;
  if (auto known = staticDims(function.getArgument(index).getType()))
    for (const DimExpr &size : *known)
      sizes.push_back(builder.getStringAttr(size.str()));
  return builder.getArrayAttr(sizes);
}

using Symbols = std::map<std::string, DimExpr>;

/// What the sizes of `value` say about the symbols of argument `index`; an
/// error if type or sizes do not fit.
LogicalResult matchInput(func::FuncOp function, unsigned index,
                         const Tensor &value, Symbols &symbols) {
  auto mismatch = [&](const Twine &expected) -> LogicalResult {
    return function.emitOpError("cannot fix the input '")
           << inputName(function, index) << "': expects " << expected
           << ", got " << describe(value.type(), value.shape());
  };
  auto type = dyn_cast<RankedTensorType>(function.getArgument(index).getType());
  std::optional<ElementType> element =
      type ? fromMlirType(type.getElementType()) : std::nullopt;
  if (!element)
    return mismatch("a model with a ranked tensor of numbers there");
  if (*element != value.type())
    return mismatch("elements of type " + element->str());
  ArrayAttr dims = dimsOf(function, index);
  if (type.getRank() != value.rank() ||
      static_cast<int64_t>(dims.size()) != value.rank())
    return mismatch("rank " + Twine(type.getRank()));
  auto bounds = dimBounds(function->getParentOfType<ModuleOp>());
  for (auto [i, size] : llvm::enumerate(value.shape())) {
    std::string text = cast<StringAttr>(dims[i]).str();
    Expected<DimExpr> dim = DimExpr::parse(text);
    if (!dim)
      return mismatch("a dimension " + Twine(i) + " that can be read");
    DimExpr known = dim->substitute(symbols);
    if (std::optional<std::string> symbol = known.asSymbol()) {
      auto bound = bounds.find(*symbol);
      if (bound != bounds.end() &&
          (size < bound->second.min || size > bound->second.max))
        return mismatch("'" + text + "' within its bounds");
      symbols[*symbol] = DimExpr(size);
    } else if (known != DimExpr(size)) {
      return mismatch("dimension " + Twine(i) + " to be " + known.str());
    }
  }
  return success();
}

/// Puts numbers in the place of `symbols` in all arguments.
void settle(func::FuncOp function, const Symbols &symbols) {
  Builder builder(function.getContext());
  for (BlockArgument argument : function.getArguments()) {
    unsigned index = argument.getArgNumber();
    auto dims = function.getArgAttrOfType<ArrayAttr>(index, dimsAttrName);
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!dims || !type || static_cast<int64_t>(dims.size()) != type.getRank())
      continue;
    SmallVector<Attribute> texts(dims.begin(), dims.end());
    SmallVector<int64_t> sizes(type.getShape());
    for (auto [text, size] : llvm::zip(texts, sizes)) {
      Expected<DimExpr> dim = DimExpr::parse(cast<StringAttr>(text).str());
      if (!dim)
        continue;
      DimExpr known = dim->substitute(symbols);
      text = builder.getStringAttr(known.str());
      size = known.asConstant().value_or(size);
    }
    function.setArgAttr(index, dimsAttrName, builder.getArrayAttr(texts));
    argument.setType(type.clone(sizes));
  }
}

/// `value` as an op at the start of the function.
FailureOr<Value> makeConstant(func::FuncOp function, Location location,
                              StringRef name, const Tensor &value) {
  OpBuilder builder = OpBuilder::atBlockBegin(&function.getBody().front());
  uint64_t limit =
      value.type().isFloat() ? maxConstantFloats : maxConstantIntegers;
  if (value.size() <= limit) {
    DenseElementsAttr literal = literalFromTensor(function.getContext(), value);
    return Value(onnx::ConstantOp::create(builder, location, literal.getType(),
                                          literal));
  }
  FailureOr<qmodel::WeightOp> weight =
      qmodel::addWeight(function->getParentOfType<ModuleOp>(), location, name,
                        value, /*literal=*/false);
  if (failed(weight))
    return failure();
  return Value(qmodel::LoadOp::create(
      builder, location, tensorTypeOf(function.getContext(), value),
      FlatSymbolRefAttr::get(weight->getSymNameAttr()), DenseI64ArrayAttr()));
}

struct FixInputs : impl::FixInputsBase<FixInputs> {
  using FixInputsBase::FixInputsBase;

  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main || main.isExternal()) {
      getOperation().emitError("expects an entry point @main");
      return signalPassFailure();
    }
    for (const std::string &text : values)
      if (failed(fix(main, text)))
        return signalPassFailure();
  }

  LogicalResult fix(func::FuncOp main, const std::string &text) {
    auto [name, path] = StringRef(text).split('=');
    if (name.empty() || path.empty())
      return main.emitOpError(
                 "expects NAME=FILE.npy for an input to fix, got '")
             << text << "'";
    Expected<Tensor> value = readNpy(path.str());
    if (!value)
      return main.emitOpError("cannot fix the input '")
             << name << "': " << value.status().message();
    return fixInput(main, name, *value);
  }
};

} // namespace

LogicalResult fixInput(func::FuncOp function, StringRef name,
                       const Tensor &value) {
  FailureOr<unsigned> index = findInput(function, name);
  Symbols symbols;
  if (failed(index) || failed(matchInput(function, *index, value, symbols)))
    return failure();
  BlockArgument argument = function.getArgument(*index);
  FailureOr<Value> constant =
      makeConstant(function, argument.getLoc(), name, value);
  if (failed(constant))
    return failure();
  argument.replaceAllUsesWith(*constant);
  settle(function, symbols);
  // What the function returns may be the constant, or an argument.
  Operation *terminator = function.getBody().front().getTerminator();
  function.setFunctionType(FunctionType::get(
      function.getContext(), function.getBody().front().getArgumentTypes(),
      terminator->getOperandTypes()));
  return function.eraseArgument(*index);
}

} // namespace nibble::frontend
