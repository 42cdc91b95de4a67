//===- LinearAlgebra.cpp - Dense products and factors ---------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The one file of Numerics that calls BLAS. Level 3 only: products and
// triangular solves; the Cholesky factor is built from them, because LAPACK
// would run it on one thread, or on threads of its own.
//
//===----------------------------------------------------------------------===//

#include "nibble/Numerics/LinearAlgebra.h"

#include "Parallel.h"

#include <algorithm>
#include <cblas.h>
#include <cmath>
#include <limits>
#include <mutex>
#include <type_traits>
#include <vector>

using namespace nibble;

/// Edge of the tiles that tasks write when a matrix is factored.
static constexpr int64_t tileEdge = 256;

/// Edge of the tiles of a sum of products with `columns` columns. BLAS copies
/// both operands of a tile, whose rows are far apart in memory, and only what
/// it does with the copies grows with the square of the edge: with 14336
/// columns, tiles of 256 reach half of the rate of those of 1024. Still the
/// triangle of a matrix of 1024 columns or more is ten tiles or more.
static int64_t productEdge(int64_t columns) {
  return std::clamp<int64_t>((columns / 4 + 127) / 128 * 128, tileEdge, 2048);
}

static void useOneBlasThread() {
  static std::once_flag once;
  std::call_once(once, [] { openblas_set_num_threads(1); });
}

static CBLAS_TRANSPOSE blas(Transpose transpose) {
  return transpose == Transpose::Yes ? CblasTrans : CblasNoTrans;
}

template <typename T>
void nibble::multiply(T alpha, MatrixView<T> a, Transpose transposeA,
                      MatrixView<T> b, Transpose transposeB, T beta,
                      MatrixView<T> c) {
  if (c.rows == 0 || c.columns == 0)
    return;
  useOneBlasThread();
  int64_t depth = transposeA == Transpose::Yes ? a.rows : a.columns;
  auto call = [&](auto gemm) {
    gemm(CblasRowMajor, blas(transposeA), blas(transposeB), c.rows, c.columns,
         depth, alpha, a.data, a.stride, b.data, b.stride, beta, c.data,
         c.stride);
  };
  if constexpr (std::is_same_v<T, float>)
    call(cblas_sgemm);
  else
    call(cblas_dgemm);
}

template <typename T>
void nibble::solveUpper(Side side, MatrixView<T> upper, Transpose transpose,
                        bool unitDiagonal, MatrixView<T> x) {
  if (x.rows == 0 || x.columns == 0)
    return;
  useOneBlasThread();
  auto call = [&](auto trsm) {
    trsm(CblasRowMajor, side == Side::Left ? CblasLeft : CblasRight, CblasUpper,
         blas(transpose), unitDiagonal ? CblasUnit : CblasNonUnit, x.rows,
         x.columns, 1, upper.data, upper.stride, x.data, x.stride);
  };
  if constexpr (std::is_same_v<T, float>)
    call(cblas_strsm);
  else
    call(cblas_dtrsm);
}

/// c += x^T x, the upper triangle, on the calling thread.
template <typename T>
static void addTriangle(MatrixView<T> x, MatrixView<T> c) {
  useOneBlasThread();
  auto call = [&](auto syrk) {
    syrk(CblasRowMajor, CblasUpper, CblasTrans, c.rows, x.rows, 1, x.data,
         x.stride, 1, c.data, c.stride);
  };
  if constexpr (std::is_same_v<T, float>)
    call(cblas_ssyrk);
  else
    call(cblas_dsyrk);
}

/// Calls `body(row, column, height, width)` for the tiles of [rows, columns];
/// with `upperOnly`, for those that reach the diagonal or lie above it. Tiles
/// on the diagonal come last: if they are less work, threads end together.
template <typename Body>
static void forEachBlock(ThreadPool *pool, int64_t rows, int64_t columns,
                         int64_t edge, bool upperOnly, Body &&body) {
  std::vector<std::pair<int64_t, int64_t>> tiles, diagonal;
  for (int64_t row = 0; row < rows; row += edge)
    for (int64_t column = upperOnly ? row : 0; column < columns; column += edge)
      (row == column ? diagonal : tiles).emplace_back(row, column);
  tiles.insert(tiles.end(), diagonal.begin(), diagonal.end());
  forEachIndex(pool, tiles.size(), [&](int64_t index) {
    auto [row, column] = tiles[index];
    body(row, column, std::min(edge, rows - row),
         std::min(edge, columns - column));
  });
}

template <typename T>
void nibble::addGram(MatrixView<T> x, MatrixView<T> sum, ThreadPool *pool) {
  forEachBlock(pool, sum.rows, sum.columns, productEdge(sum.columns),
               /*upperOnly=*/true,
               [&](int64_t row, int64_t column, int64_t height, int64_t width) {
                 MatrixView<T> left = x.block(0, row, x.rows, height);
                 MatrixView<T> tile = sum.block(row, column, height, width);
                 if (row == column)
                   addTriangle(left, tile);
                 else
                   multiply<T>(1, left, Transpose::Yes,
                               x.block(0, column, x.rows, width), Transpose::No,
                               1, tile);
               });
}

template <typename T>
void nibble::addProduct(MatrixView<T> x, MatrixView<T> y, MatrixView<T> sum,
                        ThreadPool *pool) {
  forEachBlock(pool, sum.rows, sum.columns, productEdge(sum.columns),
               /*upperOnly=*/false,
               [&](int64_t row, int64_t column, int64_t height, int64_t width) {
                 multiply<T>(1, x.block(0, row, x.rows, height), Transpose::Yes,
                             y.block(0, column, y.rows, width), Transpose::No,
                             1, sum.block(row, column, height, width));
               });
}

template <typename T>
void nibble::mirrorUpper(T factor, MatrixView<T> a, ThreadPool *pool) {
  // Through a copy that stays in the nearest cache: rows that are a power of
  // two apart would drive each other out of it.
  constexpr int64_t edge = 64;
  forEachTile(pool, a.rows, edge, [&](int64_t row, int64_t rowEnd) {
    T block[edge][edge + 1];
    int64_t height = rowEnd - row;
    for (int64_t column = row; column < a.columns; column += edge) {
      int64_t width = std::min(edge, a.columns - column);
      for (int64_t i = 0; i < height; ++i) {
        T *upper = a.row(row + i) + column;
        for (int64_t j = column == row ? i : 0; j < width; ++j)
          block[i][j] = upper[j] *= factor;
      }
      for (int64_t j = 0; j < width; ++j) {
        T *lower = a.row(column + j) + row;
        int64_t count = std::min(height, column + j - row);
        for (int64_t i = 0; i < count; ++i)
          lower[i] = block[i][j];
      }
    }
  });
}

/// factorUpper on one thread, by halves. `diagonal` holds the original diagonal
/// of the rows of `a`.
template <typename T>
static std::optional<int64_t> factorBlock(MatrixView<T> a, const T *diagonal) {
  int64_t n = a.rows;
  if (n == 1) {
    // A pivot of this size is what cancellation has left, not a number. Written
    // so that a NaN fails too.
    T smallest = 16 * std::numeric_limits<T>::epsilon() * diagonal[0];
    if (!(a.at(0, 0) > smallest) || !(a.at(0, 0) > 0))
      return 0;
    a.at(0, 0) = std::sqrt(a.at(0, 0));
    return std::nullopt;
  }
  int64_t half = n / 2, rest = n - half;
  MatrixView<T> last = a.block(half, half, rest, rest);
  if (std::optional<int64_t> bad = factorBlock(last, diagonal + half))
    return *bad + half;
  MatrixView<T> right = a.block(0, half, half, rest);
  MatrixView<T> first = a.block(0, 0, half, half);
  if (n > 16) {
    solveUpper(Side::Right, last, Transpose::Yes, false, right);
    multiply<T>(-1, right, Transpose::No, right, Transpose::Yes, 1, first);
    return factorBlock(first, diagonal);
  }
  for (int64_t i = 0; i < half; ++i) {
    for (int64_t j = rest - 1; j >= 0; --j) {
      T value = right.at(i, j);
      for (int64_t k = j + 1; k < rest; ++k)
        value -= right.at(i, k) * last.at(j, k);
      right.at(i, j) = value / last.at(j, j);
    }
  }
  for (int64_t i = 0; i < half; ++i)
    for (int64_t j = i; j < half; ++j)
      for (int64_t k = 0; k < rest; ++k)
        first.at(i, j) -= right.at(i, k) * right.at(j, k);
  return factorBlock(first, diagonal);
}

template <typename T>
std::optional<int64_t> nibble::factorUpper(MatrixView<T> a, ThreadPool *pool) {
  int64_t n = a.rows;
  std::vector<T> diagonal(n);
  for (int64_t i = 0; i < n; ++i)
    diagonal[i] = a.at(i, i);
  // From the last panel of columns to the first, each brought up to date from
  // the finished ones at its right, then solved with its diagonal block.
  for (int64_t begin = (n - 1) / tileEdge * tileEdge; begin >= 0;
       begin -= tileEdge) {
    int64_t end = std::min(begin + tileEdge, n), width = end - begin;
    MatrixView<T> finished = a.block(begin, end, width, n - end);
    // `factorBlock` writes below the diagonal of its block.
    Matrix<T> corner(width, width);
    forEachTile(pool, end, tileEdge, [&](int64_t row, int64_t rowEnd) {
      MatrixView<T> panel = a.block(row, begin, rowEnd - row, width);
      if (row == begin) {
        for (int64_t i = 0; i < width; ++i)
          std::copy_n(panel.row(i), width, corner.view().row(i));
        panel = corner.view();
      }
      if (end < n)
        multiply<T>(-1, a.block(row, end, rowEnd - row, n - end), Transpose::No,
                    finished, Transpose::Yes, 1, panel);
    });
    if (std::optional<int64_t> bad =
            factorBlock(corner.view(), diagonal.data() + begin))
      return *bad + begin;
    for (int64_t i = 0; i < width; ++i)
      std::copy(corner.view().row(i) + i, corner.view().row(i) + width,
                a.row(begin + i) + begin + i);
    forEachTile(pool, begin, tileEdge, [&](int64_t row, int64_t rowEnd) {
      solveUpper(Side::Right, corner.view(), Transpose::Yes, false,
                 a.block(row, begin, rowEnd - row, width));
    });
  }
  return std::nullopt;
}

template <typename T>
double nibble::quadraticLoss(MatrixView<T> d, MatrixView<T> a,
                             ThreadPool *pool) {
  constexpr int64_t taskRows = 64;
  int64_t n = a.rows;
  std::vector<double> sums((d.rows + taskRows - 1) / taskRows);
  forEachTile(pool, d.rows, taskRows, [&](int64_t begin, int64_t end) {
    Matrix<T> product(end - begin, n);
    MatrixView<T> rows = d.block(begin, 0, end - begin, n);
    multiply<T>(1, rows, Transpose::No, a, Transpose::No, 0, product.view());
    double sum = 0;
    for (int64_t i = 0; i < rows.rows; ++i)
      for (int64_t j = 0; j < n; ++j)
        sum += static_cast<double>(rows.at(i, j)) * product.view().at(i, j);
    sums[begin / taskRows] = sum;
  });
  double total = 0;
  for (double sum : sums)
    total += sum;
  return total;
}

std::string nibble::blasKernel() { return openblas_get_corename(); }

#define NIBBLE_INSTANTIATE(T)                                                  \
  template void nibble::multiply<T>(T, MatrixView<T>, Transpose,               \
                                    MatrixView<T>, Transpose, T,               \
                                    MatrixView<T>);                            \
  template void nibble::solveUpper<T>(Side, MatrixView<T>, Transpose, bool,    \
                                      MatrixView<T>);                          \
  template void nibble::addGram<T>(MatrixView<T>, MatrixView<T>,               \
                                   ThreadPool *);                              \
  template void nibble::addProduct<T>(MatrixView<T>, MatrixView<T>,            \
                                      MatrixView<T>, ThreadPool *);            \
  template void nibble::mirrorUpper<T>(T, MatrixView<T>, ThreadPool *);        \
  template std::optional<int64_t> nibble::factorUpper<T>(MatrixView<T>,        \
                                                         ThreadPool *);        \
  template double nibble::quadraticLoss<T>(MatrixView<T>, MatrixView<T>,       \
                                           ThreadPool *);
NIBBLE_INSTANTIATE(float)
NIBBLE_INSTANTIATE(double)
#undef NIBBLE_INSTANTIATE
