//===- LinearAlgebra.h - Dense products and factors -------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   Matrix<float> h(n, n);
//   addGram(x.view(), h.view(), pool);           // h += x^T x
//   std::optional<int64_t> bad = factorUpper(h.view(), pool); // h = R R^T
//
// BLAS always runs on one thread; the pool shares out tiles whose sizes depend
// on shapes alone. So the bytes of a result do not depend on the number of
// threads. They do depend on the kernels that BLAS picks for the processor,
// which `blasKernel` names. All functions exist for float and double.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_NUMERICS_LINEARALGEBRA_H
#define NIBBLE_NUMERICS_LINEARALGEBRA_H

#include "nibble/Base/ThreadPool.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace nibble {

/// In which type a method computes. Float64 is what oracles are compared in;
/// Float32 takes half of the time and of the memory.
enum class Precision : uint8_t { Float32, Float64 };

/// A row-major block of a matrix; somebody else owns the elements. `stride` is
/// the distance of two rows in elements. No extent exceeds 2^31 - 1.
template <typename T> struct MatrixView {
  T *data = nullptr;
  int64_t rows = 0, columns = 0, stride = 0;

  T *row(int64_t index) const { return data + index * stride; }
  T &at(int64_t row, int64_t column) const {
    return data[row * stride + column];
  }
  MatrixView block(int64_t row, int64_t column, int64_t height,
                   int64_t width) const {
    return {data + row * stride + column, height, width, stride};
  }
};

/// A row-major matrix that owns its elements, which start uninitialized.
template <typename T> class Matrix {
public:
  Matrix() = default;
  Matrix(int64_t rows, int64_t columns)
      : elements(std::make_unique_for_overwrite<T[]>(rows * columns)),
        height(rows), width(columns) {}
  MatrixView<T> view() const { return {elements.get(), height, width, width}; }
  bool empty() const { return !elements; }

private:
  std::unique_ptr<T[]> elements;
  int64_t height = 0, width = 0;
};

enum class Transpose : bool { No, Yes };

/// c = alpha op(a) op(b) + beta c, on the calling thread. With beta = 0 the old
/// elements of c are not read.
template <typename T>
void multiply(T alpha, MatrixView<T> a, Transpose transposeA, MatrixView<T> b,
              Transpose transposeB, T beta, MatrixView<T> c);

/// Solves with an upper triangular matrix [n, n], in place, on the calling
/// thread. Left: op(upper) X = x; right: X op(upper) = x. Elements below the
/// diagonal are not read; with `unitDiagonal` neither is the diagonal.
enum class Side : bool { Left, Right };
template <typename T>
void solveUpper(Side side, MatrixView<T> upper, Transpose transpose,
                bool unitDiagonal, MatrixView<T> x);

/// sum += x^T x for x [tokens, n] and sum [n, n]: the upper triangle, and
/// nothing else. `pool` may be null here and below.
template <typename T>
void addGram(MatrixView<T> x, MatrixView<T> sum, ThreadPool *pool);

/// sum += x^T y for x [tokens, n], y [tokens, m] and sum [n, m].
template <typename T>
void addProduct(MatrixView<T> x, MatrixView<T> y, MatrixView<T> sum,
                ThreadPool *pool);

/// Multiplies the upper triangle by `factor` and copies it to the lower one.
template <typename T>
void mirrorUpper(T factor, MatrixView<T> a, ThreadPool *pool);

/// a = R R^T with R upper triangular and a positive diagonal: R replaces the
/// upper triangle of the symmetric `a`; the lower one is neither read nor
/// written. (R^-1 is the Cholesky factor U of the inverse, a^-1 = U^T U, that
/// GPTQ and SparseGPT are written in.) Returns the last row whose pivot is lost
/// to cancellation, where `a` is not positive definite in type T, else nullopt.
template <typename T>
std::optional<int64_t> factorUpper(MatrixView<T> a, ThreadPool *pool);

/// tr(d a d^T) for d [rows, n] and a symmetric [n, n]: the loss that the
/// methods with a Hessian minimise, where d is the change of the weights.
template <typename T>
double quadraticLoss(MatrixView<T> d, MatrixView<T> a, ThreadPool *pool);

/// OpenBLAS' name of the kernels it uses on this processor ("Haswell", ...), to
/// be recorded beside results that must be reproduced.
std::string blasKernel();

} // namespace nibble

#endif // NIBBLE_NUMERICS_LINEARALGEBRA_H
