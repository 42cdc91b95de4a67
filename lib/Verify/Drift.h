//===- Drift.h - How far tensors are from others ----------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   DriftSum sum;
//   sum.add(reference, now);   // one tensor per run of the model
//   Drift drift = sum.finish();
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_VERIFY_DRIFT_H
#define NIBBLE_LIB_VERIFY_DRIFT_H

#include "nibble/Base/Tensor.h"

#include <limits>

namespace nibble {

/// Distances over all elements of a value.
struct Drift {
  double cosine = 1;
  double relativeL2 = 0; ///< |now - reference| / |reference|
  /// -20 log10(relativeL2)
  double sqnrDb = std::numeric_limits<double>::infinity();
  double maxAbs = 0; ///< largest absolute difference
};

/// log(sum(exp(row))) of the `width` elements from `first` on, and the index of
/// the largest of them.
double logSumExp(const Tensor &tensor, uint64_t first, int64_t width,
                 int64_t &largest);

/// Distances of distributions over the last dimension, means over the rows.
struct LogitsDrift {
  double kl = 0;   ///< KL(softmax(reference) || softmax(now)), in nats
  double top1 = 1; ///< fraction of rows with the same largest element
};

/// Sums in float64. Tensors of unequal shapes cannot be compared.
class DriftSum {
public:
  void add(const Tensor &reference, const Tensor &now);
  Drift finish() const;

private:
  double dot = 0, reference2 = 0, now2 = 0, difference2 = 0, maxAbs = 0;
};

class LogitsSum {
public:
  void add(const Tensor &reference, const Tensor &now);
  LogitsDrift finish() const;

private:
  double kl = 0;
  int64_t rows = 0, agree = 0;
};

} // namespace nibble

#endif // NIBBLE_LIB_VERIFY_DRIFT_H
