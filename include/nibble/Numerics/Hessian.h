//===- Hessian.h - Statistics of calibration inputs -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   MomentAccumulator moments(width, {});
//   for (const Tensor &rows : batches)         // [..., width], in data order
//     if (Status status = moments.add(rows, pool); !status.isOk())
//       return status;
//   InputMoments found = moments.finish(pool);
//
// What the methods want to know about the inputs of a layer, gathered in one
// sweep over the calibration data. A row of inputs is one token.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_HESSIAN_H
#define NIBBLE_NUMERICS_HESSIAN_H

#include "nibble/Base/Tensor.h"
#include "nibble/Numerics/LinearAlgebra.h"

#include <limits>

namespace nibble {

/// What to gather besides the statistics per channel, which are always there.
struct MomentOptions {
  bool hessian = true;
  /// Also the cross moment with a second stream of inputs (GPTAQ).
  bool cross = false;
  /// Type in which second moments are summed and returned. Inputs are float32;
  /// in Float64 their products are exact.
  Precision precision = Precision::Float32;
};

/// Statistics of n tokens x of `width` channels.
struct InputMoments {
  int64_t tokens = 0; ///< n
  Tensor hessian;     ///< [width, width] (2/n) sum x x^T; f32 or f64
  Tensor cross;       ///< [width, width] (2/n) sum (x_float - x) x^T; same type
  Tensor meanAbsolute; ///< [width] f64, mean of |x|
  Tensor meanSquare;   ///< [width] f64, mean of x^2
  Tensor absoluteMax;  ///< [width] f32
  /// The range of all elements; minimum > maximum without any.
  float minimum = std::numeric_limits<float>::max();
  float maximum = std::numeric_limits<float>::lowest();
};

/// Sums the statistics of a sequence of tokens. The result depends on the
/// tokens and their order; neither on how they were cut into calls of `add` nor
/// on the number of threads.
class MomentAccumulator {
public:
  MomentAccumulator(int64_t width, const MomentOptions &options);

  /// Adds the tokens of `inputs` [..., width] (f32, f16, bf16, f64; read as
  /// float32). Error if the shape or the type is another, if a number is not
  /// finite, or if a cross moment was asked for; after an error the
  /// accumulator must not be used.
  Status add(const Tensor &inputs, ThreadPool *pool = nullptr);
  /// The same with the inputs of the unquantized model, for the cross moment:
  /// both of one shape, token by token. `inputs` is the quantized stream.
  Status add(const Tensor &inputs, const Tensor &floatInputs,
             ThreadPool *pool = nullptr);

  /// Adds the sums of `other`, which has seen other tokens. Merging a then b is
  /// not byte for byte b then a, nor one accumulator that saw all: merge in an
  /// order that the data fixes. Error if width or options differ.
  Status merge(MomentAccumulator &other, ThreadPool *pool = nullptr);

  int64_t tokens() const { return count; }
  /// The statistics; all zero without tokens, but the range, which is empty.
  /// Ends the accumulator, whose memory goes to the result.
  InputMoments finish(ThreadPool *pool = nullptr);

private:
  Status append(const Tensor &inputs, const Tensor *floatInputs,
                ThreadPool *pool);
  void addChannels(ThreadPool *pool);
  template <typename T> void addProducts(ThreadPool *pool);
  void flush(ThreadPool *pool);

  int64_t width;
  MomentOptions options;
  int64_t count = 0;
  int64_t pending = 0;     // rows in the buffers
  Matrix<float> rows;      // quantized stream, waiting for a full tile
  Matrix<float> floatRows; // the other stream
  Tensor hessian, cross;   // sums; the upper tiles of the first only
  std::vector<double> absoluteSum, squareSum;
  std::vector<float> minimum, maximum; // by channel
};

/// How much is added to the diagonal of a Hessian so that it can be factored,
/// as a fraction of the mean of the diagonal.
struct Damping {
  double initial = 0.01;
  /// If the factorization fails, the fraction is doubled (at least 0.01) and
  /// tried again up to this one; beyond, the method fails with an error.
  double limit = 1;
};

/// What a method with a Hessian had to do to it.
struct HessianReport {
  double dampingUsed = 0;   ///< the fraction; above Damping::initial if raised
  int attempts = 1;         ///< factorizations
  int64_t deadChannels = 0; ///< inputs that were always 0; their weights become
                            ///< 0 before quantization
};

} // namespace nibble

#endif // NIBBLE_NUMERICS_HESSIAN_H
