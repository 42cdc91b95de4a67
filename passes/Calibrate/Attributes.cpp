//===- Attributes.cpp - Statistics of values, from text -------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Attributes.h"

#include "nibble/Support/WeightStore.h"

using namespace mlir;
using namespace nibble;

namespace {

using Shape = std::vector<int64_t>;

/// The entries of one attribute. A dimension of -1 in an expected shape is any.
class Reader {
public:
  Reader(Operation *layer, DictionaryAttr entries)
      : layer(layer), entries(entries) {}

  FailureOr<Tensor> tensor(StringRef name, const Shape &shape,
                           ElementType type) {
    auto literal = entries.getAs<DenseElementsAttr>(name);
    if (!literal)
      return missing(name);
    FailureOr<Tensor> given = tensorFromLiteral(literal);
    if (failed(given))
      return failure();
    bool fits = given->shape().size() == shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i)
      fits = shape[i] == -1 || shape[i] == given->shape()[i];
    if (!fits)
      return layer->emitOpError("expects '")
             << name << "' in " << statisticsAttrName << " to be "
             << describe(type, shape) << ", got "
             << describe(given->type(), given->shape());
    return given->converted(type);
  }

  /// The tensor if it is given; an empty one otherwise.
  FailureOr<Tensor> optional(StringRef name, const Shape &shape,
                             ElementType type) {
    return entries.contains(name) ? tensor(name, shape, type) : Tensor();
  }

  InFlightDiagnostic missing(StringRef name) {
    return layer->emitOpError("expects '")
           << name << "' in " << statisticsAttrName << ", got " << entries;
  }

private:
  Operation *layer;
  DictionaryAttr entries;
};

} // namespace

FailureOr<InputStatistics>
nibble::statisticsFromAttribute(Operation *layer, Attribute attribute,
                                int64_t width, const InputRequest &request) {
  auto entries = dyn_cast<DictionaryAttr>(attribute);
  if (!entries)
    return layer->emitOpError("expects ")
           << statisticsAttrName << " to be a dictionary, got " << attribute;
  Reader reader(layer, entries);
  InputStatistics result;
  InputMoments &moments = result.moments;
  ElementType precision = request.moments.precision == Precision::Float64
                              ? ElementType::float64()
                              : ElementType::float32();
  auto read = [&](Tensor &into, StringRef name, const Shape &shape,
                  ElementType type, bool required) -> LogicalResult {
    FailureOr<Tensor> tensor = required ? reader.tensor(name, shape, type)
                                        : reader.optional(name, shape, type);
    if (succeeded(tensor))
      into = std::move(*tensor);
    return tensor;
  };
  Tensor range;
  if (failed(read(moments.hessian, "hessian", {width, width}, precision,
                  request.moments.hessian)) ||
      failed(read(moments.cross, "cross", {width, width}, precision,
                  request.moments.cross)) ||
      failed(read(moments.meanAbsolute, "mean_absolute", {width},
                  ElementType::float64(), false)) ||
      failed(read(moments.meanSquare, "mean_square", {width},
                  ElementType::float64(), false)) ||
      failed(read(moments.absoluteMax, "absolute_max", {width},
                  ElementType::float32(), false)) ||
      failed(read(range, "range", {2}, ElementType::float32(), false)) ||
      failed(read(result.rows, "rows", {-1, width}, ElementType::float32(),
                  request.rowStride != 0)))
    return failure();
  auto tokens = entries.getAs<IntegerAttr>("tokens");
  moments.tokens = tokens ? tokens.getInt() : unknownTokens;
  if (range.size()) {
    moments.minimum = static_cast<float>(range.numberAt(0));
    moments.maximum = static_cast<float>(range.numberAt(1));
  }
  return result;
}
