//===- InputStatistics.cpp - What methods ask about a value ---------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/passes/Calibrate/InputStatistics.h"

#include <algorithm>

using namespace nibble;

Status InputGatherer::add(const Tensor &x, const Tensor *floatX,
                          ThreadPool *pool) {
  int64_t before = moments.tokens();
  if (Status status =
          floatX ? moments.add(x, *floatX, pool) : moments.add(x, pool);
      !status.isOk() || request.rowStride == 0)
    return status;
  for (; nextRow < moments.tokens(); nextRow += request.rowStride) {
    auto first = static_cast<uint64_t>((nextRow - before) * width);
    for (int64_t i = 0; i < width; ++i)
      rows.push_back(static_cast<float>(x.numberAt(first + i)));
  }
  return Status::success();
}

InputStatistics InputGatherer::finish(ThreadPool *pool) {
  InputStatistics result;
  result.moments = moments.finish(pool);
  if (request.rowStride != 0) {
    auto kept = static_cast<int64_t>(rows.size()) / std::max<int64_t>(width, 1);
    result.rows = Tensor::allocate(ElementType::float32(), {kept, width});
    std::ranges::copy(rows, result.rows.asMutable<float>().begin());
  }
  return result;
}
