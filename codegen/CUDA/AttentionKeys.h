//===- AttentionKeys.h - Which keys a query sees ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What qmodel.attention says about a single score, and about which keys need
// not be read at all; kernels differ in how they divide the work.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_CODEGEN_CUDA_ATTENTIONKEYS_H
#define NIBBLE_CODEGEN_CUDA_ATTENTIONKEYS_H

#include "GpuKernel.h"

#include "nibble/dialects/QModel/QModel.h"

namespace nibble::cuda {

inline Type elementType(Value tensor) {
  return mlir::cast<mlir::ShapedType>(tensor.getType()).getElementType();
}
/// Of a dimension that the op wants to be static.
inline int64_t dimension(Value tensor, int64_t i) {
  return mlir::cast<mlir::ShapedType>(tensor.getType()).getDimSize(i);
}

class AttentionKeys {
public:
  /// Of the sequence `batch`.
  AttentionKeys(Kernel &kernel, qmodel::AttentionOp op, Value batch);

  /// The first key that one of the queries [first, end) sees, and the one
  /// behind the last. A smaller range than all keys only where that changes
  /// nothing.
  std::pair<Value, Value> range(Value firstQuery, Value endQuery);

  /// The score of a key, from dot(query, key): scaled, capped, with bias,
  /// hidden.
  Value score(Value product, Value head, Value query, Value key);

  /// e^x for x <= 0, by the instruction for 2^x.
  Value weight(Value x);

  /// result / sum, or 0 if no key was seen.
  Value quotient(Value result, Value sum);

private:
  Value hidden(Value query, Value key);

  Kernel &kernel;
  Code &code;
  qmodel::AttentionOp op;
  double maskValue;
  Value batch;
  Value total;  ///< keys that there is room for
  Value offset; ///< position of query 0 among the keys
  Value length; ///< keys of this sequence
};

} // namespace nibble::cuda

#endif // NIBBLE_CODEGEN_CUDA_ATTENTIONKEYS_H
