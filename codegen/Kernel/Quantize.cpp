//===- Quantize.cpp - Values to codes and back ----------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The operations of Numerics/Activations.h, one by one: the codes are those of
// the interpreter to the bit. One task of a dynamic quantization is a row,
// because its range comes first; everything else is per element.
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Kernel.h"
#include "nibble/codegen/Kernel/NarrowElements.h"
#include "nibble/codegen/Kernel/SchemeCode.h"

#include "nibble/Numerics/Grid.h"
#include "nibble/dialects/QModel/QModel.h"

#include "mlir/IR/TypeUtilities.h"

#include <cmath>

using namespace mlir;

namespace nibble::codegen {

//===----------------------------------------------------------------------===//
// Schemes
//===----------------------------------------------------------------------===//

Value SchemeCode::round(Value x) {
  Value even = code.roundEven(x);
  if (scheme.rounding == Rounding::HalfEven)
    return even;
  // x - even is exact, and at ties half of what must be added to x.
  Value isTie =
      code.compare(Compare::eq, code.absolute(code.sub(x, even)), real(0.5));
  return code.select(isTie, code.add(x, code.copySign(real(0.5), x)), even);
}

Value SchemeCode::quantized(Value x, Value scale, Value zero) {
  Value value = round(code.divide(x, scale));
  if (zero)
    value = code.add(value, zero);
  value = code.select(code.compare(Compare::ne, value, value),
                      zero ? zero : real(0), value);
  value = larger(value, real(static_cast<double>(scheme.codeMin())));
  value = smaller(value, real(static_cast<double>(scheme.codeMax())));
  return code.resizeInteger(code.toInteger(value, code.i32()), code.i8());
}

Value SchemeCode::exactScale(Value lo, Value low, Value hi, Value high) {
  Value smallest = real(1e-5f);
  Value magnitude = larger(code.negate(low), high);
  switch (scheme.grid) {
  case Grid::Gptq:
    if (!scheme.symmetric)
      break;
    return code.divide(
        code.sub(magnitude, code.select(code.compare(Compare::lt, lo, real(0)),
                                        code.negate(magnitude), real(0))),
        real(steps));
  case Grid::Awq:
    if (scheme.symmetric)
      return code.divide(larger(magnitude, smallest), real(half - 1));
    return code.divide(larger(code.sub(hi, lo), smallest), real(steps));
  case Grid::MinMax:
    if (!scheme.symmetric)
      break;
    return code.divide(magnitude, real(half - 0.5));
  case Grid::FullRange: {
    if (!scheme.symmetric)
      break;
    Value extreme =
        code.select(code.compare(Compare::ge, hi, code.negate(lo)), hi, lo);
    return code.divide(code.negate(extreme), real(half));
  }
  case Grid::Narrow:
    return code.divide(larger(magnitude, smallest), real(half - 1));
  }
  return code.divide(code.sub(high, low), real(steps));
}

/// Rounded to the type of the scales; what would become 0 becomes the smallest
/// magnitude of the type (roundScale of Grid.h).
Value SchemeCode::storedScale(Value scale) {
  Type type = attr.getScales();
  if (type.isF32())
    return scale;
  Value rounded =
      type.isF16() ? code.resizeFloat(code.resizeFloat(scale, type), code.f32())
                   : bfloatToFloat(code, floatToBfloat(code, scale));
  Value smallest =
      code.copySign(real(std::ldexp(1., type.isF16() ? -24 : -133)), scale);
  Value isZero = code.compare(Compare::eq, rounded, real(0));
  return code.select(isZero, smallest, rounded);
}

std::pair<Value, Value> SchemeCode::parameters(Value lo, Value hi) {
  Value low = smaller(lo, real(0)), high = larger(hi, real(0));
  if (scheme.grid == Grid::Gptq) {
    Value isZero = code.bitAnd(code.compare(Compare::eq, low, real(0)),
                               code.compare(Compare::eq, high, real(0)));
    lo = code.select(isZero, real(-1), lo);
    low = code.select(isZero, real(-1), low);
    high = code.select(isZero, real(1), high);
  }
  Value scale = exactScale(lo, low, hi, high);
  scale =
      code.select(code.compare(Compare::eq, scale, real(0)), real(1), scale);
  scale = storedScale(scale);
  if (!scheme.storesZero())
    return {scale, Value()};
  if (scheme.symmetric)
    return {scale, real(half)};
  Value from = scheme.grid == Grid::Awq ? lo : low;
  Value zero = round(code.divide(code.negate(from), scale));
  return {scale, smaller(larger(zero, real(0)), real(steps))};
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

namespace {

constexpr int64_t lanes = 8;

/// The index of the block of rows x group elements (0: all) that `index` is in;
/// zeros for a tensor of blocks with a single element.
Values blockOf(Kernel &kernel, Value blocks, Index index, int64_t rows,
               int64_t group) {
  Code &code = kernel.code;
  auto type = cast<RankedTensorType>(blocks.getType());
  if (type.hasStaticShape() && type.getNumElements() == 1)
    return Values(type.getRank(), code.index(0));
  Values block(index);
  auto divide = [&](Value &i, int64_t size) {
    i = size == 0 ? code.index(0)
                  : code.divide(i, code.index(size), /*isUnsigned=*/true);
  };
  divide(block.back(), group);
  divide(block[block.size() - 2], rows);
  return block;
}

Value asFloat32(Kernel &kernel, Value tensor, Value element) {
  Code &code = kernel.code;
  return Kernel::isFloat(tensor)
             ? code.resizeFloat(element, code.f32())
             : code.toFloat(element, code.f32(), Kernel::isUnsigned(tensor));
}

/// (float(code) - float(zero)) * scale
Value dequantize(Kernel &kernel, Operation *op, unsigned, Index index) {
  Code &code = kernel.code;
  auto dequantize = cast<qmodel::DequantizeOp>(op);
  auto read = [&](Value blocks) {
    Value element = kernel.element(blocks, blockOf(kernel, blocks, index,
                                                   dequantize.getRows(),
                                                   dequantize.getGroup()));
    return asFloat32(kernel, blocks, element);
  };
  Value codes = dequantize.getCodes();
  Value value = asFloat32(kernel, codes, kernel.element(codes, index));
  if (dequantize.getZeros())
    value = code.sub(value, read(dequantize.getZeros()));
  value = code.mul(value, read(dequantize.getScales()));
  return code.resizeFloat(value, kernel.registerType(dequantize.getResult()));
}

Value quantize(Kernel &kernel, Operation *op, unsigned, Index index) {
  auto quantize = cast<qmodel::QuantizeOp>(op);
  qmodel::SchemeAttr scheme = quantize.getScheme();
  auto read = [&](Value tensor, Index at) {
    return asFloat32(kernel, tensor, kernel.element(tensor, at));
  };
  auto ofBlock = [&](Value blocks) {
    return read(blocks, blockOf(kernel, blocks, index, scheme.getRows(),
                                scheme.getGroup()));
  };
  Value zeros = quantize.getZeros();
  return SchemeCode(kernel.code, scheme)
      .quantized(read(quantize.getX(), index), ofBlock(quantize.getScales()),
                 zeros ? ofBlock(zeros) : Value());
}

//===----------------------------------------------------------------------===//
// Dynamic quantization
//===----------------------------------------------------------------------===//

/// Smallest and largest of the elements [from, to) of x.
std::pair<Value, Value> rangeOf(Kernel &kernel, Value x, Value from, Value to) {
  Code &code = kernel.code;
  Type stored = getElementTypeOrSelf(x.getType());
  auto read = [&](Value position) {
    return code.resizeFloat(kernel.loadAt(x, position), code.f32());
  };
  auto include = [&](llvm::ArrayRef<Value> range, Value low,
                     Value high) -> Values {
    return {
        code.select(code.compare(Compare::lt, low, range[0]), low, range[0]),
        code.select(code.compare(Compare::gt, high, range[1]), high, range[1])};
  };
  Value first = read(from), begin = from;
  Values range = {first, first};
  if (stored.isF32() || stored.isF16() || stored.isBF16()) {
    Value spread = code.broadcast(first, lanes);
    Value whole = code.mul(
        code.divide(code.sub(to, from), code.index(lanes), /*isUnsigned=*/true),
        code.index(lanes));
    begin = code.add(from, whole);
    Values wide = code.loop(from, begin, lanes, {spread, spread},
                            [&](Value i, llvm::ArrayRef<Value> carried) {
                              Value values = code.loadFloats(
                                  stored, lanes, kernel.pointer(x), i);
                              return include(carried, values, values);
                            });
    for (int64_t lane = 0; lane < lanes; ++lane)
      range = include(range, code.extract(wide[0], lane),
                      code.extract(wide[1], lane));
  }
  range = code.loop(begin, to, 1, range,
                    [&](Value i, llvm::ArrayRef<Value> carried) {
                      Value value = read(i);
                      return include(carried, value, value);
                    });
  return {range[0], range[1]};
}

DimExpr rowTasks(Kernel &kernel, Operation *op) {
  const Shape &shape = kernel.shape(op->getOperand(0));
  return Kernel::product(shape, 0, shape.size() - 1);
}

void dynamicQuantize(Kernel &kernel, Operation *op, Value row) {
  Code &code = kernel.code;
  auto quantize = cast<qmodel::DynamicQuantizeOp>(op);
  SchemeCode scheme(code, quantize.getScheme());
  Value x = quantize.getX();
  Value width = kernel.size(x, kernel.rank(x) - 1), group = width;
  if (int64_t size = quantize.getScheme().getGroup())
    group = code.minimum(width, code.index(size));
  Value groups =
      code.divide(code.add(width, code.sub(group, code.index(1))), group,
                  /*isUnsigned=*/true);
  Value firstOfRow = code.mul(row, width);
  Value endOfRow = code.add(firstOfRow, width);
  code.loop(code.index(0), groups, 1, [&](Value g) {
    Value from = code.add(firstOfRow, code.mul(g, group));
    Value to = code.minimum(code.add(from, group), endOfRow);
    auto [lo, hi] = rangeOf(kernel, x, from, to);
    auto [scale, zero] = scheme.parameters(lo, hi);
    Value block = code.add(code.mul(row, groups), g);
    auto storeIfUsed = [&](Value result, Value position, Value value) {
      if (result && kernel.outputs.count(result))
        kernel.storeAt(result, position, value);
    };
    storeIfUsed(quantize.getScales(), block, scale);
    if (zero)
      storeIfUsed(
          quantize.getZeros(), block,
          code.resizeInteger(code.toInteger(zero, code.i32()), code.i8()));
    code.loop(from, to, 1, [&](Value i) {
      Value value = code.resizeFloat(kernel.loadAt(x, i), code.f32());
      storeIfUsed(quantize.getCodes(), i, scheme.quantized(value, scale, zero));
    });
  });
}

} // namespace

void addQuantizeLowerings(LoweringTable &table) {
  table["qmodel.dequantize"].element = dequantize;
  table["qmodel.quantize"].element = quantize;
  table["qmodel.dynamic_quantize"].tasks = rowTasks;
  table["qmodel.dynamic_quantize"].task = dynamicQuantize;
}

} // namespace nibble::codegen
