//===- RtnTool.cpp - Round one matrix, for comparison with the oracles ----===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   nibble-numerics-rtn in.npy out.npz BITS sym|asym GRID ROUNDING GROUP
//
// Writes `codes`, `scales`, `zeros` (if any) and `values` (dequantized).
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

static Status run(char **arguments) {
  Expected<Tensor> weight = readNpy(arguments[1]);
  if (!weight)
    return weight.status();
  IntegerScheme scheme;
  scheme.bits = static_cast<unsigned>(std::atoi(arguments[3]));
  scheme.symmetric = std::string(arguments[4]) == "sym";
  std::optional<Grid> grid = parseGrid(arguments[5]);
  std::optional<Rounding> rounding = parseRounding(arguments[6]);
  if (!grid || !rounding)
    return Status::error("expects the name of a grid and of a rounding, got " +
                         std::string(arguments[5]) + " and " + arguments[6]);
  scheme.grid = *grid;
  scheme.rounding = *rounding;
  int64_t group = std::atoll(arguments[7]);

  Expected<QuantizedMatrix> result = quantizeToNearest(*weight, group, scheme);
  if (!result)
    return result.status();
  const Tensor *zeros = scheme.storesZero() ? &result->zeros : nullptr;
  Expected<Tensor> values =
      dequantize(result->codes, result->scales, zeros, group);
  if (!values)
    return values.status();
  NamedTensors arrays = {{"codes", widened(result->codes)},
                         {"scales", result->scales},
                         {"values", *values}};
  if (zeros)
    arrays.emplace_back("zeros", widened(*zeros));
  return writeNpz(arguments[2], arrays);
}

int main(int count, char **arguments) {
  if (count != 8) {
    std::fprintf(stderr, "usage: nibble-numerics-rtn in.npy out.npz BITS "
                         "sym|asym GRID ROUNDING GROUP\n");
    return 2;
  }
  Status status = run(arguments);
  if (status.isOk())
    return 0;
  std::fprintf(stderr, "error: %s\n", status.message().c_str());
  return 1;
}
