//===- Threads.cpp - The threads of a block -------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Threads.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;

namespace nibble::cuda {

//===----------------------------------------------------------------------===//
// Shared memory
//===----------------------------------------------------------------------===//

static Value asIndex(Code &code, Value number) {
  return arith::IndexCastOp::create(code.builder, code.location,
                                    code.builder.getIndexType(), number);
}

Value Shared::load(Value at) const {
  return memref::LoadOp::create(code->builder, code->location, memref,
                                ValueRange(asIndex(*code, at)));
}

void Shared::store(Value value, Value at) const {
  memref::StoreOp::create(code->builder, code->location, value, memref,
                          ValueRange(asIndex(*code, at)));
}

Shared Threads::share(Type element, int64_t elements) {
  return {code, function.shared(element, elements)};
}

//===----------------------------------------------------------------------===//
// Threads
//===----------------------------------------------------------------------===//

Threads::Threads(GpuFunction &function, int64_t count)
    : count(count), warps(count / warpSize), thread(function.thread()),
      function(function), code(function.kernel.code) {
  lane = code.bitAnd(thread, code.index(warpSize - 1));
  warp = code.divide(thread, code.index(warpSize), /*isUnsigned=*/true);
}

void Threads::barrierOfWarp() {
  NVVM::SyncWarpOp::create(code.builder, code.location,
                           code.integer(code.i32(), -1));
}

Value Threads::reduceLanes(Value value, Combine combine, int64_t lanes) {
  for (int64_t distance = lanes / 2; distance > 0; distance /= 2)
    value = combine(value, function.shuffleXor(value, distance));
  return value;
}

Value Threads::reduceBlock(Value value, Combine combine) {
  value = reduceLanes(value, combine);
  if (warps == 1)
    return value;
  Shared all = share(value.getType(), warps);
  code.branch(code.compare(Compare::eq, lane, code.index(0)),
              [&] { all.store(value, warp); });
  barrier();
  Value result = all.load(code.index(0));
  for (int64_t i = 1; i < warps; ++i)
    result = combine(result, all.load(code.index(i)));
  return result;
}

Value Threads::loadAligned(Type type, Value base, Value offset) {
  Type element = getElementTypeOrSelf(type);
  auto vector = dyn_cast<VectorType>(type);
  unsigned bytes = element.getIntOrFloatBitWidth() / 8 *
                   (vector ? vector.getNumElements() : 1);
  return LLVM::LoadOp::create(code.builder, code.location, type,
                              code.address(element, base, offset), bytes);
}

Value Threads::widen(Value stored) {
  Type type = stored.getType();
  if (isa<FloatType>(getElementTypeOrSelf(type)))
    return code.resizeFloat(stored, code.f32());
  Value upper = code.resizeInteger(stored, code.i32(), /*isUnsigned=*/true);
  return code.bitcast(code.shiftLeft(upper, code.integer(upper.getType(), 16)),
                      code.f32());
}

void Threads::stride(Value size, llvm::function_ref<void(Value)> body) {
  code.loop(thread, size, count, body);
}

Values
Threads::stride(Value size, llvm::ArrayRef<Value> init,
                llvm::function_ref<Values(Value, llvm::ArrayRef<Value>)> body) {
  return code.loop(thread, size, count, init, body);
}

} // namespace nibble::cuda
