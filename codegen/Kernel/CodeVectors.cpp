//===- CodeVectors.cpp - Lanes of vectors ---------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/codegen/Kernel/Code.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include <numeric>

using namespace mlir;

namespace nibble::codegen {

Value Code::broadcast(Value scalar, int64_t count) {
  if (count == 1)
    return scalar;
  Type type = vector(scalar.getType(), count);
  Value poison = LLVM::PoisonOp::create(builder, location, type);
  Value first = insert(poison, scalar, 0);
  llvm::SmallVector<int32_t> lanes(count, 0);
  return LLVM::ShuffleVectorOp::create(builder, location, first, poison, lanes);
}

Value Code::spread(Value scalar, Type type) {
  auto vectorType = dyn_cast<VectorType>(type);
  return vectorType ? broadcast(scalar, vectorType.getDimSize(0)) : scalar;
}

Value Code::extract(Value vector, int64_t lane) {
  if (!isa<VectorType>(vector.getType()))
    return vector;
  return LLVM::ExtractElementOp::create(builder, location, vector,
                                        integer(i32(), lane));
}

Value Code::insert(Value vector, Value scalar, int64_t lane) {
  return LLVM::InsertElementOp::create(builder, location, vector, scalar,
                                       integer(i32(), lane));
}

Value Code::slice(Value vector, int64_t first, int64_t count) {
  if (count == 1)
    return extract(vector, first);
  if (cast<VectorType>(vector.getType()).getDimSize(0) == count)
    return vector;
  llvm::SmallVector<int32_t> lanes;
  for (int64_t lane = 0; lane < count; ++lane)
    lanes.push_back(static_cast<int32_t>(first + lane));
  return LLVM::ShuffleVectorOp::create(builder, location, vector, vector,
                                       lanes);
}

Value Code::horizontalSum(Value vector) {
  auto type = dyn_cast<VectorType>(vector.getType());
  if (!type)
    return vector;
  int64_t count = type.getDimSize(0);
  if (count % 2)
    return add(horizontalSum(slice(vector, 0, count - 1)),
               extract(vector, count - 1));
  return horizontalSum(
      add(slice(vector, 0, count / 2), slice(vector, count / 2, count / 2)));
}

Value Code::horizontalSums(llvm::ArrayRef<Value> vectors) {
  // `a` has the lanes of both that are to be added to those of `b`.
  auto addLanes = [&](Value left, Value right, llvm::ArrayRef<int32_t> a,
                      llvm::ArrayRef<int32_t> b) {
    return add(
        LLVM::ShuffleVectorOp::create(builder, location, left, right, a),
        LLVM::ShuffleVectorOp::create(builder, location, left, right, b));
  };
  // Neighbours within each half, twice; then the halves.
  Values sums(vectors);
  for (int64_t step = 0; step < 2; ++step)
    for (size_t i = 0; i < sums.size(); ++i) {
      sums[i] = addLanes(sums[i], sums[i + 1], {0, 2, 8, 10, 4, 6, 12, 14},
                         {1, 3, 9, 11, 5, 7, 13, 15});
      sums.erase(sums.begin() + i + 1);
    }
  return addLanes(sums[0], sums[1], {0, 1, 2, 3, 8, 9, 10, 11},
                  {4, 5, 6, 7, 12, 13, 14, 15});
}

Value Code::horizontalMaximum(Value vector) {
  auto type = dyn_cast<VectorType>(vector.getType());
  if (!type)
    return vector;
  int64_t half = type.getDimSize(0) / 2;
  return horizontalMaximum(
      maximum(slice(vector, 0, half), slice(vector, half, half)));
}

Value Code::reinterpret(Value vector, Type element) {
  auto type = cast<VectorType>(vector.getType());
  int64_t bits = type.getDimSize(0) * type.getElementTypeBitWidth();
  auto result =
      VectorType::get({bits / element.getIntOrFloatBitWidth()}, element);
  return LLVM::BitcastOp::create(builder, location, result, vector);
}

Value Code::extend(Value vector, Value fill) {
  auto type = cast<VectorType>(fill.getType());
  auto own = dyn_cast<VectorType>(vector.getType());
  if (!own)
    return insert(fill, vector, 0);
  if (own == type)
    return vector;
  // Both operands of a shuffle have one type: first the length, then the fill.
  llvm::SmallVector<int32_t> widened(type.getDimSize(0), -1), filled;
  std::iota(widened.begin(), widened.begin() + own.getDimSize(0), 0);
  Value poison = LLVM::PoisonOp::create(builder, location, own);
  Value wide =
      LLVM::ShuffleVectorOp::create(builder, location, vector, poison, widened);
  for (int64_t lane = 0; lane < type.getDimSize(0); ++lane)
    filled.push_back(static_cast<int32_t>(
        lane < own.getDimSize(0) ? lane : lane + type.getDimSize(0)));
  return LLVM::ShuffleVectorOp::create(builder, location, wide, fill, filled);
}

Value Code::concatenate(Value a, Value b) {
  auto first = cast<VectorType>(a.getType()),
       second = cast<VectorType>(b.getType());
  int64_t count = first.getDimSize(0), more = second.getDimSize(0);
  llvm::SmallVector<int32_t> widened(count, -1), lanes(count + more);
  std::iota(widened.begin(), widened.begin() + more, 0);
  std::iota(lanes.begin(), lanes.end(), 0);
  if (more < count)
    b = LLVM::ShuffleVectorOp::create(
        builder, location, b, LLVM::PoisonOp::create(builder, location, second),
        widened);
  return LLVM::ShuffleVectorOp::create(builder, location, a, b, lanes);
}

Value Code::permute(Value vector, llvm::ArrayRef<int32_t> lanes) {
  return LLVM::ShuffleVectorOp::create(builder, location, vector, vector,
                                       lanes);
}

Value Code::intrinsic(Type result, llvm::StringRef name, ValueRange operands) {
  return LLVM::CallIntrinsicOp::create(builder, location, result,
                                       builder.getStringAttr(name), operands)
      .getResult(0);
}

} // namespace nibble::codegen
