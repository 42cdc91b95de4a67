//===- InputStatistics.h - What methods ask about a value -------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   InputRequest request;                  // the Hessian, in float32
//   InputGatherer gatherer(width, request);
//   for (const Tensor &x : batches)        // [..., width], in data order
//     if (Status status = gatherer.add(x, nullptr, pool); !status.isOk())
//       return status;
//   InputStatistics found = gatherer.finish(pool);
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_PASSES_CALIBRATE_INPUTSTATISTICS_H
#define NIBBLE_PASSES_CALIBRATE_INPUTSTATISTICS_H

#include "nibble/Numerics/Hessian.h"

namespace nibble {

/// What to find out about the input of a layer.
struct InputRequest {
  MomentOptions moments;
  /// Keep every n-th token; 0: none.
  int64_t rowStride = 0;
};

/// The number of tokens where an attribute does not say.
inline constexpr int64_t unknownTokens = -1;

/// What was found. Only what was asked for is there; statistics per channel
/// and the range always are.
struct InputStatistics {
  InputMoments moments;
  Tensor rows; ///< [kept tokens, width] float32
};

/// What the rows of a value add up to.
class InputGatherer {
public:
  InputGatherer(int64_t width, const InputRequest &request)
      : width(width), request(request), moments(width, request.moments) {}

  /// Adds the tokens of `x` [..., width] in floating point; `floatX`, of the
  /// same shape, are those of the unquantized model, and must be given for
  /// cross moments.
  Status add(const Tensor &x, const Tensor *floatX, ThreadPool *pool);
  /// Ends the gatherer.
  InputStatistics finish(ThreadPool *pool);

private:
  int64_t width;
  InputRequest request;
  MomentAccumulator moments;
  int64_t nextRow = 0; ///< the next token that is kept
  std::vector<float> rows;
};

} // namespace nibble

#endif // NIBBLE_PASSES_CALIBRATE_INPUTSTATISTICS_H
