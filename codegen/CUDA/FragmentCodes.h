//===- FragmentCodes.h - Packed words to registers of products --*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A code q becomes the float 1024 + q when it is or-ed into the digits of
// float16's 1024 (128 of bfloat16), and q - z when 1024 + z is subtracted: both
// are exact. Zero points cost nothing, because they are in that constant.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_FRAGMENTCODES_H
#define NIBBLE_CODEGEN_CUDA_FRAGMENTCODES_H

#include "nibble/codegen/Kernel/Code.h"

#include "nibble/Target/FragmentLayout.h"

#include <array>

namespace nibble::cuda {

using namespace codegen;

/// What is subtracted in rows g and g + 8 of a fragment.
struct FragmentZeros {
  std::array<Value, 2> low;  ///< for codes in the lowest bits of a half
  std::array<Value, 2> high; ///< for codes four bits above (float16 of 4 bits)
};

class FragmentCodes {
public:
  /// `type`: f16 or bf16, what is multiplied.
  FragmentCodes(Code &code, const FragmentLayout &layout, Type type)
      : code(code), layout(layout), type(type) {}

  /// The type of what is loaded of the zero points of two rows.
  Type storedZeros();
  /// Of layouts without zero points: what the code 0 is stored as.
  FragmentZeros impliedZeros();
  FragmentZeros zeros(Value stored);

  /// The four registers (two elements each) of step `step` (0..3) of a tile,
  /// from its chunks (vector<4xi32>).
  std::array<Value, 4> registers(llvm::ArrayRef<Value> chunks, int64_t step,
                                 const FragmentZeros &zeros);

private:
  Value word(Value chunk, int64_t i);
  Value pair(Value word);
  Value constantWord(uint32_t bits);
  Value constantPair(double value);
  /// `zero`: i32, the zero point of a row.
  void setZero(FragmentZeros &zeros, unsigned row, Value zero);
  std::array<Value, 4> fourBits(Value word, const FragmentZeros &zeros);
  std::array<Value, 2> eightBits(Value word, Value zero);

  bool isHalf() const { return type.isF16(); }

  Code &code;
  const FragmentLayout &layout;
  Type type;
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_FRAGMENTCODES_H
