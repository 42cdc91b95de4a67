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

/// Keys or values of new tokens [batch, kvHeads, seq, d] behind those of the
/// past [batch, kvHeads, capacity, d], which may be null: sequence b has
/// lengths[b] of them afterwards. The result holds `total` per sequence, zeros
/// where there is none, or what the past has there if `keepsRest`; what does
/// not fit is left out.
FailureOr<Tensor> appendTokens(const Call &call, const Tensor *past,
                               const Tensor &added, ArrayRef<int64_t> lengths,
                               int64_t total, bool keepsRest = false);

/// Rotates the first r elements of each head of x [batch, heads, seq, d] by
/// position. cos and sin are [batch or 1, seq, r], or r / 2 wide if
/// `halfTables`, in which case both elements of a pair share an entry. Pairs
/// are (i, i + r/2), or neighbours if `interleaved`.
FailureOr<Tensor> rotateHeads(const Call &call, const Tensor &x,
                              const Tensor &cos, const Tensor &sin,
                              bool interleaved, bool halfTables);

// What attention operators share.

/// [batch, seq, heads * d] to [batch, heads, seq, d], and back.
FailureOr<Tensor> splitHeads(const Call &call, const Tensor &x, int64_t heads);
FailureOr<Tensor> joinHeads(const Call &call, const Tensor &x);
/// past and x joined along dimension 2; past may be null.
FailureOr<Tensor> appendKeys(const Call &call, const Tensor *past,
                             const Tensor &x);
/// Mask as bias: false becomes `hidden`; the last dimension padded to `total`
/// as not to be seen.
FailureOr<Tensor> maskBias(const Call &call, const Tensor &mask, int64_t total,
                           double hidden);
/// Rows of cos or sin for each position, [batch or 1, seq, r / 2].
FailureOr<Tensor> tableRows(const Call &call, const Tensor &table,
                            const Tensor *positions, int64_t seq);
/// x of rank 3 or 4 rotated by tables of half the rotated width; positions may
/// be null.
FailureOr<Tensor> rotaryEmbedding(const NodeCall &call, const Tensor &x,
                                  const Tensor &cosTable,
                                  const Tensor &sinTable,
                                  const Tensor *positions);

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_ATTENTION_H
