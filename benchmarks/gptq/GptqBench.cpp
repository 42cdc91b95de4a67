//===- GptqBench.cpp - How long GPTQ takes --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   nibble-gptq-bench THREADS ORDER weight.npy inputs.npy codes.npy
//
// Times the Hessian, its factorization and the whole of quantizeGptq, in
// float32, 4 bits, groups of 128, blocks of 128, and the rate of plain matrix
// products on as many threads. ORDER is `act` (act order, static groups: the
// defaults of qmodel-gptq) or `plain` (neither, as in the paper). compare.py
// runs it; the times are a line of JSON, the codes a file.
//
//===----------------------------------------------------------------------===//

#include "nibble/Formats/Npy.h"
#include "nibble/Numerics/Gptq.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace nibble;

namespace {

double seconds() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

/// Operations per second of products of 1024 x 1024 matrices, one per task.
double productRate(ThreadPool &pool) {
  constexpr int64_t n = 1024;
  int64_t tasks = 4 * pool.threads();
  Matrix<float> a(n, n), b(n, n), c(tasks * n, n);
  std::fill_n(a.view().data, n * n, 0.5f);
  std::fill_n(b.view().data, n * n, 0.25f);
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    double start = seconds();
    pool.parallelFor(tasks, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        multiply<float>(1, a.view(), Transpose::No, b.view(), Transpose::No, 0,
                        c.view().block(task * n, 0, n, n));
    });
    double operations = 2.0 * n * n * n * static_cast<double>(tasks);
    best = std::max(best, operations / (seconds() - start));
  }
  return best;
}

/// What the solver does to the Hessian first.
Expected<double> timeFactorization(const Tensor &hessian, ThreadPool &pool) {
  Tensor copy = hessian.clone();
  int64_t width = copy.shape()[0];
  MatrixView<float> view{copy.asMutable<float>().data(), width, width, width};
  double mean = 0;
  for (int64_t i = 0; i < width; ++i)
    mean += view.at(i, i) / static_cast<double>(width);
  for (int64_t i = 0; i < width; ++i)
    view.at(i, i) += static_cast<float>(0.01 * mean);
  double start = seconds();
  if (factorUpper(view, &pool))
    return Status::error("expects a Hessian that can be factored");
  return seconds() - start;
}

/// One byte per code, which is what NumPy reads.
Tensor widened(const Tensor &codes) {
  Tensor wide = Tensor::allocate(ElementType::unsignedInt(8), codes.shape());
  for (uint64_t i = 0; i < codes.size(); ++i)
    wide.setIntegerAt(i, codes.integerAt(i));
  return wide;
}

Status measure(bool actOrder, char **files, ThreadPool &pool) {
  Expected<Tensor> weight = readNpy(files[0]), inputs = readNpy(files[1]);
  if (!weight)
    return weight.status();
  if (!inputs)
    return inputs.status();
  // In memory, as the peer has them, not pages of a file.
  Tensor weightInMemory = weight->clone(), inputsInMemory = inputs->clone();
  double rate = productRate(pool);

  double start = seconds();
  MomentAccumulator accumulator(inputsInMemory.shape().back(), {});
  if (Status status = accumulator.add(inputsInMemory, &pool); !status.isOk())
    return status;
  InputMoments moments = accumulator.finish(&pool);
  double hessian = seconds() - start;

  Expected<double> factorization = timeFactorization(moments.hessian, pool);
  if (!factorization)
    return factorization.status();

  BlockScheme scheme{
      .codes = {4, false, Grid::Gptq}, .group = 128, .ofScales = {}};
  GptqOptions options;
  options.actOrder = actOrder;
  options.grids = actOrder ? GroupGrids::Static : GroupGrids::Fresh;
  start = seconds();
  Expected<GptqResult> result =
      quantizeGptq(weightInMemory, moments.hessian, scheme, options, &pool);
  if (!result)
    return result.status();
  double solve = seconds() - start;
  std::printf("{\"hessian\": %.6f, \"factorization\": %.6f, \"solve\": %.6f, "
              "\"products\": %.6e, \"kernel\": \"%s\"}\n",
              hessian, *factorization, solve, rate, blasKernel().c_str());
  return writeNpy(files[2], widened(result->weight.codes));
}

} // namespace

int main(int count, char **arguments) {
  bool act = count == 6 && std::strcmp(arguments[2], "act") == 0;
  if (!act && (count != 6 || std::strcmp(arguments[2], "plain") != 0)) {
    std::fprintf(stderr, "usage: nibble-gptq-bench THREADS act|plain "
                         "weight.npy inputs.npy codes.npy\n");
    return 2;
  }
  ThreadPool pool(static_cast<unsigned>(std::atoi(arguments[1])));
  Status status = measure(act, arguments + 3, pool);
  if (status.isOk())
    return 0;
  std::fprintf(stderr, "error: %s\n", status.message().c_str());
  return 1;
}
