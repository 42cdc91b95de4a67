//===- QKernelDialect.cpp - Packed forms, kernels and programs ------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QKernel/QKernel.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qkernel;

#include "nibble/dialects/QKernel/QKernelDialect.cpp.inc"
#include "nibble/dialects/QKernel/QKernelEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "nibble/dialects/QKernel/QKernelAttrs.cpp.inc"

/// A layout without a name is row_interleaved. Names are keywords: an attribute
/// with a `#` would take the colon behind it for its own.
static ParseResult parseWeightLayout(OpAsmParser &parser, Attribute &layout) {
  if (succeeded(parser.parseOptionalKeyword(FragmentsAttr::getMnemonic())))
    layout = FragmentsAttr::parse(parser, Type());
  else
    layout = LayoutAttr::parse(parser, Type());
  return success(layout != nullptr);
}

static void printWeightLayout(OpAsmPrinter &printer, Operation *,
                              Attribute layout) {
  if (auto rows = dyn_cast<LayoutAttr>(layout)) {
    printer.printStrippedAttrOrType(rows);
    return;
  }
  printer << FragmentsAttr::getMnemonic();
  printer.printStrippedAttrOrType(cast<FragmentsAttr>(layout));
}

#define GET_OP_CLASSES
#include "nibble/dialects/QKernel/QKernelOps.cpp.inc"

void QKernelDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "nibble/dialects/QKernel/QKernelAttrs.cpp.inc"
      >();
}

void QKernelDialect::initialize() {
  registerAttributes();
  addOperations<
#define GET_OP_LIST
#include "nibble/dialects/QKernel/QKernelOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Layout
//===----------------------------------------------------------------------===//

/// Either of the two descriptions.
template <typename Layout>
static Layout plainLayout(ElementType element, int64_t out, int64_t in,
                          int64_t group, ElementType scales, bool sparse24) {
  Layout layout;
  layout.element = element;
  layout.scales = scales;
  layout.out = out;
  layout.in = in;
  layout.group = group;
  layout.sparse24 = sparse24;
  return layout;
}

template <typename Layout, typename Attr> static Layout plainLayout(Attr attr) {
  return plainLayout<Layout>(
      *fromMlirType(attr.getElement()), attr.getOut(), attr.getIn(),
      attr.getGroup(), *fromMlirType(attr.getScales()), attr.getSparse24());
}

template <typename Layout>
static LogicalResult verifyLayout(function_ref<InFlightDiagnostic()> emitError,
                                  Type element, int64_t out, int64_t in,
                                  int64_t group, Type scales, bool sparse24) {
  std::optional<ElementType> plain = fromMlirType(element);
  std::optional<ElementType> plainScales = fromMlirType(scales);
  if (!plain || !plainScales)
    return emitError() << "expects integer or float elements and float scales, "
                          "got "
                       << element << " and " << scales;
  Status status =
      plainLayout<Layout>(*plain, out, in, group, *plainScales, sparse24)
          .validate();
  if (!status.isOk())
    return emitError() << status.message();
  return success();
}

RowInterleavedLayout nibble::qkernel::rowInterleavedLayout(LayoutAttr layout) {
  return plainLayout<RowInterleavedLayout>(layout);
}

FragmentLayout nibble::qkernel::fragmentLayout(FragmentsAttr layout) {
  return plainLayout<FragmentLayout>(layout);
}

Type nibble::qkernel::multipliedType(FragmentsAttr layout, Type x) {
  if (isa<FloatType>(layout.getElement()))
    return layout.getElement();
  return x.isBF16() ? x : Float16Type::get(layout.getContext());
}

LogicalResult LayoutAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 Type element, int64_t out, int64_t in,
                                 int64_t group, Type scales, bool sparse24) {
  return verifyLayout<RowInterleavedLayout>( // row_interleaved_c1
      emitError, element, out, in, group, scales, sparse24);
}

LogicalResult
FragmentsAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                      Type element, int64_t out, int64_t in, int64_t group,
                      Type scales, bool sparse24) {
  return verifyLayout<FragmentLayout>( // mma_fragments_c1
      emitError, element, out, in, group, scales, sparse24);
}

//===----------------------------------------------------------------------===//
// Packed ops
//===----------------------------------------------------------------------===//

static bool hasBytes(Value value, uint64_t bytes) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() &&
         static_cast<uint64_t>(type.getNumElements() *
                               type.getElementTypeBitWidth() / 8) == bytes;
}

/// What the two linear ops with a packed weight have in common; `op` is the
/// name that constraints have in QKernel.td.
template <typename Op, typename Layout>
static LogicalResult verifyPackedLinear(Op op, const Layout &layout) {
  auto x = cast<RankedTensorType>(op.getX().getType());
  auto result = cast<RankedTensorType>(op.getResult().getType());
  if (x.getRank() < 1 || x.getShape().back() != layout.in)
    // packed_linear_c1, packed_integer_linear_c1
    return op.emitOpError("expects x with last dimension ")
           << layout.in << ", got " << x;
  Value scales = op.getScales(), zeros = op.getZeros();
  bool isInteger = layout.element.isInteger();
  if (isInteger != static_cast<bool>(scales) || (zeros && !isInteger) ||
      !hasBytes(op.getWeight(), layout.weightBytes()) ||
      (scales &&
       (!hasBytes(scales, layout.scaleBytes()) ||
        fromMlirType(
            cast<RankedTensorType>(scales.getType()).getElementType()) !=
            std::optional(layout.scales))) ||
      (zeros && !hasBytes(zeros, layout.zeroBytes())))
    // packed_linear_c2, packed_integer_linear_c2
    return op.emitOpError("expects ")
           << layout.weightBytes() << " bytes of weight, "
           << layout.scaleBytes() << " of scales in "
           << toMlirType(op.getContext(), layout.scales) << " and, if any, "
           << layout.zeroBytes() << " of zero points for " << op.getLayout();
  if (op.getBias() &&
      cast<RankedTensorType>(op.getBias().getType()).getShape() !=
          ArrayRef<int64_t>{layout.out})
    // packed_linear_c3, packed_integer_linear_c3
    return op.emitOpError("expects a bias of ")
           << layout.out << " elements, got " << op.getBias().getType();
  if (result.getRank() != x.getRank() || result.getShape().back() != layout.out)
    // packed_linear_c4, packed_integer_linear_c4
    return op.emitOpError("expects x's leading dimensions and ")
           << layout.out << " for the result, got " << result;
  return success();
}

template <typename Op> static LogicalResult verifyPackedLinear(Op op) {
  if (FragmentsAttr fragments = op.getFragments())
    return verifyPackedLinear(op, fragmentLayout(fragments));
  return verifyPackedLinear(op, rowInterleavedLayout(op.getRowLayout()));
}

/// Outputs of a packed linear, and of its layout what both kinds have.
template <typename Op, typename Get> static auto fromLayout(Op op, Get get) {
  FragmentsAttr fragments = op.getFragments();
  return fragments ? get(fragments) : get(op.getRowLayout());
}

template <typename Op> static int64_t outputsOf(Op op) {
  return fromLayout(op, [](auto layout) { return layout.getOut(); });
}

LogicalResult PackedLinearOp::verify() {
  if (failed(verifyPackedLinear(*this)))
    return failure();
  Type x = getElementTypeOrSelf(getX()),
       result = getElementTypeOrSelf(getResult());
  if (getRowLayout() && (!x.isF32() || !result.isF32())) // packed_linear_c5
    return emitOpError("expects float32 for x and the result, got ")
           << x << " and " << result
           << "; other types need a layout for tensor cores";
  return success();
}

LogicalResult PackedIntegerLinearOp::verify() {
  Type element =
      fromLayout(*this, [](auto layout) { return layout.getElement(); });
  if (!isa<IntegerType>(element)) // packed_integer_linear_c2
    return emitOpError("expects integer weights, got ") << getLayout();
  if (fromLayout(*this, [](auto layout) { return layout.getSparse24(); }))
    // packed_integer_linear_c7
    return emitOpError("expects weights that are not 2:4 sparse, got ")
           << getLayout() << "; pack them in full";
  if (failed(verifyPackedLinear(*this)))
    return failure();
  auto x = cast<RankedTensorType>(getX().getType());
  int64_t in = x.getShape().back(), xGroup = getXGroup();
  int64_t group =
      fromLayout(*this, [](auto layout) { return layout.getGroup(); });
  if (xGroup < 1 || xGroup > in ||
      (xGroup != in && group != in && xGroup % group && group % xGroup))
    // packed_integer_linear_c6
    return emitOpError("expects groups of x that are a multiple or a divisor "
                       "of the weight's ")
           << group << ", or all " << in << " inputs, got " << xGroup;
  SmallVector<int64_t> blocks(x.getShape());
  blocks.back() = llvm::divideCeil(in, xGroup);
  auto fits = [&](Value value) {
    auto type = cast<RankedTensorType>(value.getType());
    return (type.hasStaticShape() && type.getNumElements() == 1) ||
           (type.getRank() == x.getRank() &&
            type.getShape().back() == blocks.back());
  };
  if (!fits(getXScales()) ||
      (getXZeros() &&
       (!fits(getXZeros()) ||
        cast<RankedTensorType>(getXZeros().getType()).getElementType() !=
            x.getElementType()))) // packed_integer_linear_c1, c5
    return emitOpError("expects scales and zeros of x with ")
           << blocks.back() << " groups per row or one element, got "
           << getXScales().getType();
  return success();
}

LogicalResult
PackedIntegerLinearOp::inferDims(ArrayRef<const ValueDims *> operands,
                                 MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape)
    return success();
  results[0].shape = operands[0]->shape;
  results[0].shape->back() = outputsOf(*this);
  return success();
}

LogicalResult PackedLinearOp::inferDims(ArrayRef<const ValueDims *> operands,
                                        MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape)
    return success();
  results[0].shape = operands[0]->shape;
  results[0].shape->back() = outputsOf(*this);
  return success();
}

Partition PackedLinearOp::getPartition() { return Partition::Blocks; }
Partition PackedIntegerLinearOp::getPartition() { return Partition::Blocks; }

LogicalResult PackedEmbeddingOp::verify() {
  auto codes = cast<RankedTensorType>(getCodes().getType());
  auto scales = cast<RankedTensorType>(getScales().getType());
  auto result = cast<RankedTensorType>(getResult().getType());
  auto indices = cast<RankedTensorType>(getIndices().getType());
  auto element = dyn_cast<IntegerType>(getElement());
  int64_t width = getWidth(), group = getGroup();
  if (!element || element.getWidth() < 2 || element.getWidth() > 8 ||
      width < 1 || group < 1 || group > width) // packed_embedding_c2
    return emitOpError("expects codes of 2 to 8 bits and a group in 1..")
           << width << ", got " << getElement() << " and " << group;
  int64_t rowBytes = llvm::divideCeil(width * element.getWidth(), 8);
  SmallVector<int64_t, 2> perGroup{
      codes.getDimSize(0),
      static_cast<int64_t>(llvm::divideCeil(width, group))};
  if (codes.getDimSize(1) != rowBytes ||
      scales.getShape() != ArrayRef<int64_t>(perGroup) ||
      (getZeros() && cast<RankedTensorType>(getZeros().getType()).getShape() !=
                         ArrayRef<int64_t>(perGroup))) // packed_embedding_c1
    return emitOpError("expects codes [entries, ")
           << rowBytes << "] and scales and zeros [entries, " << perGroup[1]
           << "], got " << codes << " and " << scales;
  if (result.getRank() != indices.getRank() + 1 ||
      result.getShape().back() != width) // packed_embedding_c3
    return emitOpError("expects the dimensions of the indices and ")
           << width << " for the result, got " << result;
  return success();
}

LogicalResult PackedEmbeddingOp::inferDims(ArrayRef<const ValueDims *> operands,
                                           MutableArrayRef<ValueDims> results) {
  if (!operands[0]->shape)
    return success();
  results[0].shape = operands[0]->shape;
  results[0].shape->push_back(static_cast<int64_t>(getWidth()));
  return success();
}

//===----------------------------------------------------------------------===//
// Sizes that data decides
//===----------------------------------------------------------------------===//

LogicalResult CountNonzeroOp::inferDims(ArrayRef<const ValueDims *>,
                                        MutableArrayRef<ValueDims> results) {
  results[0].shape = {DimExpr(1)};
  return success();
}

LogicalResult UniqueGroupsOp::verify() {
  auto x = cast<RankedTensorType>(getX().getType());
  std::optional<uint64_t> axis = getAxis();
  if (axis && *axis >= static_cast<uint64_t>(x.getRank())) // unique_groups_c1
    return emitOpError("expects an axis of ")
           << x << ", got " << static_cast<int64_t>(*axis);
  int64_t slices = ShapedType::kDynamic;
  if (axis)
    slices = x.getDimSize(*axis);
  else if (x.hasStaticShape())
    slices = x.getNumElements();
  for (OpResult result : getOperation()->getResults()) {
    int64_t size = cast<RankedTensorType>(result.getType()).getDimSize(0);
    int64_t expected = result == getCount() ? 1 : slices;
    if (!ShapedType::isDynamic(size) && !ShapedType::isDynamic(expected) &&
        size != expected) // unique_groups_c2
      return emitOpError("expects ")
             << expected << " elements for result " << result.getResultNumber()
             << ", got " << result.getType();
  }
  return success();
}

LogicalResult UniqueGroupsOp::inferDims(ArrayRef<const ValueDims *> operands,
                                        MutableArrayRef<ValueDims> results) {
  results[3].shape = {DimExpr(1)};
  if (!operands[0]->shape)
    return success();
  DimExpr slices(1);
  if (getAxis())
    slices = (*operands[0]->shape)[*getAxis()];
  else
    for (const DimExpr &dim : *operands[0]->shape)
      slices = slices * dim;
  for (ValueDims &result : results.drop_back())
    result.shape = {slices};
  return success();
}

//===----------------------------------------------------------------------===//
// Kernels and programs
//===----------------------------------------------------------------------===//

LogicalResult StateOp::verify() {
  auto type = dyn_cast<FloatType>(getElement());
  if (!type || (type.getWidth() != 16 && type.getWidth() != 32)) // state_c1
    return emitOpError("expects floats of 16 or 32 bits, got ") << getElement();
  for (Attribute dim : getDims())
    if (Expected<DimExpr> expr =
            DimExpr::parse(cast<StringAttr>(dim).getValue().str());
        !expr) // state_c2
      return emitOpError("cannot read dimension ")
             << dim << ": " << expr.status().message();
  return success();
}

/// Attribute `attr` of an argument or a result, which is number `index` of
/// `types`; `others` are the attributes of all of these.
static LogicalResult verifyState(Operation *op, StringRef what, unsigned index,
                                 NamedAttribute attr, ArrayRef<Type> types,
                                 ArrayAttr others) {
  auto symbol = dyn_cast<FlatSymbolRefAttr>(attr.getValue());
  auto state = symbol
                   ? SymbolTable::lookupNearestSymbolFrom<StateOp>(op, symbol)
                   : StateOp();
  auto type =
      index < types.size() ? dyn_cast<RankedTensorType>(types[index]) : nullptr;
  auto isThis = [&](Attribute attributes) {
    auto dictionary = dyn_cast<DictionaryAttr>(attributes);
    return dictionary && dictionary.get(stateAttrName) == attr.getValue();
  };
  if (!state || !type || type.getElementType() != state.getElement() ||
      type.getRank() != static_cast<int64_t>(state.getDims().size()) ||
      (others && llvm::count_if(others, isThis) != 1)) // state_c3
    return op->emitOpError("expects ")
           << what << " " << index
           << " alone to be a state of the module with its elements and rank, "
              "got "
           << attr.getValue();
  return success();
}

LogicalResult QKernelDialect::verifyRegionArgAttribute(Operation *op, unsigned,
                                                       unsigned argument,
                                                       NamedAttribute attr) {
  auto function = dyn_cast<FunctionOpInterface>(op);
  if (attr.getName() == stateAttrName && function)
    return verifyState(op, "argument", argument, attr,
                       function.getArgumentTypes(), function.getAllArgAttrs());
  if (attr.getName() != rangeAttrName)
    return success();
  auto range = dyn_cast<ArrayAttr>(attr.getValue());
  if (!range || range.size() != 2 || !llvm::all_of(range, [](Attribute limit) {
        return isa<IntegerAttr>(limit);
      }))
    return op->emitError("expects '")
           << rangeAttrName << "' of argument " << argument
           << " to be two integers, got " << attr.getValue();
  return success();
}

LogicalResult QKernelDialect::verifyRegionResultAttribute(Operation *op,
                                                          unsigned,
                                                          unsigned result,
                                                          NamedAttribute attr) {
  auto function = dyn_cast<FunctionOpInterface>(op);
  if (attr.getName() != stateAttrName || !function)
    return success();
  return verifyState(op, "result", result, attr, function.getResultTypes(),
                     function.getAllResultAttrs());
}

/// The implicit terminator of a kernel without results.
void YieldOp::build(OpBuilder &, OperationState &) {}

LogicalResult GroupOp::verify() {
  Block &body = getBody().front();
  if (body.getArgumentTypes() != getInputs().getTypes()) // group_c1
    return emitOpError("expects a body with the ")
           << getInputs().size() << " inputs as arguments, got "
           << body.getNumArguments() << " of other types or number";
  // The terminator is verified behind this op.
  auto yield = body.mightHaveTerminator()
                   ? dyn_cast<YieldOp>(body.getTerminator())
                   : YieldOp();
  if (!yield || yield.getOperandTypes() != getResultTypes()) // group_c2
    return emitOpError("expects a body that yields the ")
           << getNumResults() << " results";
  for (Operation &op : body)
    if (op.getNumRegions() != 0) // group_c3
      return emitOpError("expects ops without regions in its body, got ")
             << op.getName();
  return success();
}

LogicalResult GroupOp::inferDims(ArrayRef<const ValueDims *> operands,
                                 MutableArrayRef<ValueDims> results) {
  DimsAnalysis inner;
  Block &body = getBody().front();
  if (failed(inner.run(body, operands)))
    return failure();
  for (auto [result, value] :
       llvm::zip(results, body.getTerminator()->getOperands()))
    result = inner.of(value);
  return success();
}

LogicalResult KernelOp::verify() {
  Block &body = getBody().front();
  if (getArgDims().size() != body.getNumArguments()) // kernel_c1
    return emitOpError("expects dimensions for ")
           << body.getNumArguments() << " arguments, got "
           << getArgDims().size();
  std::set<std::string> names;
  for (Attribute name : getScalars())
    names.insert(cast<StringAttr>(name).str());
  for (auto [argument, attr] : llvm::zip(body.getArguments(), getArgDims())) {
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    auto dims = dyn_cast<ArrayAttr>(attr);
    if (!type || !dims ||
        static_cast<int64_t>(dims.size()) != type.getRank()) // kernel_c1
      return emitOpError("expects one dimension per rank of argument ")
             << argument.getArgNumber() << ", " << argument.getType()
             << ", got " << attr;
    for (Attribute dim : dims) {
      auto text = dyn_cast<StringAttr>(dim);
      Expected<DimExpr> expr =
          text ? DimExpr::parse(text.str())
               : Expected<DimExpr>(Status::error("expects a string"));
      if (!expr)
        return emitOpError("cannot read dimension ")
               << dim << ": " << expr.status().message();
      for (const std::string &symbol : expr->symbols())
        if (!names.count(symbol)) // kernel_c2
          return emitOpError("expects dimensions over the scalars ")
                 << getScalars() << ", got '" << symbol << "'";
    }
  }
  return success();
}

LogicalResult StepOp::verify() {
  auto module = (*this)->getParentOfType<ModuleOp>();
  auto kernel = module ? dyn_cast_or_null<KernelOp>(
                             SymbolTable::lookupSymbolIn(module, getKernel()))
                       : KernelOp();
  if (!kernel) // step_c1
    return emitOpError("names no kernel of the module: ") << getKernel();
  // The kernel may not have been verified yet.
  if (!kernel.getBody().hasOneBlock() ||
      !kernel.getBody().front().mightHaveTerminator())
    return emitOpError("expects the body of @")
           << getKernel() << " to be one block that ends in qkernel.yield";
  Block &body = kernel.getBody().front();
  size_t buffers =
      body.getNumArguments() + body.getTerminator()->getNumOperands();
  if (getBuffers().size() != buffers ||
      getScalars().size() != kernel.getScalars().size()) // step_c2
    return emitOpError("expects ")
           << buffers << " buffers and " << kernel.getScalars().size()
           << " scalars for @" << getKernel() << ", got " << getBuffers().size()
           << " and " << getScalars().size();
  return verifyDefinitions(body.getTerminator());
}

/// Whether the last result holds the dimensions that the step defines.
LogicalResult StepOp::verifyDefinitions(Operation *yield) {
  if (!getDefines())
    return success();
  int64_t count = getDefines()->size();
  auto type =
      yield->getNumOperands() == 0
          ? RankedTensorType()
          : dyn_cast<RankedTensorType>(yield->getOperands().back().getType());
  auto buffer = getBuffers().empty()
                    ? BufferAttr()
                    : dyn_cast<BufferAttr>(getBuffers().getValue().back());
  if (!type || !type.getElementType().isInteger(64) || !type.hasStaticShape() ||
      type.getNumElements() != count || !buffer ||
      buffer.getKind() != BufferKind::Arena ||
      buffer.getBytes() != std::to_string(8 * count)) // step_c3
    return emitOpError("expects ")
           << count << " elements of i64 in the arena as last result, for "
           << *getDefines();
  return success();
}
