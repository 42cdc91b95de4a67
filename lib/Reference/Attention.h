//===- Attention.h - Attention and rotary embedding -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Shared by ONNX's operators, those of ONNX Runtime, and qmodel.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_ATTENTION_H
#define NIBBLE_LIB_REFERENCE_ATTENTION_H

#include "Strided.h"

namespace nibble::reference {

/// What attention does besides the two products.
struct AttentionRule {
  double scale = 1;
  /// Scores become softcap * tanh(score / softcap); 0: they do not.
  double softcap = 0;
  /// Added to scores; broadcasts to [batch, heads, seq, total]. May be null.
  const Tensor *bias = nullptr;
  /// Whether query i of a batch may not see key j; may be empty.
  std::function<bool(int64_t batch, int64_t i, int64_t j)> hidden;
  /// Added to hidden scores. -inf hides exactly; a row without anything
  /// visible then gives zeros.
  double maskValue = 0;
  /// If set, filled with [batch, heads, seq, total] as it is after step
  /// 0: scaled products, 1: softcapped, 2: with bias and mask, 3: softmax.
  Tensor *scores = nullptr;
  int scoresStep = 0;
};

/// softmax(q k^T) v with grouped heads: q [batch, heads, seq, d], k [batch,
/// kvHeads, total, d], v [batch, kvHeads, total, dv], one float type.
FailureOr<Tensor> attend(const Call &call, const Tensor &q, const Tensor &k,
                         const Tensor &v, const AttentionRule &rule);

/// Rotates the first r elements of each head of x [batch, heads, seq, d] by
/// position. cos and sin are [batch or 1, seq, r], or r / 2 wide if
/// `halfTables`, in which case both elements of a pair share an entry. Pairs
/// are (i, i + r/2), or neighbours if `interleaved`.
FailureOr<Tensor> rotateHeads(const Call &call, const Tensor &x,
                              const Tensor &cos, const Tensor &sin,
                              bool interleaved, bool halfTables);

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_ATTENTION_H
