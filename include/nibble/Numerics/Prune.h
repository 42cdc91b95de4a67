//===- Prune.h - Which weights to remove ------------------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Sparsity pattern{.remove = 2, .of = 4};
//   Expected<Tensor> mask = wandaMask(weight, moments.meanSquare, pattern);
//   Expected<Tensor> sparse = applyMask(weight, *mask);
//   Expected<Compressed24> kept = compress24(*sparse, *mask);
//
// Masks are `bool` tensors [out, in]; true is what is removed. These methods
// leave the weights that stay as they are; SparseGpt.h changes them.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_PRUNE_H
#define NIBBLE_NUMERICS_PRUNE_H

#include "nibble/Base/Tensor.h"
#include "nibble/Base/ThreadPool.h"

namespace nibble {

/// How many weights to remove: `remove` of every `of` consecutive inputs of
/// each output if `of` is not 0, else the given fraction.
struct Sparsity {
  double fraction = 0.5; ///< [0, 1)
  int64_t remove = 0, of = 0;

  bool isPattern() const { return of != 0; }
  /// For weights with `columns` inputs: a pattern's `of` must divide them.
  Status validate(int64_t columns) const;
};

/// Magnitude: the smallest |w|. A fraction is of the whole matrix: every weight
/// up to the one of rank int(size * fraction) goes, so that equals go together
/// and one more than the fraction at least. Of equals in a pattern the first
/// go. `weight` [out, in] f32, f16, bf16 or f64; finite.
Expected<Tensor> magnitudeMask(const Tensor &weight, const Sparsity &sparsity);

/// Wanda (Sun et al., 2306.11695): the smallest |w| sqrt(meanSquare), compared
/// within each output; int(in * fraction) of them, of equals the first.
/// `meanSquare` [in] is InputMoments::meanSquare; any positive factor of it is
/// all right.
Expected<Tensor> wandaMask(const Tensor &weight, const Tensor &meanSquare,
                           const Sparsity &sparsity,
                           ThreadPool *pool = nullptr);

/// A copy of `weight` with zeros where `mask` is true. Error: shapes, types.
Expected<Tensor> applyMask(const Tensor &weight, const Tensor &mask);

/// What `qmodel.decompress_24` takes.
struct Compressed24 {
  Tensor values;    ///< [out, in / 2], the type of the matrix
  Tensor positions; ///< [out, in / 2] ui2, within each four; ascending
};

/// The two elements that `mask` keeps of every four; of any type, codes too. If
/// it keeps fewer than two, the first removed ones are stored in their place,
/// so mask a float matrix first; codes that stand for zero are zero points, not
/// 0. Error: `in` not a multiple of four, three or four kept, shapes.
Expected<Compressed24> compress24(const Tensor &matrix, const Tensor &mask);
/// The inverse: [out, in] with zero bits elsewhere. Error: shapes, types, or
/// positions that do not ascend.
Expected<Tensor> decompress24(const Tensor &values, const Tensor &positions);

} // namespace nibble

#endif // NIBBLE_NUMERICS_PRUNE_H
