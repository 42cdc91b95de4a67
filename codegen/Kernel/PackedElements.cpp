//===- PackedElements.cpp - Elements that share bytes ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/PackedElements.h"

#include "mlir/IR/TypeUtilities.h"

using namespace mlir;

namespace nibble::codegen {

/// Bytes that one task writes.
static constexpr int64_t taskBytes = 64;

static int64_t elementsPerByte(Value tensor) {
  return 8 / getElementTypeOrSelf(tensor.getType()).getIntOrFloatBitWidth();
}

DimExpr packedTasks(const Shape &shape, Value result) {
  int64_t elements = taskBytes * elementsPerByte(result);
  return (Kernel::product(shape, 0, shape.size()) + DimExpr(elements - 1))
      .floorDiv(elements);
}

void emitPackedTask(Kernel &kernel, Value result, Value task) {
  Code &code = kernel.code;
  const Shape &shape = kernel.shape(result);
  int64_t perByte = elementsPerByte(result);
  Value count = kernel.evaluate(Kernel::product(shape, 0, shape.size()));
  Value bytes = code.divide(code.add(count, code.index(perByte - 1)),
                            code.index(perByte), /*isUnsigned=*/true);
  Value first = code.mul(task, code.index(taskBytes));
  Value last = code.minimum(code.add(first, code.index(taskBytes)), bytes);
  code.loop(first, last, 1, [&](Value byte) {
    Value packed = code.zero(code.i8());
    for (int64_t lane = 0; lane < perByte; ++lane) {
      Value position =
          code.add(code.mul(byte, code.index(perByte)), code.index(lane));
      Value isInside = code.compare(Compare::lt, position, count);
      // Bits behind the last element are zero.
      position = code.select(isInside, position, code.index(0));
      Value bits = kernel.packedBits(
          result, kernel.element(result, kernel.indexOf(position, shape)));
      bits = code.shiftLeft(bits, code.integer(code.i8(), lane * 8 / perByte));
      packed =
          code.bitOr(packed, code.select(isInside, bits, code.zero(code.i8())));
    }
    code.store(packed, kernel.output(result), byte);
  });
}

} // namespace nibble::codegen
