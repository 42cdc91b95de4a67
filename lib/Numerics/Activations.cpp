//===- Activations.cpp - Quantization of activations ----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The operations that Activations.h lists, in float32; the scale of a block is
// in Grid.cpp, with the other equations of the grids.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Activations.h"

#include "PackedBits.h"

#include <algorithm>
#include <cmath>

using namespace nibble;

namespace {

float roundTo(Rounding rounding, float value) {
  return rounding == Rounding::HalfAway ? std::round(value)
                                        : std::nearbyint(value);
}

/// The scheme's constants as floats.
struct Constants {
  explicit Constants(const IntegerScheme &scheme)
      : half(static_cast<float>(1 << (scheme.bits - 1))), steps(2 * half - 1),
        low(static_cast<float>(scheme.codeMin())),
        high(static_cast<float>(scheme.codeMax())) {}
  float half, steps; ///< 2^(b-1) and 2^b - 1
  float low, high;   ///< the range of codes
};

/// Range, scale and zero point of one block.
class ActivationBlock {
public:
  ActivationBlock(const BlockScheme &scheme, std::span<const float> values)
      : scheme(scheme.codes), constant(this->scheme) {
    lo = hi = values[0];
    for (float value : values) {
      lo = std::min(lo, value);
      hi = std::max(hi, value);
    }
    low = std::min(lo, 0.0f);
    high = std::max(hi, 0.0f);
    if (this->scheme.grid == Grid::Gptq && low == 0 && high == 0) {
      lo = low = -1;
      hi = high = 1;
    }
    scale = activationScale(this->scheme, lo, hi);
    if (scale == 0)
      scale = 1;
    scale = static_cast<float>(roundScale(scale, scheme.scales));
    zero = zeroPoint();
  }

  float scale, zero;

private:
  float zeroPoint() const {
    if (!scheme.storesZero())
      return 0;
    if (scheme.symmetric)
      return constant.half;
    float from = scheme.grid == Grid::Awq ? lo : low;
    float zero = roundTo(scheme.rounding, -from / scale);
    return std::clamp(zero, 0.0f, constant.steps);
  }

  const IntegerScheme &scheme;
  Constants constant;
  float lo, hi;    ///< smallest and largest value
  float low, high; ///< the same with 0 in the range
};

unsigned codeOf(const IntegerScheme &scheme, const Constants &constant,
                float value, float scale, float zero) {
  float code = roundTo(scheme.rounding, value / scale) + zero;
  if (std::isnan(code))
    code = zero;
  return static_cast<unsigned>(
      static_cast<int>(std::clamp(code, constant.low, constant.high)));
}

Status checkActivations(const Tensor &x) {
  if (x.type().isFloat() && x.rank() >= 1)
    return Status::success();
  return Status::error(
      "expects activations [..., width] of a float type, got " +
      describe(x.type(), x.shape()));
}

} // namespace

Expected<QuantizedActivations>
nibble::dynamicQuantize(const Tensor &x, const BlockScheme &scheme) {
  if (Status status = scheme.validate(); !status.isOk())
    return status;
  if (Status status = checkActivations(x); !status.isOk())
    return status;
  if (scheme.rows != 1 || scheme.ofScales)
    return Status::error("expects a dynamic scheme with one row per block and "
                         "without a second level");
  int64_t width = x.shape().back(), group = blockExtent(scheme.group, width);
  std::vector<int64_t> blocks = x.shape();
  blocks.back() = blocksIn(width, group);

  QuantizedActivations result;
  result.codes = Tensor::allocate(scheme.codes.codeType(), x.shape());
  result.scales = Tensor::allocate(scheme.scales, blocks);
  if (scheme.codes.storesZero())
    result.zeros =
        Tensor::allocate(ElementType::unsignedInt(scheme.codes.bits), blocks);
  Tensor wide = x.converted(ElementType::float32());
  std::span<const float> values = wide.as<float>();
  std::span<std::byte> codes = result.codes.mutableBytes();
  Constants constant(scheme.codes);
  for (uint64_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      return Status::error("expects finite activations, got " +
                           std::to_string(values[i]) + " as element " +
                           std::to_string(i));
  for (uint64_t block = 0; block < result.scales.size(); ++block) {
    uint64_t row = block / blocks.back(), g = block % blocks.back();
    uint64_t first = row * width + g * group;
    uint64_t count = std::min<uint64_t>(group, (row + 1) * width - first);
    ActivationBlock found(scheme, values.subspan(first, count));
    if (!std::isfinite(found.scale))
      return Status::error("expects activations whose scale fits in " +
                           scheme.scales.str() + ", got a larger one in row " +
                           std::to_string(row));
    result.scales.setNumberAt(block, found.scale);
    if (scheme.codes.storesZero())
      result.zeros.setIntegerAt(block, static_cast<int64_t>(found.zero));
    for (uint64_t i = first; i < first + count; ++i)
      writeBits(
          codes, scheme.codes.bits, i,
          codeOf(scheme.codes, constant, values[i], found.scale, found.zero));
  }
  return result;
}

Expected<Tensor> nibble::quantizeWith(const Tensor &x, const Tensor &scales,
                                      const Tensor *zeros,
                                      const BlockScheme &scheme) {
  if (Status status = scheme.validate(); !status.isOk())
    return status;
  if (Status status = checkActivations(x); !status.isOk())
    return status;
  int64_t width = x.shape().back();
  int64_t height = x.rank() < 2 ? 1 : x.shape()[x.rank() - 2];
  int64_t group = blockExtent(scheme.group, width);
  int64_t blockRows = blockExtent(scheme.rows, height);
  std::vector<int64_t> blocks = x.shape();
  blocks.back() = blocksIn(width, group);
  if (x.rank() >= 2)
    blocks[blocks.size() - 2] = blocksIn(height, blockRows);
  auto fits = [&](const Tensor &tensor) {
    return tensor.size() == 1 || (x.rank() >= 2 && tensor.shape() == blocks);
  };
  if (!scales.type().isFloat() || !fits(scales) ||
      (zeros && (!zeros->type().isInteger() || !fits(*zeros))))
    return Status::error("expects scales and zero points " +
                         describe(ElementType::float32(), blocks) +
                         " or with one element, got " +
                         describe(scales.type(), scales.shape()));

  Tensor result = Tensor::allocate(scheme.codes.codeType(), x.shape());
  Tensor wide = x.converted(ElementType::float32()),
         factors = scales.converted(ElementType::float32());
  std::span<const float> values = wide.as<float>(),
                         factor = factors.as<float>();
  std::span<std::byte> codes = result.mutableBytes();
  Constants constant(scheme.codes);
  int64_t groups = blocks.back(), rowsOfBlocks = blocksIn(height, blockRows);
  for (uint64_t i = 0; i < values.size(); ++i) {
    int64_t row = static_cast<int64_t>(i) / width;
    int64_t column = static_cast<int64_t>(i) % width;
    int64_t blockRow = row / height * rowsOfBlocks + row % height / blockRows;
    int64_t block = blockRow * groups + column / group;
    float zero = 0;
    if (zeros)
      zero =
          static_cast<float>(zeros->integerAt(zeros->size() == 1 ? 0 : block));
    writeBits(codes, scheme.codes.bits, i,
              codeOf(scheme.codes, constant, values[i],
                     factor[scales.size() == 1 ? 0 : block], zero));
  }
  return result;
}
