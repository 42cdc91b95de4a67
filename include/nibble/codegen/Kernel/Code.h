//===- Code.h - Writing kernels as if they were C++ -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Value sum = code.fma(x, y, code.load(f32, pointer, index));
//   code.loop(code.index(0), n, 1, [&](Value i) { ... });
//
// An OpBuilder with short names for what kernels are made of: arith and scf ops
// on scalars and one-dimensional vectors, LLVM loads and stores. Indices are
// i64. Float ops carry no fast-math flags and only `fma` contracts, so that the
// same kernel gives the same bits whatever the optimizer does.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_CODE_H
#define NIBBLE_CODEGEN_KERNEL_CODE_H

#include "nibble/Base/DimExpr.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringMap.h"

namespace nibble {
struct CpuTarget;
}

namespace nibble::codegen {

using mlir::Type;
using mlir::Value;
using Values = llvm::SmallVector<Value>;

/// Comparisons; the float forms are false on NaN, save `ne`.
enum class Compare { eq, ne, lt, le, gt, ge };

class Code {
public:
  /// `builder` stands in the entry block of the function.
  Code(mlir::OpBuilder &builder, mlir::Location location,
       const CpuTarget *cpu = nullptr)
      : builder(builder), location(location), cpu(cpu),
        entry(builder.getInsertionBlock()) {}

  mlir::OpBuilder &builder;
  mlir::Location location;
  /// The processor that the code is for, for the lowerings of codegen/CPU; null
  /// elsewhere. Results may not depend on it, and neither may the number of
  /// tasks.
  const CpuTarget *cpu;

  // Types.
  Type f32() { return builder.getF32Type(); }
  Type f64() { return builder.getF64Type(); }
  Type i1() { return builder.getI1Type(); }
  Type i8() { return builder.getI8Type(); }
  Type i16() { return builder.getIntegerType(16); }
  Type i32() { return builder.getI32Type(); }
  Type i64() { return builder.getI64Type(); }
  Type pointer();
  /// `count` elements of `element`; the element itself for a count of 1.
  Type vector(Type element, int64_t count);
  /// `type` with another element: vectors stay vectors of the same length.
  Type sameShape(Type type, Type element);

  // Constants; a vector type gives a splat.
  Value index(int64_t value) { return integer(i64(), value); }
  Value integer(Type type, int64_t value);
  Value real(Type type, double value);
  Value zero(Type type);
  /// The value of an index that is a constant.
  static std::optional<int64_t> constantIndex(Value value);

  // Arithmetic on integers or floats, by type. Index arithmetic folds 0 and 1.
  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value fma(Value a, Value b, Value c); ///< a * b + c, rounded once
  Value negate(Value a);
  Value divide(Value a, Value b, bool isUnsigned = false);    ///< C's division
  Value remainder(Value a, Value b, bool isUnsigned = false); ///< C's
  Value floorDivide(Value a, Value b); ///< signed integers
  Value floorModulo(Value a, Value b); ///< signed integers
  /// NaN in either operand: the result is NaN.
  Value minimum(Value a, Value b, bool isUnsigned = false);
  Value maximum(Value a, Value b, bool isUnsigned = false);
  Value bitAnd(Value a, Value b);
  Value bitOr(Value a, Value b);
  Value bitXor(Value a, Value b);
  Value shiftLeft(Value a, Value b);
  Value shiftRight(Value a, Value b); ///< logical
  Value compare(Compare kind, Value a, Value b, bool isUnsigned = false);
  Value select(Value condition, Value a, Value b);
  Value sqrt(Value a);
  Value floor(Value a);
  Value ceil(Value a);
  Value roundEven(Value a);
  Value absolute(Value a);
  Value copySign(Value magnitude, Value sign);

  // Conversions (element types; shapes must agree).
  Value bitcast(Value value, Type type);
  Value toFloat(Value value, Type type, bool isUnsigned = false);
  Value toInteger(Value value, Type type, bool isUnsigned = false);
  Value resizeFloat(Value value, Type type);
  Value resizeInteger(Value value, Type type, bool isUnsigned = false);

  // Vectors.
  Value broadcast(Value scalar, int64_t count);
  /// `scalar` in every lane of `type`.
  Value spread(Value scalar, Type type);
  Value extract(Value vector, int64_t lane);
  Value insert(Value vector, Value scalar, int64_t lane);
  Value slice(Value vector, int64_t first, int64_t count);
  /// The lanes of `a` and, behind them, those of `b`, which are no more.
  Value concatenate(Value a, Value b);
  /// The lanes added pairwise in a fixed order.
  Value horizontalSum(Value vector);
  /// Of eight vectors of eight lanes: lane i of the result is the sum of the
  /// lanes of vector i. For integers, because the order is another one.
  Value horizontalSums(llvm::ArrayRef<Value> vectors);
  Value horizontalMaximum(Value vector);
  /// The same bits as lanes of `element`.
  Value reinterpret(Value vector, Type element);
  /// The lanes of `vector` and those of `fill` behind them, in its type.
  Value extend(Value vector, Value fill);
  /// Lane i of the result is lane `lanes[i]` of `vector`.
  Value permute(Value vector, llvm::ArrayRef<int32_t> lanes);

  /// An intrinsic of LLVM, for targets that have it.
  Value intrinsic(Type result, llvm::StringRef name, mlir::ValueRange operands);

  // Memory. Offsets count elements of `element`; accesses are aligned to it.
  Value address(Type element, Value base, Value offset);
  Value load(Type type, Value base, Value offset);
  /// `count` floats that are stored as f32, f16 or bf16, as f32.
  Value loadFloats(Type stored, int64_t count, Value base, Value offset);
  void store(Value value, Value base, Value offset);
  /// Asks for the cache line `bytes` behind `base`, which may be anywhere.
  void prefetch(Value base, int64_t bytes);
  /// Stack memory of `count` elements, allocated at the function's entry.
  Value scratch(Type element, int64_t count);

  // Control flow.
  void loop(Value from, Value to, int64_t step,
            llvm::function_ref<void(Value)> body);
  Values loop(Value from, Value to, int64_t step, llvm::ArrayRef<Value> init,
              llvm::function_ref<Values(Value, llvm::ArrayRef<Value>)> body);
  void branch(Value condition, llvm::function_ref<void()> then,
              llvm::function_ref<void()> otherwise = nullptr);

  /// The value of the branch that is taken; only that one is evaluated.
  Value choose(Value condition, llvm::function_ref<Value()> then,
               llvm::function_ref<Value()> otherwise);

  /// `expression` over symbols whose values are given.
  Value dimension(const DimExpr &expression,
                  const llvm::StringMap<Value> &symbols);

private:
  mlir::Block *entry;

  bool isFloat(Value value);
};

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_CODE_H
