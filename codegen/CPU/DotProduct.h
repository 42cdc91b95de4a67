//===- DotProduct.h - Sums of products of small integers --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   DotProduct dot(code);
//   int64_t offset = dot.offset(255);          // of weights, and zero points
//   sum = dot.bytes(sum, weights, codes, 255); // if dot.takesBytes(255)
//
// Lane i of a sum (i32, modulo 2^32) grows by the products of the four bytes,
// or two 16-bit integers, that lie where it lies. All targets give the same
// integers. Vectors may have any number of lanes that is a multiple of four;
// those of 8 lanes are one register of x86, or two of NEON.
//
//   target              bytes by                     largest byte
//   x86-64-v3           vpmaddubsw, sums of 16 bits  127; 255 as words
//   x86-64-v3-avxvnni   vpdpbusd (ymm)               255
//   x86-64-v4-vnni      vpdpbusd (ymm, zmm)          255
//   aarch64-dotprod     sdot                         127; 255 less an offset
//   aarch64-i8mm        usdot                        255
//   portable            shifts and multiplications   255
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CPU_DOTPRODUCT_H
#define NIBBLE_CODEGEN_CPU_DOTPRODUCT_H

#include "Lowerings.h"

namespace nibble::cpu {

/// The dot products of `code.target`.
class DotProduct {
public:
  explicit DotProduct(Code &code) : code(code), kind(code.cpu->dot) {}

  /// Whether `bytes` multiplies codes of up to `largest`; `words` does it all.
  bool takesBytes(int64_t largest) const;

  /// What `bytes` wants subtracted from weights of up to `largest`: 0, or 128
  /// where bytes must be signed. A byte then is `code ^ 0x80`, and a caller
  /// that takes 128 off zero points too gets the same differences.
  int64_t offset(int64_t largest) const;

  /// For each pair of vectors, bytes of 0 to `largest` less `offset` times
  /// signed ones. `chains`: how many of these products may go on side by side,
  /// for callers that have nothing else to do meanwhile.
  Value bytes(Value sum, llvm::ArrayRef<Value> weights,
              llvm::ArrayRef<Value> codes, int64_t largest,
              int64_t chains = 1) const;

  /// For each pair of vectors, signed 16-bit integers.
  Value words(Value sum, llvm::ArrayRef<Value> a,
              llvm::ArrayRef<Value> b) const;

private:
  friend class DotSums;
  Value productsOfBytes(Value like, Value weights, Value codes) const;
  Value pairsOfBytes(Value sum, llvm::ArrayRef<Value> weights,
                     llvm::ArrayRef<Value> codes, int64_t largest) const;
  Value addBytes(Value sum, Value weights, Value codes) const;
  Value pairsOfWords(Value a, Value b) const;
  int64_t widestLanes() const;

  Code &code;
  DotProductKind kind;
};

/// Sums that grow side by side, a product at a time, so that factors need not
/// all be there at once: registers are few.
class DotSums {
public:
  /// `largest`: of the weights' bytes, or 0 for 16-bit integers. `chains`: as
  /// for `bytes`.
  DotSums(const DotProduct &dot, llvm::ArrayRef<Value> start, int64_t largest,
          int64_t chains = 1);

  void add(size_t sum, Value weights, Value codes);

  /// The sums, after the last product.
  Values finish();

private:
  struct Sum {
    Values chains;
    Value pairs; ///< products that still are in 16 bits, or null
    int64_t products = 0;
  };
  void widen(Sum &sum);

  DotProduct dot;
  int64_t largest;
  llvm::SmallVector<Sum> sums;
};

} // namespace nibble::cpu

#endif // NIBBLE_CODEGEN_CPU_DOTPRODUCT_H
