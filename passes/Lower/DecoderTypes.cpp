//===- DecoderTypes.cpp - Sizes and types of a decoder's clones -----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Decoder.h"

#include "nibble/Support/Decline.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::lower;
using namespace nibble::qmodel;

Value lower::makeNode(OpBuilder &builder, Location location, StringRef opType,
                      Type type, ValueRange operands,
                      ArrayRef<NamedAttribute> attributes) {
  constexpr uint64_t opset = 13;
  return onnx::NodeOp::create(builder, location, TypeRange(type), opType, "",
                              opset, builder.getDictionaryAttr(attributes),
                              operands, 0)
      ->getResult(0);
}

Value lower::makeSizes(OpBuilder &builder, Location location,
                       ArrayRef<DimExpr> sizes) {
  auto type = RankedTensorType::get({static_cast<int64_t>(sizes.size())},
                                    builder.getI64Type());
  SmallVector<int64_t> numbers;
  SmallVector<Attribute> texts;
  for (const DimExpr &size : sizes) {
    if (std::optional<int64_t> number = size.asConstant())
      numbers.push_back(*number);
    texts.push_back(builder.getStringAttr(size.str()));
  }
  if (numbers.size() == sizes.size())
    return onnx::ConstantOp::create(
        builder, location, type,
        DenseElementsAttr::get(type, ArrayRef<int64_t>(numbers)));
  return DimTensorOp::create(builder, location, type,
                             builder.getArrayAttr(texts));
}

void lower::renameDims(func::FuncOp function,
                       const std::map<std::string, DimExpr> &names) {
  OpBuilder builder(function.getContext());
  auto renamed = [&](ArrayAttr list) {
    SmallVector<Attribute> texts;
    for (StringRef text : list.getAsValueRange<StringAttr>()) {
      Expected<DimExpr> expr = DimExpr::parse(text.str());
      texts.push_back(builder.getStringAttr(expr ? expr->substitute(names).str()
                                                 : text.str()));
    }
    return builder.getArrayAttr(texts);
  };
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    if (auto list = function.getArgAttrOfType<ArrayAttr>(i, dimsAttrName))
      function.setArgAttr(i, dimsAttrName, renamed(list));
  for (auto tensor : llvm::make_early_inc_range(
           function.getBody().front().getOps<DimTensorOp>())) {
    ArrayAttr values = renamed(tensor.getValues());
    SmallVector<APInt> numbers;
    auto type = cast<RankedTensorType>(tensor.getType());
    for (StringRef text : values.getAsValueRange<StringAttr>()) {
      Expected<DimExpr> expr = DimExpr::parse(text.str());
      if (std::optional<int64_t> number =
              expr ? expr->asConstant() : std::nullopt)
        numbers.push_back(APInt(type.getElementTypeBitWidth(), *number,
                                /*isSigned=*/true, /*implicitTrunc=*/true));
    }
    if (numbers.size() != values.size()) {
      tensor.setValuesAttr(values);
      continue;
    }
    builder.setInsertionPoint(tensor);
    Value constant = onnx::ConstantOp::create(
        builder, tensor.getLoc(), type, DenseElementsAttr::get(type, numbers));
    tensor.replaceAllUsesWith(constant);
    tensor.erase();
  }
}

static DimExpr product(const std::vector<DimExpr> &shape) {
  DimExpr count(1);
  for (const DimExpr &dim : shape)
    count = count * dim;
  return count;
}

LogicalResult lower::refineTypes(func::FuncOp function, const std::string &past,
                                 DimsAnalysis &dims) {
  for (BlockArgument argument : function.getArguments())
    if (auto list = function.getArgAttrOfType<ArrayAttr>(
            argument.getArgNumber(), dimsAttrName)) {
      SmallVector<int64_t> shape;
      for (StringRef text : list.getAsValueRange<StringAttr>())
        shape.push_back(DimExpr::parse(text.str())
                            ->asConstant()
                            .value_or(ShapedType::kDynamic));
      argument.setType(cast<RankedTensorType>(argument.getType()).clone(shape));
    }
  // A row of positions that was the same for all sequences may be one for each
  // now, and what a type says would stand.
  for (auto node : function.getBody().front().getOps<onnx::NodeOp>())
    for (Value result : node->getResults()) {
      auto type = dyn_cast<RankedTensorType>(result.getType());
      if (!type || type.getRank() == 0 || type.getDimSize(0) != 1)
        continue;
      SmallVector<int64_t> shape(type.getShape());
      shape[0] = ShapedType::kDynamic;
      result.setType(type.clone(shape));
    }
  if (failed(dims.run(function)))
    return failure();
  auto mentionsPast = [&](const DimExpr &expr) {
    return expr.symbols().count(past) != 0;
  };
  for (Operation &op : function.getBody().front()) {
    for (OpResult result : op.getResults()) {
      auto type = dyn_cast<RankedTensorType>(result.getType());
      if (!type)
        continue;
      const ValueDims &known = dims.of(result);
      if (!known.shape)
        return decline(&op, makeDecoderName, "has a shape that is not known");
      if (llvm::any_of(*known.shape, mentionsPast) ||
          (known.elements && llvm::any_of(*known.elements, mentionsPast)))
        return decline(&op, makeDecoderName, "depends on the past");
      SmallVector<int64_t> shape;
      for (const DimExpr &dim : *known.shape)
        shape.push_back(dim.asConstant().value_or(ShapedType::kDynamic));
      result.setType(RankedTensorType::get(shape, type.getElementType()));
    }
    auto node = dyn_cast<onnx::NodeOp>(op);
    if (node && node.is("Reshape")) {
      const auto &from = dims.of(op.getOperand(0)).shape,
                 &to = dims.of(op.getResult(0)).shape;
      if (from && to && product(*from) != product(*to))
        return decline(&op, makeDecoderName,
                       "has another size for each sequence by itself");
    }
  }
  return success();
}
