//===- QModelDialect.cpp - Attributes and weights of qmodel ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/QModel/QModel.h"

#include "nibble/Support/WeightStore.h"
#include "nibble/dialects/Onnx/Onnx.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::qmodel;

#include "nibble/dialects/QModel/QModelDialect.cpp.inc"
#include "nibble/dialects/QModel/QModelEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "nibble/dialects/QModel/QModelAttrs.cpp.inc"

void QModelDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "nibble/dialects/QModel/QModelAttrs.cpp.inc"
      >();
}

void QModelDialect::initialize() {
  registerAttributes();
  addOperations<
#define GET_OP_LIST
#include "nibble/dialects/QModel/QModelOps.cpp.inc"
      >();
}

/// Names for the sizes that the data of `op` decide.
static LogicalResult verifySizes(Operation *op, Attribute value) {
  auto names = dyn_cast<ArrayAttr>(value);
  auto ok = [](Attribute name) {
    auto text = dyn_cast<StringAttr>(name);
    return text && DimExpr::isSymbolName(text.str());
  };
  if (!names || !llvm::all_of(names, ok))
    return op->emitError("expects '")
           << sizesAttrName << "' to be a list of names of dimensions, got "
           << value;
  return success();
}

LogicalResult QModelDialect::verifyOperationAttribute(Operation *op,
                                                      NamedAttribute attr) {
  if (attr.getName() == sizesAttrName)
    return verifySizes(op, attr.getValue());
  if (attr.getName() != boundsAttrName)
    return success();
  auto bounds = dyn_cast<DictionaryAttr>(attr.getValue());
  if (!isa<ModuleOp>(op) || !bounds)
    return op->emitError("expects '")
           << boundsAttrName << "' to be a dictionary on the module";
  for (NamedAttribute entry : bounds) {
    auto pair = dyn_cast<ArrayAttr>(entry.getValue());
    auto low = pair && pair.size() == 2 ? dyn_cast<IntegerAttr>(pair[0])
                                        : IntegerAttr();
    auto high = low ? dyn_cast<IntegerAttr>(pair[1]) : IntegerAttr();
    if (!high || low.getInt() < 0 || low.getInt() > high.getInt())
      return op->emitError("expects bounds [min, max] with 0 <= min <= max for "
                           "dimension '")
             << entry.getName().getValue() << "', got " << entry.getValue();
  }
  return success();
}

LogicalResult QModelDialect::verifyRegionArgAttribute(Operation *op, unsigned,
                                                      unsigned argument,
                                                      NamedAttribute attr) {
  if (attr.getName() != dimsAttrName)
    return success();
  auto names = dyn_cast<ArrayAttr>(attr.getValue());
  auto ok = [](Attribute name) {
    auto text = dyn_cast<StringAttr>(name);
    return text && static_cast<bool>(DimExpr::parse(text.str()));
  };
  if (!names || !llvm::all_of(names, ok))
    return op->emitError("expects '")
           << dimsAttrName << "' of argument " << argument
           << " to be a list of dimension expressions, got " << attr.getValue();
  return success();
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

LogicalResult SchemeAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 unsigned bits, int64_t group, bool symmetric,
                                 GridKind grid, RoundingKind, int64_t rows,
                                 Type scales, SchemeAttr scaleScheme) {
  if (bits < 2 || bits > 8) // scheme_c1
    return emitError() << "expects 2 to 8 bits, got " << bits;
  if (group < 0) // scheme_c2
    return emitError()
           << "expects a group size of 0 (per channel) or more, got " << group;
  if (rows < 0) // scheme_c2
    return emitError() << "expects 0 (all) or more rows per block, got "
                       << rows;
  if (grid == GridKind::Narrow && !symmetric) // scheme_c3
    return emitError() << "expects the narrow grid to be symmetric";
  if (!scales.isF32() && !scales.isF16() && !scales.isBF16()) // scheme_c4
    return emitError() << "expects scales of f32, f16 or bf16, got " << scales;
  if (scaleScheme && scaleScheme.getScaleScheme()) // scheme_c5
    return emitError() << "expects a scheme of scales without a second level "
                          "of its own, got "
                       << scaleScheme;
  return success();
}

LogicalResult PlanAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                               SchemeAttr, SchemeAttr input) {
  if (!input)
    return success();
  if (input.getRows() > 1) // plan_c1
    return emitError() << "expects an input scheme with 1 row (per token) or 0 "
                          "(per tensor), got "
                       << input.getRows();
  if (input.getScaleScheme()) // plan_c2
    return emitError() << "expects an input scheme without scale_scheme, got "
                       << input;
  return success();
}

IntegerScheme nibble::qmodel::integerScheme(SchemeAttr scheme) {
  // The enumerations of the dialect and of Numerics list the same cases in the
  // same order.
  IntegerScheme plain;
  plain.bits = scheme.getBits();
  plain.symmetric = scheme.getSymmetric();
  plain.grid = static_cast<Grid>(scheme.getGrid());
  plain.rounding = static_cast<Rounding>(scheme.getRounding());
  return plain;
}

BlockScheme nibble::qmodel::blockScheme(SchemeAttr scheme) {
  BlockScheme plain;
  plain.codes = integerScheme(scheme);
  plain.group = scheme.getGroup();
  plain.rows = scheme.getRows();
  plain.scales = *fromMlirType(scheme.getScales());
  if (SchemeAttr second = scheme.getScaleScheme())
    plain.ofScales = std::make_shared<BlockScheme>(blockScheme(second));
  return plain;
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

FailureOr<Tensor> nibble::qmodel::readWeight(Operation *where, Attribute value,
                                             RankedTensorType type,
                                             bool verify) {
  if (auto stored = dyn_cast<StoredAttr>(value))
    return WeightStore::get(where->getContext())
        .readStored(where,
                    {stored.getFile().str(), stored.getOffset(),
                     stored.getBytes(), stored.getSha256().str()},
                    type, verify);
  if (!isa<DenseElementsAttr>(value))
    return where->emitOpError("expects a dense literal or #qmodel.stored, got ")
           << value;
  return tensorFromLiteral(value);
}

FailureOr<Attribute> nibble::qmodel::writeWeight(Location where,
                                                 const Tensor &tensor,
                                                 bool literal) {
  MLIRContext *context = where.getContext();
  if (literal)
    return Attribute(literalFromTensor(context, tensor));
  FailureOr<StoredWeight> stored =
      WeightStore::get(context).writeStored(where, tensor);
  if (failed(stored))
    return failure();
  return Attribute(StoredAttr::get(context, stored->file, stored->offset,
                                   stored->bytes, stored->sha256));
}

FailureOr<WeightOp> nibble::qmodel::addWeight(ModuleOp module, Location where,
                                              StringRef name,
                                              const Tensor &tensor,
                                              bool literal) {
  FailureOr<Attribute> value = writeWeight(where, tensor, literal);
  if (failed(value))
    return failure();
  std::string unique = name.str();
  for (unsigned i = 1; SymbolTable::lookupSymbolIn(module, unique); ++i)
    unique = (name + "." + Twine(i)).str();
  OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
  return WeightOp::create(builder, where, unique,
                          tensorTypeOf(module.getContext(), tensor), *value);
}

void nibble::qmodel::eraseUnusedWeights(ModuleOp module) {
  llvm::DenseSet<StringRef> used;
  module.walk([&](LoadOp load) {
    if (load.use_empty())
      load.erase();
    else
      used.insert(load.getWeight());
  });
  for (WeightOp weight : llvm::make_early_inc_range(module.getOps<WeightOp>()))
    if (!used.contains(weight.getSymName()))
      weight.erase();
}

WeightOp nibble::qmodel::weightOf(LoadOp load) {
  auto module = load->getParentOfType<ModuleOp>();
  return module ? dyn_cast_or_null<WeightOp>(
                      SymbolTable::lookupSymbolIn(module, load.getWeight()))
                : WeightOp();
}

FailureOr<Tensor> nibble::qmodel::loadTensor(LoadOp load) {
  WeightOp weight = weightOf(load);
  if (!weight)
    return load.emitOpError("names no weight of the module: ")
           << load.getWeight();
  FailureOr<Tensor> tensor = readWeight(
      weight, weight.getValue(), cast<RankedTensorType>(weight.getType()));
  if (failed(tensor) || !load.getPermutation())
    return tensor;
  return transpose(*tensor, *load.getPermutation());
}

/// A matrix, in blocks that stay in the cache.
template <typename T> static Tensor transposeMatrix(const Tensor &matrix) {
  constexpr int64_t block = 32;
  int64_t rows = matrix.shape()[0], columns = matrix.shape()[1];
  Tensor result = Tensor::allocate(matrix.type(), {columns, rows});
  std::span<const T> from = matrix.as<T>();
  std::span<T> to = result.asMutable<T>();
  for (int64_t top = 0; top < rows; top += block)
    for (int64_t left = 0; left < columns; left += block)
      for (int64_t j = left; j < std::min(left + block, columns); ++j)
        for (int64_t i = top; i < std::min(top + block, rows); ++i)
          to[j * rows + i] = from[i * columns + j];
  return result;
}

Tensor nibble::qmodel::transpose(const Tensor &tensor,
                                 ArrayRef<int64_t> permutation) {
  if (permutation == ArrayRef<int64_t>{1, 0})
    switch (tensor.type().bits) {
    case 8:
      return transposeMatrix<uint8_t>(tensor);
    case 16:
      return transposeMatrix<uint16_t>(tensor);
    case 32:
      return transposeMatrix<uint32_t>(tensor);
    }
  size_t rank = permutation.size();
  std::vector<int64_t> shape(rank), strides(rank, 1), moved(rank);
  for (size_t i = rank; i-- > 1;)
    strides[i - 1] = strides[i] * tensor.shape()[i];
  for (size_t i = 0; i < rank; ++i) {
    shape[i] = tensor.shape()[permutation[i]];
    moved[i] = strides[permutation[i]];
  }
  Tensor result = Tensor::allocate(tensor.type(), shape);
  std::span<std::byte> out = result.mutableBytes();
  std::vector<int64_t> index(rank, 0);
  size_t width = tensor.type().bits / 8;
  bool whole = tensor.type().bits % 8 == 0;
  int64_t source = 0;
  for (uint64_t i = 0; i < tensor.size(); ++i) {
    if (whole)
      std::copy_n(tensor.bytes().data() + width * source, width,
                  out.data() + width * i);
    else
      result.setIntegerAt(i, tensor.integerAt(source));
    for (size_t d = rank; d-- > 0;) {
      source += moved[d];
      if (++index[d] < shape[d])
        break;
      source -= moved[d] * shape[d];
      index[d] = 0;
    }
  }
  return result;
}

LogicalResult WeightOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  std::optional<ElementType> element = fromMlirType(type.getElementType());
  if (!element || !type.hasStaticShape()) // weight_c4
    return emitOpError("expects a static tensor of integers or floats, got ")
           << type;
  if (auto stored = dyn_cast<StoredAttr>(getValue())) {
    std::optional<uint64_t> count = elementCount(type.getShape());
    std::optional<uint64_t> bytes =
        count ? byteSize(*element, *count) : std::nullopt;
    if (!bytes || *bytes != stored.getBytes()) // weight_c3
      return emitOpError("expects ")
             << (bytes ? *bytes : 0) << " stored bytes for " << type << ", got "
             << stored.getBytes();
    return success();
  }
  auto literal = dyn_cast<DenseElementsAttr>(getValue());
  if (!literal) // weight_c1
    return emitOpError("expects a dense literal or #qmodel.stored, got ")
           << getValue();
  if (literal.getType() != type) // weight_c2
    return emitOpError("expects a literal of type ")
           << type << ", got " << literal.getType();
  return success();
}

LogicalResult LoadOp::verifySymbolUses(SymbolTableCollection &tables) {
  auto weight =
      tables.lookupNearestSymbolFrom<WeightOp>(*this, getWeightAttr());
  if (!weight) // load_c1
    return emitOpError("names no weight of the module: ") << getWeightAttr();
  auto type = cast<RankedTensorType>(weight.getType());
  SmallVector<int64_t> shape(type.getShape());
  if (std::optional<ArrayRef<int64_t>> permutation = getPermutation()) {
    SmallVector<int64_t> sorted(*permutation);
    llvm::sort(sorted);
    bool valid = sorted.size() == shape.size();
    for (size_t i = 0; valid && i < sorted.size(); ++i)
      valid = sorted[i] == static_cast<int64_t>(i);
    if (!valid) // load_c2
      return emitOpError("expects a permutation of ")
             << shape.size() << " dimensions, got [" << *permutation << "]";
    for (size_t i = 0; i < shape.size(); ++i)
      shape[i] = type.getShape()[(*permutation)[i]];
  }
  auto expected = RankedTensorType::get(shape, type.getElementType());
  if (getResult().getType() != expected) // load_c3
    return emitOpError("expects a result of type ")
           << expected << ", got " << getResult().getType();
  return success();
}
