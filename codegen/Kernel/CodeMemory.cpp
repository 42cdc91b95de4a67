//===- CodeMemory.cpp - Loads, stores, stack memory -----------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Code.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;

namespace nibble::codegen {

Value Code::address(Type element, Value base, Value offset) {
  if (constantIndex(offset) == 0)
    return base;
  // Not inbounds: a window of a result begins in front of the memory that it
  // lies in.
  return LLVM::GEPOp::create(builder, location, pointer(), element, base,
                             ValueRange(offset), LLVM::GEPNoWrapFlags::none);
}

static unsigned alignmentOf(Type element) {
  return isa<LLVM::LLVMPointerType>(element)
             ? 8
             : element.getIntOrFloatBitWidth() / 8;
}

Value Code::load(Type type, Value base, Value offset) {
  Type element = getElementTypeOrSelf(type);
  return LLVM::LoadOp::create(builder, location, type,
                              address(element, base, offset),
                              alignmentOf(element));
}

Value Code::loadFloats(Type stored, int64_t count, Value base, Value offset) {
  if (!stored.isBF16())
    return resizeFloat(load(vector(stored, count), base, offset), f32());
  Value upper = resizeInteger(load(vector(i16(), count), base, offset), i32(),
                              /*isUnsigned=*/true);
  return bitcast(shiftLeft(upper, integer(upper.getType(), 16)), f32());
}

void Code::store(Value value, Value base, Value offset) {
  Type element = getElementTypeOrSelf(value.getType());
  LLVM::StoreOp::create(builder, location, value,
                        address(element, base, offset), alignmentOf(element));
}

void Code::prefetch(Value base, int64_t bytes) {
  // Not `address`: the place need not be inside of anything.
  Value place = LLVM::GEPOp::create(builder, location, pointer(), i8(), base,
                                    ValueRange(index(bytes)));
  LLVM::Prefetch::create(builder, location, place, /*rw=*/0, /*hint=*/3,
                         /*cache=*/1);
}

Value Code::scratch(Type element, int64_t count) {
  // In the entry block: an alloca in a loop would grow the stack. What is being
  // built is not attached to the function yet, so the block is remembered.
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(entry);
  return LLVM::AllocaOp::create(builder, location, pointer(), element,
                                index(count), 64);
}

} // namespace nibble::codegen
