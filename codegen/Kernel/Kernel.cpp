//===- Kernel.cpp - One qkernel.kernel being lowered ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// How elements of tensors are read and written, in memory or computed.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"
#include "nibble/codegen/Kernel/NarrowElements.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace nibble::codegen {

//===----------------------------------------------------------------------===//
// Dimensions
//===----------------------------------------------------------------------===//

DimExpr Kernel::product(const Shape &shape, size_t first, size_t last) {
  DimExpr result(1);
  for (size_t i = first; i < last; ++i)
    result = result * shape[i];
  return result;
}

Values Kernel::indexOf(Value position, llvm::ArrayRef<DimExpr> shape) {
  Values index(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    if (i == 0) {
      index[i] = position;
      break;
    }
    // Positions and sizes are not negative: unsigned division is cheaper.
    Value size = evaluate(shape[i]);
    index[i] = code.remainder(position, size, /*isUnsigned=*/true);
    position = code.divide(position, size, /*isUnsigned=*/true);
  }
  return index;
}

Values Kernel::elementIndex(Value position, llvm::ArrayRef<DimExpr> shape) {
  current = {position, indexOf(position, shape), shape.vec()};
  return current->index;
}

Value Kernel::positionOf(Index index, llvm::ArrayRef<DimExpr> shape) {
  if (current && index == Index(current->index) &&
      shape == llvm::ArrayRef(current->shape))
    return current->position;
  Value position = code.index(0);
  for (auto [i, size] : llvm::zip_equal(index, shape))
    position = code.add(code.mul(position, evaluate(size)), i);
  return position;
}

const Shape *Kernel::elements(Value tensor) {
  const ValueDims &known = dims.of(tensor);
  return known.elements ? &*known.elements : nullptr;
}

std::optional<llvm::SmallVector<int64_t>> Kernel::constants(Value tensor) {
  const Shape *known = elements(tensor);
  if (!known)
    return std::nullopt;
  llvm::SmallVector<int64_t> result;
  for (const DimExpr &element : *known) {
    std::optional<int64_t> constant = element.asConstant();
    if (!constant)
      return std::nullopt;
    result.push_back(*constant);
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

static Type elementType(Value tensor) {
  return getElementTypeOrSelf(tensor.getType());
}

/// The format of a float of 8 bits or fewer, or null.
static const SmallFloat *smallFloat(Type type) {
  std::optional<ElementType> element = fromMlirType(type);
  return element ? SmallFloat::of(*element) : nullptr;
}

bool Kernel::isUnsigned(Value tensor) {
  return elementType(tensor).isUnsignedInteger();
}

bool Kernel::isPacked(Value tensor) {
  Type type = elementType(tensor);
  return type.getIntOrFloatBitWidth() < 8 && !type.isInteger(1);
}

bool Kernel::isFloat(Value tensor) {
  return isa<FloatType>(elementType(tensor));
}

Type Kernel::registerType(Value tensor) {
  Type type = elementType(tensor);
  if (isa<FloatType>(type))
    return type.isF64() ? type : code.f32();
  if (auto integer = dyn_cast<IntegerType>(type))
    return code.builder.getIntegerType(integer.getWidth());
  return type;
}

Type Kernel::storedType(Value tensor) {
  Type type = elementType(tensor);
  if (type.isInteger(1) || smallFloat(type))
    return code.i8();
  if (type.isBF16())
    return code.i16();
  return isa<FloatType>(type) ? type : registerType(tensor);
}

/// Element `index` of a small tensor of dimension expressions.
static Value dimTensorElement(Kernel &kernel, Value tensor, Index index) {
  Code &code = kernel.code;
  const Shape *values = kernel.elements(tensor);
  Type type = kernel.registerType(tensor);
  if (!values)
    return kernel.unsupported(tensor.getDefiningOp(),
                              "elements that are not known from dimensions");
  if (values->empty())
    return code.zero(type);
  Value position = kernel.positionOf(index, kernel.shape(tensor));
  Value result;
  for (auto [i, expression] : llvm::enumerate(*values)) {
    Value value = code.resizeInteger(kernel.evaluate(expression), type);
    Value here = code.compare(Compare::eq, position,
                              code.index(static_cast<int64_t>(i)));
    result = result ? code.select(here, value, result) : value;
  }
  return result;
}

static Value constantElement(Kernel &kernel, onnx::ConstantOp op, Index index) {
  Code &code = kernel.code;
  auto dense = dyn_cast<DenseElementsAttr>(op.getValue());
  if (dense && dense.isSplat()) {
    Type type = kernel.registerType(op.getResult());
    if (Kernel::isFloat(op.getResult())) {
      llvm::APFloat value = dense.getSplatValue<llvm::APFloat>();
      bool lossy = false;
      value.convert(llvm::APFloat::IEEEdouble(),
                    llvm::APFloat::rmNearestTiesToEven, &lossy);
      return code.real(type, value.convertToDouble());
    }
    llvm::APInt value = dense.getSplatValue<llvm::APInt>();
    return code.integer(type, value.getSExtValue());
  }
  Value position = kernel.positionOf(index, kernel.shape(op.getResult()));
  return kernel.loadAt(op.getResult(), position);
}

/// Element `position` of `bits` < 8 bits in the low bits of an i8.
static Value loadPacked(Code &code, Value base, Value position, unsigned bits) {
  int64_t perByte = 8 / bits;
  Value byte = code.load(code.i8(), base,
                         code.divide(position, code.index(perByte), true));
  Value shift = code.mul(code.remainder(position, code.index(perByte), true),
                         code.index(bits));
  return code.bitAnd(
      code.shiftRight(byte, code.resizeInteger(shift, code.i8())),
      code.integer(code.i8(), (1 << bits) - 1));
}

/// Element `position` of memory that holds elements like those of `tensor`.
static Value loadFrom(Kernel &kernel, Value base, Value tensor,
                      Value position) {
  Code &code = kernel.code;
  Type type = elementType(tensor);
  if (type.isInteger(1)) {
    Value byte = code.load(code.i8(), base, position);
    return code.compare(Compare::ne, byte, code.zero(code.i8()));
  }
  if (type.isBF16())
    return bfloatToFloat(code,
                         code.load(code.builder.getI16Type(), base, position));
  if (type.isF16())
    return code.resizeFloat(code.load(type, base, position), code.f32());
  unsigned bits = type.getIntOrFloatBitWidth();
  const SmallFloat *format = smallFloat(type);
  if (bits >= 8 && !format)
    return code.load(kernel.registerType(tensor), base, position);
  Value stored = bits < 8 ? loadPacked(code, base, position, bits)
                          : code.load(code.i8(), base, position);
  return format ? smallToFloat(code, *format, stored)
                : code.resizeInteger(stored, kernel.registerType(tensor));
}

Value Kernel::element(Value tensor, Index index) {
  if (auto found = windows.find(tensor); found != windows.end()) {
    const Window &window = found->second;
    llvm::ArrayRef<DimExpr> rows = shape(tensor);
    Value row = code.sub(positionOf(index.drop_back(), rows.drop_back()),
                         window.firstRow);
    Value column = code.sub(index.back(), window.firstColumn);
    return loadFrom(
        *this, window.memory, tensor,
        code.add(code.mul(row, code.index(window.columns)), column));
  }
  if (buffers.count(tensor))
    return loadAt(tensor, positionOf(index, shape(tensor)));
  Operation *op = tensor.getDefiningOp();
  if (auto constant = dyn_cast_or_null<onnx::ConstantOp>(op))
    return constantElement(*this, constant, index);
  if (isa_and_nonnull<qmodel::DimTensorOp>(op))
    return dimTensorElement(*this, tensor, index);
  const Lowering *lowering = op ? lowerings.find(op) : nullptr;
  if (!lowering || !lowering->element)
    return unsupported(op, "code for an operand that is not in a buffer; only "
                           "elementwise ops and views can be fused");
  return lowering->element(*this, op, cast<OpResult>(tensor).getResultNumber(),
                           index);
}

Value Kernel::elementAt(Value tensor, Value position) {
  if (buffers.count(tensor))
    return loadAt(tensor, position);
  return element(tensor, indexOf(position, shape(tensor)));
}

Value Kernel::broadcastElement(Value tensor, Index index,
                               llvm::ArrayRef<DimExpr> target) {
  const Shape &own = shape(tensor);
  Values operandIndex;
  size_t offset = target.size() - own.size();
  for (size_t i = 0; i < own.size(); ++i) {
    const DimExpr &size = own[i];
    if (size == target[offset + i])
      operandIndex.push_back(index[offset + i]);
    else if (size.asConstant() == 1)
      operandIndex.push_back(code.index(0));
    else {
      // Whether this dimension is 1 is known at run time only.
      Value isOne = code.compare(Compare::eq, evaluate(size), code.index(1));
      operandIndex.push_back(
          code.select(isOne, code.index(0), index[offset + i]));
    }
  }
  return element(tensor, operandIndex);
}

void Kernel::store(Value tensor, Index index, Value value) {
  storeAt(tensor, positionOf(index, shape(tensor)), value);
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value Kernel::pointer(Value tensor) {
  auto it = buffers.find(tensor);
  if (it != buffers.end())
    return it->second;
  Operation *op = tensor.getDefiningOp();
  if (auto constant = dyn_cast_or_null<onnx::ConstantOp>(op))
    return constantAddress(constant);
  unsupported(op, "a value that is not in a buffer as operand here");
  return LLVM::PoisonOp::create(code.builder, code.location, code.pointer());
}

Value Kernel::output(Value tensor) {
  auto it = outputs.find(tensor);
  if (it != outputs.end())
    return it->second;
  unsupported(tensor.getDefiningOp(), "a use of the result inside the kernel");
  return LLVM::PoisonOp::create(code.builder, code.location, code.pointer());
}

Value Kernel::outputRow(Value tensor, Value row) {
  if (auto found = windows.find(tensor); found != windows.end()) {
    const Window &window = found->second;
    Value first =
        code.mul(code.sub(row, window.firstRow), code.index(window.columns));
    return code.address(storedType(tensor), window.memory,
                        code.sub(first, window.firstColumn));
  }
  if (auto move = rowMoves.find(tensor); move != rowMoves.end())
    row = move->second(row);
  return code.address(storedType(tensor), output(tensor),
                      code.mul(row, size(tensor, rank(tensor) - 1)));
}

Value Kernel::loadAt(Value tensor, Value position) {
  return loadFrom(*this, pointer(tensor), tensor, position);
}

Value Kernel::loadResultAt(Value tensor, Value position) {
  return loadFrom(*this, output(tensor), tensor, position);
}

Value Kernel::packedBits(Value tensor, Value value) {
  Type type = elementType(tensor);
  if (const SmallFloat *format = smallFloat(type))
    return floatToSmall(code, *format, value);
  return code.resizeInteger(value, code.i8(), /*isUnsigned=*/true);
}

void Kernel::storeAt(Value tensor, Value position, Value value) {
  Type type = elementType(tensor);
  Value base = output(tensor);
  if (isPacked(tensor)) {
    unsupported(tensor.getDefiningOp(),
                "elements of less than a byte, which only elementwise ops "
                "can write");
    return;
  }
  if (type.isInteger(1))
    value = code.resizeInteger(value, code.i8(), /*isUnsigned=*/true);
  else if (type.isBF16())
    value = floatToBfloat(code, value);
  else if (type.isF16())
    value = code.resizeFloat(value, type);
  else if (smallFloat(type))
    value = packedBits(tensor, value);
  code.store(value, base, position);
}

//===----------------------------------------------------------------------===//
// Lowerings
//===----------------------------------------------------------------------===//

static std::string describe(Operation *op) {
  if (!op)
    return "a kernel argument";
  if (auto node = dyn_cast<onnx::NodeOp>(op))
    return "ONNX operator '" + node.getOpType().str() + "'";
  return "'" + op->getName().getStringRef().str() + "'";
}

Value Kernel::unsupported(Operation *op, const llvm::Twine &why) {
  failed = true;
  Location location = op ? op->getLoc() : code.location;
  emitError(location) << "no " << lowerings.device << " code for "
                      << describe(op) << ": found " << why;
  return code.zero(op && op->getNumResults() == 1 &&
                           isa<ShapedType>(op->getResult(0).getType())
                       ? registerType(op->getResult(0))
                       : code.f32());
}

/// ONNX nodes come from files: the lowerings rely on these counts.
static void setOperandCounts(LoweringTable &table) {
  for (const char *name : {"Add",
                           "Sub",
                           "Mul",
                           "Div",
                           "Mod",
                           "Pow",
                           "Equal",
                           "Less",
                           "LessOrEqual",
                           "Greater",
                           "GreaterOrEqual",
                           "And",
                           "Or",
                           "Xor",
                           "BitwiseAnd",
                           "BitwiseOr",
                           "BitwiseXor",
                           "BitShift",
                           "Gather",
                           "GatherElements",
                           "GatherND",
                           "ReverseSequence",
                           "MatMul",
                           "Gemm",
                           "CumSum",
                           "LayerNormalization"})
    table[std::string("onnx.") + name].operands = 2;
  for (const char *name :
       {"Where", "Range", "OneHot", "Scatter", "ScatterElements", "ScatterND"})
    table[std::string("onnx.") + name].operands = 3;
}

void addLowerings(LoweringTable &table) {
  addElementwiseLowerings(table);
  addActivationLowerings(table);
  addConversionLowerings(table);
  addMovementLowerings(table);
  addIndexingLowerings(table);
  addSelectionLowerings(table);
  addReductionLowerings(table);
  addNormLowerings(table);
  addMatMulLowerings(table);
  addEinsumLowerings(table);
  addEmbeddingLowerings(table);
  addCacheLowerings(table);
  addStateSpaceLowerings(table);
  addQuantizeLowerings(table);
  setOperandCounts(table);
}

std::string LoweringTable::nameOf(Operation *op) {
  if (auto node = dyn_cast<onnx::NodeOp>(op)) {
    bool isStandard = node.getDomain().empty() || node.getDomain() == "ai.onnx";
    return "onnx." +
           (isStandard ? std::string() : node.getDomain().str() + ".") +
           node.getOpType().str();
  }
  if (auto append = dyn_cast<qmodel::AppendOp>(op);
      append && append.getInPlace())
    return appendInPlace.str();
  return op->getName().getStringRef().str();
}

const Lowering *LoweringTable::find(Operation *op) const {
  auto it = lowerings.find(nameOf(op));
  return it == lowerings.end() ? nullptr : &it->second;
}

} // namespace nibble::codegen
