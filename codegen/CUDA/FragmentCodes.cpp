//===- FragmentCodes.cpp - Packed words to registers of products ----------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Instructions for 8 codes of 4 bits: of float16 four lop3, one shift, two
// additions and two fma (codes in bits 4 to 7 are 16 q, which the fma divides);
// of bfloat16, which has digits for one nibble only, three shifts. bfloat16 is
// added by fma: other instructions for it are younger.
//
//===----------------------------------------------------------------------===//

#include "FragmentCodes.h"

#include "nibble/dialects/Ptx/Ptx.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;

namespace nibble::cuda {

/// (a & b) | c
static constexpr uint32_t andOr = 0xEA;

Value FragmentCodes::word(Value chunk, int64_t i) {
  return vector::ExtractOp::create(code.builder, code.location, chunk, i);
}

/// 32 bits as two elements.
Value FragmentCodes::pair(Value word) {
  return LLVM::BitcastOp::create(code.builder, code.location,
                                 code.vector(type, 2), word);
}

Value FragmentCodes::constantWord(uint32_t bits) {
  return code.integer(code.i32(), static_cast<int32_t>(bits));
}

Value FragmentCodes::constantPair(double value) {
  return code.real(code.vector(type, 2), value);
}

//===----------------------------------------------------------------------===//
// Zero points
//===----------------------------------------------------------------------===//

Type FragmentCodes::storedZeros() {
  return layout.element.bits == 4 ? code.i8() : code.vector(code.i8(), 2);
}

void FragmentCodes::setZero(FragmentZeros &zeros, unsigned row, Value zero) {
  if (layout.element.bits == 8 && !isHalf()) {
    // 2^23 + z in float32.
    zeros.low[row] =
        code.bitcast(code.bitOr(zero, constantWord(0x4b000000)), code.f32());
    return;
  }
  Value both = code.mul(zero, constantWord(0x00010001));
  zeros.low[row] =
      pair(code.bitOr(both, constantWord(isHalf() ? 0xe400e400 : 0xc300c300)));
  if (isHalf() && layout.element.bits == 4)
    zeros.high[row] = pair(code.bitOr(code.shiftLeft(both, constantWord(4)),
                                      constantWord(0xd400d400)));
}

FragmentZeros FragmentCodes::impliedZeros() {
  FragmentZeros zeros;
  if (layout.element.isFloat())
    return zeros;
  double zero = layout.element.kind == ElementType::Kind::Signed
                    ? 1 << (layout.element.bits - 1)
                    : 0;
  for (unsigned row = 0; row < 2; ++row) {
    if (layout.element.bits == 8 && !isHalf())
      zeros.low[row] = code.real(code.f32(), 8388608 + zero);
    else
      zeros.low[row] = constantPair(-((isHalf() ? 1024 : 128) + zero));
    if (isHalf() && layout.element.bits == 4)
      zeros.high[row] = constantPair(-(64 + zero));
  }
  return zeros;
}

FragmentZeros FragmentCodes::zeros(Value stored) {
  FragmentZeros zeros;
  for (unsigned row = 0; row < 2; ++row) {
    Value zero;
    if (layout.element.bits == 4) {
      zero = code.resizeInteger(stored, code.i32(), /*isUnsigned=*/true);
      zero = row == 0 ? code.bitAnd(zero, constantWord(15))
                      : code.shiftRight(zero, constantWord(4));
    } else {
      zero = code.resizeInteger(
          vector::ExtractOp::create(code.builder, code.location, stored, row),
          code.i32(), /*isUnsigned=*/true);
    }
    setZero(zeros, row, zero);
  }
  return zeros;
}

//===----------------------------------------------------------------------===//
// Codes
//===----------------------------------------------------------------------===//

std::array<Value, 4> FragmentCodes::fourBits(Value word,
                                             const FragmentZeros &zeros) {
  Value magic = constantWord(isHalf() ? 0x64006400 : 0x43004300);
  auto masked = [&](Value word, uint32_t mask) {
    return pair(ptx::Lop3Op::create(code.builder, code.location, code.i32(),
                                    word, constantWord(mask), magic, andOr));
  };
  auto shifted = [&](int32_t bits) {
    return bits ? code.shiftRight(word, constantWord(bits)) : word;
  };
  std::array<Value, 4> result;
  // Nibbles 0 and 4 are row g, inputs 2 t and 2 t + 1; 1 and 5 the same eight
  // inputs further on; the others are row g + 8.
  for (unsigned row = 0; row < 2; ++row) {
    auto shift = static_cast<int32_t>(8 * row);
    Value first = masked(shifted(shift), 0x000f000f);
    if (isHalf()) {
      Value second = masked(shifted(shift), 0x00f000f0);
      result[row] = code.add(first, zeros.low[row]);
      result[row + 2] =
          code.fma(second, constantPair(1.0 / 16), zeros.high[row]);
    } else {
      Value second = masked(shifted(shift + 4), 0x000f000f);
      result[row] = code.fma(first, constantPair(1), zeros.low[row]);
      result[row + 2] = code.fma(second, constantPair(1), zeros.low[row]);
    }
  }
  return result;
}

std::array<Value, 2> FragmentCodes::eightBits(Value word, Value zero) {
  auto bytes = [&](Value low, Value high, uint32_t selectors) -> Value {
    return NVVM::PermuteOp::create(code.builder, code.location, code.i32(), low,
                                   high, constantWord(selectors),
                                   NVVM::PermuteMode::DEFAULT);
  };
  if (isHalf()) {
    Value magic = constantWord(0x64646464);
    return {code.add(pair(bytes(word, magic, 0x4140)), zero),
            code.add(pair(bytes(word, magic, 0x4342)), zero)};
  }
  // 2^23 + q and 2^23 + z in float32; the difference has eight digits, which
  // are all in its upper half.
  std::array<Value, 4> differences;
  Value magic = constantWord(0x4b000000);
  for (uint32_t i = 0; i < 4; ++i)
    differences[i] = code.bitcast(
        code.sub(code.bitcast(bytes(word, magic, 0x7440 | i), code.f32()),
                 zero),
        code.i32());
  return {pair(bytes(differences[0], differences[1], 0x7632)),
          pair(bytes(differences[2], differences[3], 0x7632))};
}

std::array<Value, 4> FragmentCodes::registers(llvm::ArrayRef<Value> chunks,
                                              int64_t step,
                                              const FragmentZeros &zeros) {
  if (layout.element.bits == 4)
    return fourBits(word(chunks[0], step), zeros);
  std::array<Value, 4> result;
  if (layout.element.bits == 8) {
    for (unsigned row = 0; row < 2; ++row) {
      Value own = word(chunks[step / 2], 2 * (step % 2) + row);
      std::array<Value, 2> both = eightBits(own, zeros.low[row]);
      result[row] = both[0];
      result[row + 2] = both[1];
    }
    return result;
  }
  for (unsigned i = 0; i < 4; ++i)
    result[i] = pair(word(chunks[step], i));
  return result;
}

} // namespace nibble::cuda
