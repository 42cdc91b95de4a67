//===- Partitions.cpp - How the work on ONNX nodes divides ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What is not here waits for its operands: see Support/Partition.h.
//
//===----------------------------------------------------------------------===//

#include "nibble/dialects/Onnx/Onnx.h"

#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace nibble;
using namespace nibble::onnx;

static llvm::StringMap<Partition> makeTable() {
  llvm::StringMap<Partition> table;
  for (const char *name : {"Add",         "Sub",
                           "Mul",         "Div",
                           "Pow",         "Min",
                           "Max",         "Sum",
                           "Mean",        "Sqrt",
                           "Neg",         "Abs",
                           "Floor",       "Ceil",
                           "Round",       "Reciprocal",
                           "Sign",        "Exp",
                           "Log",         "Sin",
                           "Cos",         "Tanh",
                           "Erf",         "Sigmoid",
                           "Equal",       "Less",
                           "LessOrEqual", "Greater",
                           "Not",         "GreaterOrEqual",
                           "And",         "Or",
                           "Xor",         "Where",
                           "Clip",        "Cast",
                           "Relu",        "LeakyRelu",
                           "Elu",         "Gelu",
                           "HardSigmoid", "HardSwish",
                           "Softplus",    "Selu",
                           "Celu",        "Softsign",
                           "PRelu",       "Swish",
                           "Mish",        "IsNaN",
                           "IsInf",       "BitwiseAnd",
                           "BitwiseOr",   "BitwiseXor",
                           "BitwiseNot",  "Mod",
                           "BitShift",    "ThresholdedRelu"})
    table[name] = Partition::Elements;
  for (const char *name : {"Transpose", "Expand", "Slice", "Concat"})
    table[name] = Partition::Moves;
  return table;
}

Partition NodeOp::getPartition() {
  static const llvm::StringMap<Partition> table = makeTable();
  if (!getDomain().empty() && getDomain() != "ai.onnx")
    return Partition::Whole;
  auto entry = table.find(getOpType());
  // Further outputs, masks and the like, are another matter.
  if (entry == table.end() || getOutputs().size() != 1)
    return Partition::Whole;
  return entry->second;
}
