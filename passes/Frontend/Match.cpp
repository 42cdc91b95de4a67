//===- Match.cpp - What the patterns look at graphs with ------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Match.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/IR/Iterators.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/IR/TypeUtilities.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSwitch.h"

#include <cmath>

using namespace mlir;

namespace nibble::frontend {

//===----------------------------------------------------------------------===//
// Nodes and constants
//===----------------------------------------------------------------------===//

/// How many operands a type cannot do without.
static unsigned requiredOperands(StringRef opType) {
  return llvm::StringSwitch<unsigned>(opType)
      .Cases({"Add",
              "Sub",
              "Mul",
              "Div",
              "Pow",
              "MatMul",
              "Gemm",
              "And",
              "Or",
              "Equal",
              "Less",
              "LessOrEqual",
              "Greater",
              "GreaterOrEqual",
              "Gather",
              "Reshape",
              "Expand",
              "Tile",
              "LayerNormalization",
              "RMSNormalization",
              "SimplifiedLayerNormalization",
              "BiasGelu"},
             2)
      .Cases({"Where", "Range", "SkipLayerNormalization",
              "SkipSimplifiedLayerNormalization"},
             3)
      .Default(1);
}

onnx::NodeOp wellFormedNode(Operation *op) {
  auto node = dyn_cast_or_null<onnx::NodeOp>(op);
  if (!node || node->getNumResults() == 0 || rankOf(node->getResult(0)) < 0)
    return nullptr;
  unsigned required = requiredOperands(node.getOpType());
  if (node->getNumOperands() < required)
    return nullptr;
  for (Value operand : node->getOperands().take_front(required))
    if (rankOf(operand) < 0)
      return nullptr;
  return node;
}

onnx::NodeOp nodeOf(Value value, StringRef opType) {
  onnx::NodeOp node = wellFormedNode(value ? value.getDefiningOp() : nullptr);
  if (!node || !node.is(opType) || node->getResult(0) != value)
    return nullptr;
  return node;
}

bool isMicrosoft(onnx::NodeOp node, StringRef opType) {
  return node.getDomain() == "com.microsoft" && node.getOpType() == opType;
}

static DenseElementsAttr literalOf(Value value) {
  auto constant = value ? value.getDefiningOp<onnx::ConstantOp>() : nullptr;
  return constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : nullptr;
}

std::optional<double> splatOf(Value value) {
  DenseElementsAttr literal = literalOf(value);
  if (!literal || !literal.isSplat())
    return std::nullopt;
  Type element = literal.getElementType();
  if (isa<FloatType>(element)) {
    APFloat number = literal.getSplatValue<APFloat>();
    bool losesInfo;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven,
                   &losesInfo);
    return number.convertToDouble();
  }
  if (element.isInteger(1))
    return literal.getSplatValue<bool>();
  if (isa<IntegerType>(element) && element.getIntOrFloatBitWidth() <= 64) {
    APInt number = literal.getSplatValue<APInt>();
    return element.isUnsignedInteger() ? number.roundToDouble()
                                       : number.signedRoundToDouble();
  }
  return std::nullopt;
}

std::optional<double> scalarOf(Value value) {
  DenseElementsAttr literal = literalOf(value);
  return literal && literal.getNumElements() == 1 ? splatOf(value)
                                                  : std::nullopt;
}

bool isNear(double a, double b, Type type) {
  unsigned digits = 24;
  if (auto element = dyn_cast<FloatType>(getElementTypeOrSelf(type)))
    digits = element.getFPMantissaWidth();
  // Two units in the last place: exporters compute constants in float too.
  return std::abs(a - b) <= std::ldexp(std::abs(b), 1 - int(digits));
}

bool isExtremeNumber(double number, Type type) {
  auto element = dyn_cast<FloatType>(getElementTypeOrSelf(type));
  return element &&
         std::abs(number) ==
             APFloat::getLargest(element.getFloatSemantics()).convertToDouble();
}

bool isScalar(Value value, double number) {
  std::optional<double> scalar = scalarOf(value);
  return scalar && isNear(*scalar, number, value.getType());
}

std::optional<SmallVector<int64_t>> integersOf(Value value) {
  DenseElementsAttr literal = literalOf(value);
  if (!literal || !isa<IntegerType>(literal.getElementType()) ||
      literal.getElementType().getIntOrFloatBitWidth() > 64)
    return std::nullopt;
  SmallVector<int64_t> integers;
  for (const APInt &element : literal.getValues<APInt>())
    integers.push_back(element.getSExtValue());
  return integers;
}

std::optional<SmallVector<int64_t>>
integersOf(onnx::NodeOp node, StringRef attribute, unsigned index) {
  if (std::optional<SmallVector<int64_t>> list = node.intsAttribute(attribute))
    return list;
  Value operand = node.input(index);
  return operand ? integersOf(operand) : std::nullopt;
}

Value throughFloatCasts(Value value) {
  while (onnx::NodeOp cast = nodeOf(value, "Cast")) {
    if (!isFloat(cast->getOperand(0)) || !isFloat(value))
      break;
    value = cast->getOperand(0);
  }
  return value;
}

Value throughWidening(Value value) {
  while (onnx::NodeOp cast = nodeOf(value, "Cast")) {
    Value narrow = cast->getOperand(0);
    if (!getElementTypeOrSelf(value.getType()).isF32() || !isFloat(narrow) ||
        getElementTypeOrSelf(narrow.getType()).getIntOrFloatBitWidth() != 16)
      break;
    value = narrow;
  }
  return value;
}

bool isConstant(Value value) {
  return value && value.getDefiningOp() &&
         isa<onnx::ConstantOp, qmodel::LoadOp>(value.getDefiningOp());
}

bool isWeight(Value value) {
  return isConstant(value) || (value && !weightName(value).empty());
}

StringRef weightName(Value value) {
  if (auto dequantize = value.getDefiningOp<qmodel::DequantizeOp>())
    value = dequantize.getCodes();
  auto load = value.getDefiningOp<qmodel::LoadOp>();
  return load ? load.getWeight() : StringRef();
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

int64_t rankOf(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type ? type.getRank() : -1;
}

int64_t fromFront(int64_t axis, int64_t rank) {
  return axis < 0 ? axis + rank : axis;
}

std::optional<int64_t> staticDim(Value value, int64_t dim) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type)
    return std::nullopt;
  dim = fromFront(dim, type.getRank());
  if (dim < 0 || dim >= type.getRank() || type.isDynamicDim(dim))
    return std::nullopt;
  return type.getDimSize(dim);
}

bool isFloat(Value value) {
  return isa<FloatType>(getElementTypeOrSelf(value.getType()));
}

bool sameShape(const DimsAnalysis &dims, Value a, Value b) {
  auto first = dyn_cast<RankedTensorType>(a.getType());
  auto second = dyn_cast<RankedTensorType>(b.getType());
  if (!first || !second || first.getRank() != second.getRank())
    return false;
  if (first.hasStaticShape() && second.hasStaticShape())
    return first.getShape() == second.getShape();
  const ValueDims &left = dims.of(a), &right = dims.of(b);
  return left.shape && right.shape && *left.shape == *right.shape;
}

std::optional<DimExpr> dimOf(const DimsAnalysis &dims, Value value,
                             int64_t dim) {
  if (std::optional<int64_t> size = staticDim(value, dim))
    return DimExpr(*size);
  const ValueDims &known = dims.of(value);
  dim = fromFront(dim, rankOf(value));
  if (!known.shape || dim < 0 || dim >= int64_t(known.shape->size()))
    return std::nullopt;
  return (*known.shape)[dim];
}

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

StringRef nodeName(Location location) {
  if (auto named = dyn_cast<NameLoc>(location))
    return named.getName().getValue();
  if (auto fused = dyn_cast<FusedLoc>(location))
    for (Location part : fused.getLocations())
      if (StringRef name = nodeName(part); !name.empty())
        return name;
  return "";
}

/// Whether an exporter numbered the node instead of naming it: "MatMul_12".
static bool isNumbered(StringRef name, StringRef opType) {
  if (!name.consume_front(opType))
    return false;
  name.consume_front("_");
  return llvm::all_of(name, llvm::isDigit);
}

LayerIds::LayerIds(ModuleOp module) {
  module.walk(
      [&](QuantizableOpInterface op) { taken.insert(op.getLayerId()); });
}

std::string LayerIds::make(onnx::NodeOp node, StringRef weight) {
  StringRef name = nodeName(node.getLoc());
  name = name.ltrim('/');
  if (isNumbered(name, node.getOpType()))
    name = "";
  // Quantizers add how many bits they left: "/MatMul_Q4".
  StringRef last = name.substr(
      name.rfind('/') == StringRef::npos ? name.size() : name.rfind('/'));
  if (last == "/MatMul" || last == "/Gemm" || last == "/Gather" ||
      last.starts_with("/MatMul_Q") || last.starts_with("/Gather_Q"))
    name = name.drop_back(last.size());
  weight.consume_back(".weight");
  std::string base = (name.empty() ? weight : name).str();
  if (base.empty())
    base = node.getOpType().lower();
  std::string id = base;
  for (unsigned i = 1; !taken.insert(id).second; ++i)
    id = base + "_" + std::to_string(i);
  return id;
}

//===----------------------------------------------------------------------===//
// Making ops
//===----------------------------------------------------------------------===//

/// Puts a constant in the module as a weight.
static qmodel::WeightOp makeWeight(OpBuilder &builder, Value constant,
                                   StringRef wantedName) {
  auto module = constant.getDefiningOp()->getParentOfType<ModuleOp>();
  std::string name = wantedName.str();
  for (unsigned i = 1; module.lookupSymbol(name); ++i)
    name = (wantedName + "_" + Twine(i)).str();
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(module.getBody());
  return qmodel::WeightOp::create(
      builder, constant.getLoc(), name,
      cast<RankedTensorType>(constant.getType()),
      constant.getDefiningOp<onnx::ConstantOp>().getValue());
}

/// `weight` [out, in] with its dimensions swapped, or another copy of it.
static Value dequantizePermuted(OpBuilder &builder, qmodel::DequantizeOp weight,
                                ArrayRef<int64_t> order) {
  auto part = [&](Value value) -> Value {
    bool isOne = value && cast<ShapedType>(value.getType()).hasStaticShape() &&
                 cast<ShapedType>(value.getType()).getNumElements() == 1;
    return !value || isOne ? value : weightPermuted(builder, value, order, "");
  };
  if (order.size() != 2)
    return nullptr;
  Value codes = part(weight.getCodes()), scales = part(weight.getScales()),
        zeros = part(weight.getZeros());
  if (!codes || !scales || (weight.getZeros() && !zeros))
    return nullptr;
  IntegerAttr group = weight.getGroupAttr(), rows = weight.getRowsAttr();
  if (order[0] == 1)
    std::swap(group, rows);
  auto type = cast<RankedTensorType>(codes.getType());
  return qmodel::DequantizeOp::create(
      builder, weight.getLoc(),
      type.clone(getElementTypeOrSelf(weight.getResult().getType())), codes,
      scales, zeros, group, rows, weight.getSchemeAttr());
}

Value weightPermuted(OpBuilder &builder, Value value, ArrayRef<int64_t> wanted,
                     StringRef nameIfNew) {
  SmallVector<int64_t> order(wanted);
  auto compose = [&](ArrayRef<int64_t> inner) {
    for (int64_t &dim : order)
      dim = inner[dim];
  };
  // Types before the symbol: a constant only becomes a weight if all fits.
  value = throughWidening(value);
  while (onnx::NodeOp transpose = nodeOf(value, "Transpose")) {
    Value source = transpose->getOperand(0);
    SmallVector<int64_t> permutation(
        llvm::reverse(llvm::to_vector(llvm::seq<int64_t>(0, rankOf(source)))));
    if (std::optional<SmallVector<int64_t>> list =
            transpose.intsAttribute("perm"))
      permutation = *list;
    if (permutation.size() != order.size() || !isPermutationVector(permutation))
      return nullptr;
    compose(permutation);
    value = throughWidening(source);
  }
  if (auto dequantize = value.getDefiningOp<qmodel::DequantizeOp>())
    return dequantizePermuted(builder, dequantize, order);
  std::string weight;
  RankedTensorType stored;
  if (auto load = value.getDefiningOp<qmodel::LoadOp>()) {
    if (std::optional<ArrayRef<int64_t>> inner = load.getPermutation())
      compose(*inner);
    weight = load.getWeight().str();
    auto symbol = SymbolTable::lookupNearestSymbolFrom<qmodel::WeightOp>(
        load, load.getWeightAttr());
    if (!symbol)
      return nullptr;
    stored = cast<RankedTensorType>(symbol.getType());
  } else if (value.getDefiningOp<onnx::ConstantOp>()) {
    qmodel::WeightOp symbol = makeWeight(builder, value, nameIfNew);
    weight = symbol.getSymName().str();
    stored = cast<RankedTensorType>(symbol.getType());
  } else {
    return nullptr;
  }
  SmallVector<int64_t> shape;
  for (int64_t dim : order)
    shape.push_back(stored.getDimSize(dim));
  bool identity = llvm::equal(order, llvm::seq<int64_t>(0, order.size()));
  return qmodel::LoadOp::create(
      builder, value.getLoc(),
      RankedTensorType::get(shape, stored.getElementType()),
      FlatSymbolRefAttr::get(builder.getContext(), weight),
      identity ? DenseI64ArrayAttr() : builder.getDenseI64ArrayAttr(order));
}

Value makeNode(OpBuilder &builder, onnx::NodeOp like, StringRef opType,
               Type result, ValueRange inputs,
               ArrayRef<NamedAttribute> attributes) {
  uint64_t version = like.getVersion();
  // Other domains count their own versions; what is made here is the same in
  // all opsets since 13, except where a caller says so.
  if (!like.getDomain().empty() && like.getDomain() != "ai.onnx")
    version = 17;
  DictionaryAttr dictionary = attributes.empty()
                                  ? DictionaryAttr()
                                  : builder.getDictionaryAttr(attributes);
  return onnx::NodeOp::create(builder, like.getLoc(), TypeRange(result), opType,
                              "", version, dictionary, inputs, 0)
      ->getResult(0);
}

Value makeIntegers(OpBuilder &builder, Location location,
                   ArrayRef<int64_t> values) {
  auto type =
      RankedTensorType::get({int64_t(values.size())}, builder.getI64Type());
  return onnx::ConstantOp::create(builder, location, type,
                                  DenseIntElementsAttr::get(type, values));
}

//===----------------------------------------------------------------------===//
// Rewriting
//===----------------------------------------------------------------------===//

void eraseDead(Operation *root) {
  // Users come after definitions, so one walk backwards sees all that dies.
  root->walk<WalkOrder::PostOrder, ReverseIterator>([&](Operation *op) {
    if (op != root && isOpTriviallyDead(op))
      op->erase();
  });
}

LogicalResult
forEachFunction(ModuleOp module,
                llvm::function_ref<void(func::FuncOp, DimsAnalysis &)> visit) {
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function.isExternal())
      continue;
    DimsAnalysis dims;
    if (failed(dims.run(function)))
      return failure();
    visit(function, dims);
  }
  return success();
}

void updateSignature(func::FuncOp function) {
  auto uses = SymbolTable::getSymbolUses(function,
                                         function->getParentOfType<ModuleOp>());
  if (!uses || !uses->empty())
    return;
  auto terminator =
      dyn_cast<func::ReturnOp>(function.getBody().front().getTerminator());
  if (!terminator)
    return;
  function.setFunctionType(FunctionType::get(function.getContext(),
                                             function.getArgumentTypes(),
                                             terminator.getOperandTypes()));
}

void rewriteInOrder(
    Operation *root,
    llvm::function_ref<void(Operation *, OpBuilder &)> rewrite) {
  SmallVector<Operation *> ops;
  root->walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (op != root)
      ops.push_back(op);
  });
  OpBuilder builder(root->getContext());
  for (Operation *op : ops) {
    if (isOpTriviallyDead(op))
      continue;
    builder.setInsertionPoint(op);
    rewrite(op, builder);
  }
  eraseDead(root);
}

} // namespace nibble::frontend
