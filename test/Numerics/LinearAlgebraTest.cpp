//===- LinearAlgebraTest.cpp - Dense products and factors -----------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/LinearAlgebra.h"

#include "Numbers.h"

#include <gtest/gtest.h>

using namespace nibble;

static Matrix<double> randomMatrix(int64_t rows, int64_t columns,
                                   unsigned seed) {
  Tensor numbers = randomTensor({rows, columns}, seed);
  Matrix<double> matrix(rows, columns);
  std::copy_n(numbers.as<float>().data(), rows * columns, matrix.view().data);
  return matrix;
}

/// x^T x + n I, upper triangle only.
static Matrix<double> definite(int64_t n, ThreadPool *pool) {
  Matrix<double> x = randomMatrix(n + 5, n, 1), h(n, n);
  std::fill_n(h.view().data, n * n, 0.0);
  addGram(x.view(), h.view(), pool);
  for (int64_t i = 0; i < n; ++i)
    h.view().at(i, i) += static_cast<double>(n);
  return h;
}

TEST(LinearAlgebra, FactorTimesItsTransposeIsTheMatrix) {
  // One block, one tile, and sizes around the border of a tile.
  for (int64_t n : {1, 2, 16, 17, 100, 256, 257, 600}) {
    Matrix<double> h = definite(n, nullptr), r = definite(n, nullptr);
    ASSERT_EQ(factorUpper(r.view(), nullptr), std::nullopt);
    double worst = 0;
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_GT(r.view().at(i, i), 0);
      for (int64_t j = i; j < n; ++j) {
        double sum = 0;
        for (int64_t k = j; k < n; ++k)
          sum += r.view().at(i, k) * r.view().at(j, k);
        worst = std::max(worst, std::abs(sum - h.view().at(i, j)));
      }
    }
    EXPECT_LT(worst, 1e-11 * static_cast<double>(n)) << n;
  }
}

TEST(LinearAlgebra, FactorNamesTheLastLostRow) {
  for (int64_t n : {3, 40, 300}) {
    Matrix<double> h = definite(n, nullptr);
    h.view().at(n / 2, n / 2) = -1;
    EXPECT_EQ(factorUpper(h.view(), nullptr), n / 2);
    // Nothing but rounding is left of the second of two equal channels.
    h = definite(n, nullptr);
    std::fill_n(h.view().data, n * n, 1.0);
    EXPECT_EQ(factorUpper(h.view(), nullptr), n - 2);
    h.view().at(n - 1, n - 1) = NAN;
    EXPECT_EQ(factorUpper(h.view(), nullptr), n - 1);
  }
}

TEST(LinearAlgebra, ThreadsDoNotChangeBytes) {
  constexpr int64_t n = 700;
  auto factor = [](unsigned threads) {
    ThreadPool pool(threads);
    Matrix<double> h = definite(n, &pool);
    EXPECT_EQ(factorUpper(h.view(), &pool), std::nullopt);
    mirrorUpper(0.5, h.view(), &pool);
    return h;
  };
  Matrix<double> one = factor(1), two = factor(2), three = factor(3);
  EXPECT_TRUE(
      std::equal(one.view().data, one.view().data + n * n, two.view().data));
  EXPECT_TRUE(
      std::equal(one.view().data, one.view().data + n * n, three.view().data));
}

TEST(LinearAlgebra, GramIsTheUpperTriangleAlone) {
  // Widths of one tile, and of several whose edges differ.
  for (int64_t n : {5, 300, 2100}) {
    Matrix<double> x = randomMatrix(3, n, 4), one(n, n), three(n, n);
    std::fill_n(one.view().data, n * n, 1.0);
    std::fill_n(three.view().data, n * n, 1.0);
    ThreadPool pool(3);
    addGram(x.view(), one.view(), nullptr);
    addGram(x.view(), three.view(), &pool);
    EXPECT_TRUE(std::equal(one.view().data, one.view().data + n * n,
                           three.view().data));
    double worst = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 1;
        for (int64_t k = 0; k < 3 && j >= i; ++k)
          sum += x.view().at(k, i) * x.view().at(k, j);
        worst = std::max(worst, std::abs(sum - one.view().at(i, j)));
      }
    EXPECT_LT(worst, 1e-14) << n;
    mirrorUpper(2.0, one.view(), &pool);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = i; j < n; ++j)
        ASSERT_TRUE(one.view().at(i, j) == 2 * three.view().at(i, j) &&
                    one.view().at(j, i) == one.view().at(i, j));
  }
}

TEST(LinearAlgebra, ProductsSolvesAndLoss) {
  Matrix<double> a = randomMatrix(3, 4, 2), b = randomMatrix(3, 5, 3);
  Matrix<double> sum(4, 5);
  std::fill_n(sum.view().data, 20, 1.0);
  addProduct(a.view(), b.view(), sum.view(), nullptr);
  double expected = 1;
  for (int64_t k = 0; k < 3; ++k)
    expected += a.view().at(k, 2) * b.view().at(k, 4);
  EXPECT_DOUBLE_EQ(sum.view().at(2, 4), expected);

  // [[2, 1], [0, 4]]: R x = (4, 8) has x = (1, 2); R^T x = (2, 9), x = (1, 2).
  Matrix<double> r(2, 2), x(2, 1);
  double upper[] = {2, 1, -7, 4};
  std::copy_n(upper, 4, r.view().data);
  x.view().at(0, 0) = 4;
  x.view().at(1, 0) = 8;
  solveUpper(Side::Left, r.view(), Transpose::No, false, x.view());
  EXPECT_EQ(x.view().at(0, 0), 1);
  EXPECT_EQ(x.view().at(1, 0), 2);
  x.view().at(0, 0) = 2;
  x.view().at(1, 0) = 9;
  solveUpper(Side::Left, r.view(), Transpose::Yes, false, x.view());
  EXPECT_EQ(x.view().at(0, 0), 1);
  EXPECT_EQ(x.view().at(1, 0), 2);

  // (1, 2) [[2, 1], [1, 4]] (1, 2)^T = 22
  r.view().at(1, 0) = 1;
  Matrix<double> d(1, 2);
  d.view().at(0, 0) = 1;
  d.view().at(0, 1) = 2;
  EXPECT_EQ(quadraticLoss(d.view(), r.view(), nullptr), 22);
}
