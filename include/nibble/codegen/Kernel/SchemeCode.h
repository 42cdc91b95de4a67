//===- SchemeCode.h - The arithmetic of a scheme as code --------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The operations of Numerics/Activations.h, one by one: the codes are those of
// the interpreter to the bit.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_KERNEL_SCHEMECODE_H
#define NIBBLE_CODEGEN_KERNEL_SCHEMECODE_H

#include "nibble/codegen/Kernel/Code.h"

#include "nibble/Numerics/Grid.h"
#include "nibble/dialects/QModel/QModel.h"

#include <cmath>

namespace nibble::codegen {

/// The arithmetic of a scheme on scalars.
class SchemeCode {
public:
  SchemeCode(Code &code, qmodel::SchemeAttr attr)
      : code(code), attr(attr), scheme(qmodel::integerScheme(attr)),
        half(std::ldexp(1., static_cast<int>(scheme.bits) - 1)),
        steps(2 * half - 1) {}

  bool storesZero() const { return scheme.storesZero(); }

  /// Scale and zero point of a range; the zero point is null if none is stored.
  std::pair<Value, Value> parameters(Value lo, Value hi);
  /// clamp(round(x / scale) + zero, min, max) as an i8; `zero` may be null.
  Value quantized(Value x, Value scale, Value zero);

private:
  Value exactScale(Value lo, Value low, Value hi, Value high);
  Value storedScale(Value scale);
  Value round(Value x);
  Value real(double value) { return code.real(code.f32(), value); }
  /// Of two finite numbers.
  Value smaller(Value a, Value b) {
    return code.select(code.compare(Compare::lt, b, a), b, a);
  }
  Value larger(Value a, Value b) {
    return code.select(code.compare(Compare::gt, b, a), b, a);
  }

  Code &code;
  qmodel::SchemeAttr attr;
  IntegerScheme scheme;
  double half, steps; ///< 2^(b-1) and 2^b - 1
};

} // namespace nibble::codegen

#endif // NIBBLE_CODEGEN_KERNEL_SCHEMECODE_H
