//===- DotProduct.cpp - Sums of products of small integers ----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The intrinsics are those of LLVM 22, whose vpdpbusd takes vectors of bytes.
//
//===----------------------------------------------------------------------===//

#include "DotProduct.h"

using namespace mlir;

namespace nibble::cpu {

/// Pairwise, which is a shorter chain than one after the other.
static Value sumOf(Code &code, Values terms) {
  while (terms.size() > 1) {
    Values next;
    for (size_t i = 0; i < terms.size(); i += 2)
      next.push_back(i + 1 < terms.size() ? code.add(terms[i], terms[i + 1])
                                          : terms[i]);
    terms = std::move(next);
  }
  return terms[0];
}

static int64_t lanesOf(Value vector) {
  return cast<VectorType>(vector.getType()).getDimSize(0);
}

/// Lanes of 32 bits that one instruction works on.
int64_t DotProduct::widestLanes() const { return code.cpu->vectorBytes / 4; }

/// `function` on parts of `operands` that are as long as registers, the first
/// of which has lanes of 32 bits.
static Value
inParts(Code &code, llvm::ArrayRef<Value> operands, int64_t widest,
        llvm::function_ref<Value(llvm::ArrayRef<Value>)> function) {
  int64_t lanes = lanesOf(operands.front());
  if (lanes <= widest)
    return function(operands);
  Value result;
  for (int64_t first = 0; first < lanes; first += widest) {
    int64_t count = std::min(widest, lanes - first);
    Values parts;
    for (Value operand : operands) {
      int64_t perLane = lanesOf(operand) / lanes;
      parts.push_back(code.slice(operand, first * perLane, count * perLane));
    }
    Value part = function(parts);
    result = result ? code.concatenate(result, part) : part;
  }
  return result;
}

bool DotProduct::takesBytes(int64_t largest) const {
  return kind != DotProductKind::Avx2 || largest <= 127;
}

int64_t DotProduct::offset(int64_t largest) const {
  return kind == DotProductKind::Sdot && largest > 127 ? 128 : 0;
}

//===----------------------------------------------------------------------===//
// Bytes
//===----------------------------------------------------------------------===//

/// `sum` plus products of bytes that are exact in 32 bits: one instruction, or
/// in lanes of 32 bits byte by byte.
Value DotProduct::addBytes(Value sum, Value weights, Value codes) const {
  Type type = sum.getType();
  if (kind == DotProductKind::Vnni) {
    std::string name =
        "llvm.x86.avx512.vpdpbusd." + std::to_string(32 * lanesOf(sum));
    return code.intrinsic(type, name, {sum, weights, codes});
  }
  if (kind == DotProductKind::Sdot)
    return code.intrinsic(type, "llvm.aarch64.neon.sdot.v4i32.v16i8",
                          {sum, weights, codes});
  if (kind == DotProductKind::Usdot)
    return code.intrinsic(type, "llvm.aarch64.neon.usdot.v4i32.v16i8",
                          {sum, weights, codes});
  auto number = [&](int64_t value) { return code.integer(type, value); };
  auto byteOf = [&](Value words, int64_t i) {
    if (i)
      words = code.shiftRight(words, number(8 * i));
    return code.bitAnd(words, number(0xff));
  };
  weights = code.reinterpret(weights, code.i32());
  codes = code.reinterpret(codes, code.i32());
  for (int64_t i = 0; i < 4; ++i) {
    Value signedCode =
        code.sub(code.bitXor(byteOf(codes, i), number(0x80)), number(0x80));
    sum = code.add(sum, code.mul(byteOf(weights, i), signedCode));
  }
  return sum;
}

/// A lane of vpmaddubsw is two products, at most 2 * 128 * largest in
/// magnitude. So many of them add up in 16 bits.
static int64_t productsIn16Bits(int64_t largest) {
  return std::max<int64_t>(1, 32767 / 256 / largest);
}

/// Sums of two products in 16 bits, as many of them as `like` has lanes.
Value DotProduct::productsOfBytes(Value like, Value weights,
                                  Value codes) const {
  return inParts(code, {like, weights, codes}, widestLanes(),
                 [&](llvm::ArrayRef<Value> parts) {
                   return code.intrinsic(
                       code.vector(code.i16(), 2 * lanesOf(parts[0])),
                       "llvm.x86.avx2.pmadd.ub.sw", parts.drop_front());
                 });
}

/// Pairs are added in 16 bits as long as they fit.
Value DotProduct::pairsOfBytes(Value sum, llvm::ArrayRef<Value> weights,
                               llvm::ArrayRef<Value> codes,
                               int64_t largest) const {
  auto run = static_cast<size_t>(productsIn16Bits(largest));
  Type shorts = code.vector(code.i16(), 16);
  Value ones = code.integer(shorts, 1);
  for (size_t first = 0; first < weights.size(); first += run) {
    Values terms;
    for (size_t i = first; i < std::min(first + run, weights.size()); ++i)
      terms.push_back(code.intrinsic(shorts, "llvm.x86.avx2.pmadd.ub.sw",
                                     {weights[i], codes[i]}));
    sum = code.add(sum, pairsOfWords(sumOf(code, terms), ones));
  }
  return sum;
}

Value DotProduct::bytes(Value sum, llvm::ArrayRef<Value> weights,
                        llvm::ArrayRef<Value> codes, int64_t largest,
                        int64_t chains) const {
  size_t count = weights.size();
  Values operands = {sum};
  operands.append(weights.begin(), weights.end());
  operands.append(codes.begin(), codes.end());
  return inParts(code, operands, widestLanes(),
                 [&](llvm::ArrayRef<Value> parts) {
                   llvm::ArrayRef<Value> left = parts.slice(1, count),
                                         right = parts.drop_front(1 + count);
                   if (kind == DotProductKind::Avx2)
                     return pairsOfBytes(parts[0], left, right, largest);
                   Values sums = {parts[0]};
                   while (sums.size() < std::min<size_t>(chains, count))
                     sums.push_back(code.zero(parts[0].getType()));
                   for (size_t i = 0; i < count; ++i) {
                     Value &chain = sums[i % sums.size()];
                     chain = addBytes(chain, left[i], right[i]);
                   }
                   return sumOf(code, sums);
                 });
}

//===----------------------------------------------------------------------===//
// 16-bit integers
//===----------------------------------------------------------------------===//

/// The sums of neighbours of `a` times `b`.
Value DotProduct::pairsOfWords(Value a, Value b) const {
  int64_t lanes = lanesOf(a) / 2;
  Type type = code.vector(code.i32(), lanes);
  if (code.cpu->isX86() && kind != DotProductKind::Portable &&
      (lanes == 8 || lanes == 16))
    return code.intrinsic(type,
                          lanes == 8 ? "llvm.x86.avx2.pmadd.wd"
                                     : "llvm.x86.avx512.pmaddw.d.512",
                          {a, b});
  auto number = [&](int64_t value) { return code.integer(type, value); };
  auto half = [&](Value pairs, int64_t i) {
    if (i)
      pairs = code.shiftRight(pairs, number(16));
    Value low = code.bitAnd(pairs, number(0xffff));
    return code.sub(code.bitXor(low, number(0x8000)), number(0x8000));
  };
  a = code.reinterpret(a, code.i32());
  b = code.reinterpret(b, code.i32());
  return code.add(code.mul(half(a, 0), half(b, 0)),
                  code.mul(half(a, 1), half(b, 1)));
}

Value DotProduct::words(Value sum, llvm::ArrayRef<Value> a,
                        llvm::ArrayRef<Value> b) const {
  size_t count = a.size();
  Values operands = {sum};
  operands.append(a.begin(), a.end());
  operands.append(b.begin(), b.end());
  return inParts(
      code, operands, widestLanes(), [&](llvm::ArrayRef<Value> parts) {
        Values terms;
        for (size_t i = 0; i < count; ++i)
          terms.push_back(pairsOfWords(parts[1 + i], parts[1 + count + i]));
        return code.add(parts[0], sumOf(code, terms));
      });
}

//===----------------------------------------------------------------------===//
// Sums side by side
//===----------------------------------------------------------------------===//

DotSums::DotSums(const DotProduct &dot, llvm::ArrayRef<Value> start,
                 int64_t largest, int64_t chains)
    : dot(dot), largest(largest) {
  for (Value value : start) {
    Sum &sum = sums.emplace_back();
    sum.chains = {value};
    if (dot.kind != DotProductKind::Avx2)
      sum.chains.append(chains - 1, dot.code.zero(value.getType()));
  }
}

void DotSums::add(size_t index, Value weights, Value codes) {
  Sum &sum = sums[index];
  Value &chain = sum.chains[sum.products++ % sum.chains.size()];
  if (largest == 0) {
    chain = dot.words(chain, {weights}, {codes});
    return;
  }
  if (dot.kind != DotProductKind::Avx2) {
    chain = dot.bytes(chain, {weights}, {codes}, largest);
    return;
  }
  Value pairs = dot.productsOfBytes(chain, weights, codes);
  sum.pairs = sum.pairs ? dot.code.add(sum.pairs, pairs) : pairs;
  if (sum.products % productsIn16Bits(largest) == 0)
    widen(sum);
}

void DotSums::widen(Sum &sum) {
  Value ones = dot.code.integer(sum.pairs.getType(), 1);
  sum.chains[0] = dot.words(sum.chains[0], {sum.pairs}, {ones});
  sum.pairs = Value();
}

Values DotSums::finish() {
  Values result;
  for (Sum &sum : sums) {
    if (sum.pairs)
      widen(sum);
    result.push_back(sumOf(dot.code, sum.chains));
  }
  return result;
}

} // namespace nibble::cpu
