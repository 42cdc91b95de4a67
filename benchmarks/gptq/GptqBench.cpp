//===- GptqBench.cpp - How long GPTQ takes --------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   nibble-gptq-bench [THREADS [TOKENS [OUT IN]...]]
//
// Times the Hessian, its factorization and the whole of quantizeGptq, in
// float32, 4 bits, groups of 128, static grids, blocks of 128. Beside each, the
// rate, and the best rate that matrix products on as many threads reached in
// the same process.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/Gptq.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

using namespace nibble;

namespace {

double seconds() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

/// Numbers in (-1, 1) that do not repeat, the same in every run.
class Random {
public:
  float operator()() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<float>(static_cast<int64_t>(state) >> 40) * 0x1p-23f;
  }

private:
  uint64_t state = 1;
};

Tensor randomMatrix(int64_t rows, int64_t columns) {
  Tensor matrix = Tensor::allocate(ElementType::float32(), {rows, columns});
  Random random;
  for (float &value : matrix.asMutable<float>())
    value = random();
  return matrix;
}

/// GFLOP/s of products of 1024 x 1024 matrices, one per task.
double productRate(ThreadPool &pool) {
  constexpr int64_t n = 1024;
  int64_t tasks = 4 * pool.threads();
  Matrix<float> a(n, n), b(n, n), c(tasks * n, n);
  Random random;
  for (int64_t i = 0; i < n * n; ++i) {
    a.view().data[i] = random();
    b.view().data[i] = random();
  }
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    double start = seconds();
    pool.parallelFor(tasks, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task)
        multiply<float>(1, a.view(), Transpose::No, b.view(), Transpose::No, 0,
                        c.view().block(task * n, 0, n, n));
    });
    double flops = 2.0 * n * n * n * static_cast<double>(tasks);
    best = std::max(best, flops / (seconds() - start));
  }
  return best * 1e-9;
}

void report(const char *what, double time, double flops, double limit) {
  double rate = flops / time * 1e-9;
  std::printf("  %-14s %8.3f s  %7.1f GFLOP/s  %5.1f %% of products\n", what,
              time, rate, 100 * rate / limit);
}

bool measure(int64_t rows, int64_t width, int64_t tokens, ThreadPool &pool) {
  std::printf("%lld x %lld, %lld tokens, %u threads, %s\n",
              static_cast<long long>(rows), static_cast<long long>(width),
              static_cast<long long>(tokens), pool.threads(),
              blasKernel().c_str());
  Tensor inputs = randomMatrix(tokens, width);
  Tensor weight = randomMatrix(rows, width);
  double limit = productRate(pool);
  double n = static_cast<double>(width), out = static_cast<double>(rows);

  double start = seconds();
  MomentAccumulator accumulator(width, {});
  if (!accumulator.add(inputs, &pool).isOk())
    return false;
  InputMoments moments = accumulator.finish(&pool);
  report("Hessian", seconds() - start, n * n * static_cast<double>(tokens),
         limit);

  {
    // What the solver does to the Hessian first.
    Tensor copy = moments.hessian.clone();
    MatrixView<float> view{copy.asMutable<float>().data(), width, width, width};
    for (int64_t i = 0; i < width; ++i)
      view.at(i, i) *= 1.01f;
    start = seconds();
    if (factorUpper(view, &pool))
      return false;
    report("factorization", seconds() - start, n * n * n / 3, limit);
  }

  BlockScheme scheme{
      .codes = {4, false, Grid::Gptq}, .group = 128, .ofScales = {}};
  for (bool actOrder : {false, true}) {
    GptqOptions options;
    options.actOrder = actOrder;
    start = seconds();
    Expected<GptqResult> result =
        quantizeGptq(weight, moments.hessian, scheme, options, &pool);
    if (!result) {
      std::fprintf(stderr, "error: %s\n", result.status().message().c_str());
      return false;
    }
    report(actOrder ? "with act order" : "quantizeGptq", seconds() - start,
           n * n * n / 3 + out * n * n, limit);
  }
  std::printf("  products       %20.1f GFLOP/s\n", limit);
  return true;
}

} // namespace

int main(int count, char **arguments) {
  auto number = [&](int index, int64_t otherwise) -> int64_t {
    return count > index ? std::atoll(arguments[index]) : otherwise;
  };
  ThreadPool pool(static_cast<unsigned>(number(1, 0)));
  int64_t tokens = number(2, 4096);
  if (count <= 3)
    return !(measure(4096, 4096, tokens, pool) &&
             measure(4096, 14336, tokens, pool));
  for (int i = 3; i + 1 < count; i += 2)
    if (!measure(number(i, 0), number(i + 1, 0), tokens, pool))
      return 1;
  return 0;
}
