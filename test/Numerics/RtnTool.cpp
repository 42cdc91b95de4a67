//===- RtnTool.cpp - Round one matrix, for comparison with the oracles ----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   nibble-numerics-rtn in.npy out.npz BITS sym|asym GRID ROUNDING GROUP
//       [ROWS TYPE [BITS sym|asym GRID GROUP ROWS]]
//
// The second BITS to ROWS are the scheme of the scales. Writes `codes`,
// `scales`, `zeros` (if any) and `values` (dequantized), and of the scales, if
// they are quantized, `scale_codes`, `scale_scales` and `scale_zeros`.
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Npy.h"
#include "nibble/Numerics/RoundToNearest.h"

#include <cstdio>
#include <cstdlib>
#include <string>

using namespace nibble;

/// NumPy has no integers below 8 bits.
static Tensor widened(const Tensor &tensor) {
  ElementType type = tensor.type();
  type.bits = 8;
  Tensor wide = Tensor::allocate(type, tensor.shape());
  for (uint64_t i = 0; i < tensor.size(); ++i)
    wide.setIntegerAt(i, tensor.integerAt(i));
  return wide;
}

static Status parseCodes(char **arguments, IntegerScheme &scheme) {
  scheme.bits = static_cast<unsigned>(std::atoi(arguments[0]));
  scheme.symmetric = std::string(arguments[1]) == "sym";
  std::optional<Grid> grid = parseGrid(arguments[2]);
  if (!grid)
    return Status::error("expects the name of a grid, got " +
                         std::string(arguments[2]));
  scheme.grid = *grid;
  return Status::success();
}

static Status parseScheme(int count, char **arguments, BlockScheme &scheme) {
  if (Status status = parseCodes(arguments + 3, scheme.codes); !status.isOk())
    return status;
  std::optional<Rounding> rounding = parseRounding(arguments[6]);
  if (!rounding)
    return Status::error("expects the name of a rounding, got " +
                         std::string(arguments[6]));
  scheme.codes.rounding = *rounding;
  scheme.group = std::atoll(arguments[7]);
  if (count < 10)
    return Status::success();
  scheme.rows = std::atoll(arguments[8]);
  Expected<ElementType> type = ElementType::parse(arguments[9]);
  if (!type)
    return type.status();
  scheme.scales = *type;
  if (count < 15)
    return Status::success();
  BlockScheme second;
  if (Status status = parseCodes(arguments + 10, second.codes); !status.isOk())
    return status;
  second.group = std::atoll(arguments[13]);
  second.rows = std::atoll(arguments[14]);
  scheme.ofScales = std::make_shared<BlockScheme>(second);
  return Status::success();
}

/// NumPy knows neither bfloat16 nor how to compare it.
static Tensor asFloat32(const Tensor &tensor) {
  Tensor wide = Tensor::allocate(ElementType::float32(), tensor.shape());
  for (uint64_t i = 0; i < tensor.size(); ++i)
    wide.setNumberAt(i, tensor.numberAt(i));
  return wide;
}

static Status run(int count, char **arguments) {
  Expected<Tensor> weight = readNpy(arguments[1]);
  if (!weight)
    return weight.status();
  BlockScheme scheme;
  if (Status status = parseScheme(count, arguments, scheme); !status.isOk())
    return status;
  Expected<QuantizedMatrix> result = quantizeToNearest(*weight, scheme);
  if (!result)
    return result.status();
  const Tensor *zeros = scheme.codes.storesZero() ? &result->zeros : nullptr;
  Expected<Tensor> values = dequantize(result->codes, result->scales, zeros,
                                       scheme.group, scheme.rows);
  if (!values)
    return values.status();
  NamedTensors arrays = {{"codes", widened(result->codes)},
                         {"scales", asFloat32(result->scales)},
                         {"values", *values}};
  if (zeros)
    arrays.emplace_back("zeros", widened(*zeros));
  if (const QuantizedMatrix *second = result->quantizedScales.get()) {
    arrays.emplace_back("scale_codes", widened(second->codes));
    arrays.emplace_back("scale_scales", asFloat32(second->scales));
    if (second->zeros.size())
      arrays.emplace_back("scale_zeros", widened(second->zeros));
  }
  return writeNpz(arguments[2], arrays);
}

int main(int count, char **arguments) {
  if (count != 8 && count != 10 && count != 15) {
    std::fprintf(stderr, "usage: nibble-numerics-rtn in.npy out.npz BITS "
                         "sym|asym GRID ROUNDING GROUP [ROWS TYPE [BITS "
                         "sym|asym GRID GROUP ROWS]]\n");
    return 2;
  }
  Status status = run(count, arguments);
  if (status.isOk())
    return 0;
  std::fprintf(stderr, "error: %s\n", status.message().c_str());
  return 1;
}
