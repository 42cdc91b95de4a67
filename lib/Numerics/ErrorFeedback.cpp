//===- ErrorFeedback.cpp - Columns replaced one by one --------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The inner loop is written with vectors, and compiled for three widths of
// registers. All do the same operations on every element, without
// contraction, so they give the same bytes.
//
//===----------------------------------------------------------------------===//

#include "ErrorFeedback.h"

#include "Parallel.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

using namespace nibble;

namespace {

/// Adding and subtracting it rounds small numbers to integers, half to even.
template <typename T> constexpr T rounder = 0;
template <> constexpr float rounder<float> = 0x1.8p23f;
template <> constexpr double rounder<double> = 0x1.8p52;

/// Rows that one call of the inner loop does.
constexpr int64_t laneRows = 32;
/// Rows of a tile: enough that products with a tile run at nearly the full
/// rate, few enough that its columns stay in a core's cache.
constexpr int64_t largestTile = 128;

/// One block of columns of one tile, as the inner loop sees it. Matrices of
/// columns x rows have `stride` elements per column.
template <typename T> struct Block {
  int64_t columns = 0, stride = 0;
  T *values = nullptr;
  const T *sums = nullptr;     ///< over the columns before the block
  const T *triangle = nullptr; ///< [columns, columns]: row j holds L_ij, i < j
  const T *pull = nullptr;     ///< the same of P, or null
  const T *diagonal = nullptr; ///< [columns] R_jj
  const double *added = nullptr;    ///< [columns]
  const T *const *scales = nullptr; ///< [columns] of [rows], or null
  const T *const *zeros = nullptr;
  T codeMin = 0, codeMax = 0;
  bool halfAway = false;
  SweepPruning pruning;
  uint8_t *codes = nullptr, *masks = nullptr;
  T *replaced = nullptr, *compensated = nullptr;
  T *scratch = nullptr; ///< [pruning.of, laneRows]
  double *loss = nullptr;
};

#define NIBBLE_INLINE inline __attribute__((always_inline))

/// The loop over `laneRows` rows from `lane` on, with vectors of `bytes`.
template <typename T, int bytes> struct Lanes {
  static constexpr int64_t perVector = bytes / sizeof(T);
  static constexpr int64_t vectors = laneRows / perVector;
  using Integer = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef T Vector
      __attribute__((vector_size(bytes), aligned(sizeof(T)), may_alias));
  typedef Integer Integers __attribute__((vector_size(bytes)));
  typedef uint8_t Bytes
      __attribute__((vector_size(perVector), aligned(1), may_alias));

  static NIBBLE_INLINE Vector &load(T *data) {
    return *reinterpret_cast<Vector *>(data);
  }
  static NIBBLE_INLINE const Vector &load(const T *data) {
    return *reinterpret_cast<const Vector *>(data);
  }

  /// sum += over i < count of rows[i] * factors[i].
  static NIBBLE_INLINE void accumulate(Vector (&sum)[vectors], const T *rows,
                                       int64_t stride, const T *factors,
                                       int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t v = 0; v < vectors; ++v)
        sum[v] += load(rows + i * stride + v * perVector) * factors[i];
  }

  /// Codes of `value` as floats, clamped before rounding: the same for integer
  /// bounds, and what is rounded is small enough for `rounder`.
  static NIBBLE_INLINE void quantize(const Block<T> &block, const Vector &value,
                                     const Vector &scale, const Vector &zero,
                                     Vector &code) {
    Vector steps = value / scale;
    Vector low = block.codeMin - zero, high = block.codeMax - zero;
    steps = steps > low ? steps : low;
    steps = steps < high ? steps : high;
    Vector rounded = (steps + rounder<T>)-rounder<T>;
    if (block.halfAway) {
      Vector rest = steps - rounded;
      Vector none = {};
      rounded += (steps > none) & (rest == T(0.5)) ? none + T(1) : none;
      rounded -= (steps < none) & (rest == T(-0.5)) ? none + T(1) : none;
    }
    code = rounded + zero;
  }

  static NIBBLE_INLINE void choose(const Block<T> &block, int64_t first,
                                   int64_t lane);
  static NIBBLE_INLINE void run(const Block<T> &block, int64_t lane);
};

/// Marks the `remove` smallest scores among the `of` columns from `first` on:
/// (w R_jj)^2, where w is what a column would be if none of them was replaced.
template <typename T, int bytes>
NIBBLE_INLINE void Lanes<T, bytes>::choose(const Block<T> &block, int64_t first,
                                           int64_t lane) {
  int64_t of = block.pruning.of, stride = block.stride;
  T *extra = block.scratch; // the sums of the columns, without own errors
  for (int64_t j = 0; j < of; ++j) {
    const T *factors = block.triangle + (first + j) * block.columns;
    Vector sum[vectors];
    for (int64_t v = 0; v < vectors; ++v)
      sum[v] = load(block.sums + (first + j) * stride + lane + v * perVector);
    accumulate(sum, block.values + lane, stride, factors, first);
    for (int64_t k = 0; k < j; ++k)
      for (int64_t v = 0; v < vectors; ++v)
        sum[v] -=
            load(extra + k * laneRows + v * perVector) * factors[first + k];
    for (int64_t v = 0; v < vectors; ++v)
      load(extra + j * laneRows + v * perVector) = sum[v];
  }
  for (int64_t j = 0; j < of; ++j)
    for (int64_t v = 0; v < vectors; ++v) {
      Vector &w = load(extra + j * laneRows + v * perVector);
      w += load(block.values + (first + j) * stride + lane + v * perVector);
      w *= block.diagonal[first + j];
      w *= w;
    }
  for (int64_t row = 0; row < laneRows; ++row)
    for (int64_t j = 0; j < of; ++j) {
      // The rank of a score; of equal ones the first counts as smaller.
      int64_t smaller = 0;
      T score = extra[j * laneRows + row];
      for (int64_t k = 0; k < of; ++k) {
        T other = extra[k * laneRows + row];
        smaller += other < score || (other == score && k < j);
      }
      block.masks[(first + j) * stride + lane + row] =
          smaller < block.pruning.remove;
    }
}

template <typename T, int bytes>
NIBBLE_INLINE void Lanes<T, bytes>::run(const Block<T> &block, int64_t lane) {
  int64_t stride = block.stride;
  for (int64_t j = 0; j < block.columns; ++j) {
    if (block.pruning.kind == SweepPruning::Kind::Smallest &&
        j % block.pruning.of == 0)
      choose(block, j, lane);
    int64_t place = j * stride + lane;
    Vector target[vectors], sum[vectors];
    for (int64_t v = 0; v < vectors; ++v) {
      target[v] = load(block.values + place + v * perVector);
      sum[v] = load(block.sums + place + v * perVector);
    }
    if (block.pull)
      accumulate(target, block.compensated + lane, stride,
                 block.pull + j * block.columns, j);
    accumulate(sum, block.values + lane, stride,
               block.triangle + j * block.columns, j);
    for (int64_t v = 0; v < vectors; ++v) {
      int64_t at = place + v * perVector;
      Vector w = target[v] + sum[v], q = w;
      auto remove = [&] {
        for (int64_t i = 0; block.masks && i < perVector; ++i)
          q[i] = block.masks[at + i] ? 0 : q[i];
      };
      remove();
      if (block.scales) {
        const Vector &scale = load(block.scales[j] + lane + v * perVector);
        const Vector &zero = load(block.zeros[j] + lane + v * perVector);
        Vector code;
        quantize(block, q, scale, zero, code);
        q = scale * (code - zero);
        Integers whole = __builtin_convertvector(code, Integers);
        *reinterpret_cast<Bytes *>(block.codes + at) =
            __builtin_convertvector(whole, Bytes);
        remove(); // exactly 0, whatever the grid says
      }
      if (block.compensated)
        load(block.compensated + at) = w;
      if (block.replaced)
        load(block.replaced + at) = q;
      Vector change = target[v] - q, error = (w - q) * block.diagonal[j];
      load(block.values + at) = change;
      for (int64_t i = 0; i < perVector; ++i)
        block.loss[lane + v * perVector + i] +=
            static_cast<double>(error[i]) * error[i] -
            block.added[j] * change[i] * change[i];
    }
  }
}

#undef NIBBLE_INLINE

template <typename T> void runBaseline(const Block<T> &block, int64_t lane) {
  Lanes<T, 16>::run(block, lane);
}

#if defined(__x86_64__)
template <typename T>
__attribute__((target("avx2"))) void runAvx2(const Block<T> &block,
                                             int64_t lane) {
  Lanes<T, 32>::run(block, lane);
}
template <typename T>
__attribute__((target("avx512f,avx512vl,avx512dq,avx512bw"))) void
runAvx512(const Block<T> &block, int64_t lane) {
  Lanes<T, 64>::run(block, lane);
}
#endif

template <typename T> using RunBlock = void (*)(const Block<T> &, int64_t);

template <typename T> RunBlock<T> bestRun() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
    return runAvx512<T>;
  if (__builtin_cpu_supports("avx2"))
    return runAvx2<T>;
#endif
  return runBaseline<T>;
}

/// The strict upper triangle of a diagonal block, transposed.
template <typename T> std::vector<T> transposed(MatrixView<T> block) {
  std::vector<T> result(block.rows * block.rows);
  for (int64_t i = 0; i < block.rows; ++i)
    for (int64_t j = i + 1; j < block.rows; ++j)
      result[j * block.rows + i] = block.at(i, j);
  return result;
}

} // namespace

template <typename T>
ErrorFeedback<T>::ErrorFeedback(const HessianFactor<T> &factor, int64_t rows,
                                std::vector<Span> spans)
    : rows(rows), width(static_cast<int64_t>(factor.order.size())),
      tileRows(std::min(largestTile,
                        std::max<int64_t>((rows + laneRows - 1) / laneRows, 1) *
                            laneRows)),
      tiles((rows + tileRows - 1) / tileRows), spans(std::move(spans)),
      factor(factor), rowLoss(tiles * tileRows) {
  values = Tiled<T>(rows, width, tileRows);
  groupOf.assign(width, 0);
  int64_t widest = 0;
  for (const Span &span : this->spans)
    widest = std::max(widest, span.end - span.begin);
  sums = Tiled<T>(rows, widest, tileRows);
}

template <typename T>
auto ErrorFeedback<T>::makeSpans(int64_t width, int64_t block, int64_t stretch,
                                 int64_t columns) -> std::vector<Span> {
  std::vector<Span> spans;
  for (int64_t begin = 0; begin < width; begin += columns) {
    Span span;
    span.begin = begin;
    span.end = std::min(begin + columns, width);
    for (int64_t at = begin; at < span.end;) {
      span.blocks.push_back(at);
      int64_t next = at + block;
      at = stretch ? std::min(next, (at / stretch + 1) * stretch) : next;
    }
    spans.push_back(std::move(span));
  }
  return spans;
}

template <typename T>
void ErrorFeedback<T>::advance(const Span &span, int64_t tile) {
  int64_t columns = span.end - span.begin;
  MatrixView<T> sum = sums.tile(tile).block(0, 0, columns, tileRows);
  if (span.begin == 0) {
    std::fill_n(sum.data, columns * tileRows, T(0));
    return;
  }
  auto before = [&](const Tiled<T> &matrix) {
    return matrix.tile(tile).block(0, 0, span.begin, tileRows);
  };
  multiply<T>(
      1, factor.coefficients.view().block(0, span.begin, span.begin, columns),
      Transpose::Yes, before(values), Transpose::No, 0, sum);
  if (!pull.empty())
    multiply<T>(1, pull.view().block(0, span.begin, span.begin, columns),
                Transpose::Yes, before(pullReplaced ? replaced : compensated),
                Transpose::No, 1,
                values.tile(tile).block(span.begin, 0, columns, tileRows));
}

template <typename T>
Matrix<T> ErrorFeedback<T>::expected(const Span &span, int64_t begin,
                                     int64_t end, int64_t tile) const {
  int64_t columns = end - begin;
  Matrix<T> result(columns, tileRows);
  MatrixView<T> view = result.view();
  MatrixView<T> sum = sums.tile(tile);
  std::copy_n(sum.row(begin - span.begin), columns * tileRows, view.data);
  // Without errors from `begin` on, (V - Q) R is 0 there: the columns follow
  // from a triangular system.
  solveUpper(Side::Left,
             factor.coefficients.view().block(begin, begin, columns, columns),
             Transpose::Yes, /*unitDiagonal=*/true, view);
  const T *target = values.tile(tile).row(begin);
  for (int64_t i = 0; i < columns * tileRows; ++i)
    view.data[i] += target[i];
  return result;
}

template <typename T>
void ErrorFeedback<T>::replaceBlock(const Span &span, int64_t begin,
                                    int64_t end, int64_t tile) {
  static const RunBlock<T> runLanes = bestRun<T>();
  int64_t columns = end - begin;
  auto corner = [&](const Matrix<T> &matrix) {
    return matrix.view().block(begin, begin, columns, columns);
  };
  Block<T> block;
  block.columns = columns;
  block.stride = tileRows;
  block.values = values.tile(tile).row(begin);
  block.sums = sums.tile(tile).row(begin - span.begin);
  std::vector<T> triangle = transposed(corner(factor.coefficients)), shift;
  block.triangle = triangle.data();
  if (!pull.empty()) {
    shift = transposed(corner(pull));
    block.pull = shift.data();
  }
  block.diagonal = factor.diagonal.data() + begin;
  block.added = factor.added.data() + begin;
  std::vector<const T *> columnScales, columnZeros;
  if (!codes.empty()) {
    for (int64_t position = begin; position < end; ++position) {
      columnScales.push_back(scales.tile(tile).row(groupOf[position]));
      columnZeros.push_back(zeros.tile(tile).row(groupOf[position]));
    }
    block.scales = columnScales.data();
    block.zeros = columnZeros.data();
    block.codes = codes.tile(tile).row(begin);
  }
  block.codeMin = codeMin;
  block.codeMax = codeMax;
  block.halfAway = halfAway;
  block.pruning = pruning;
  std::vector<T> scratch(pruning.of * laneRows);
  block.scratch = scratch.data();
  if (!masks.empty())
    block.masks = masks.tile(tile).row(begin);
  if (!replaced.empty())
    block.replaced = replaced.tile(tile).row(begin);
  if (!compensated.empty())
    block.compensated = compensated.tile(tile).row(begin);
  block.loss = rowLoss.data() + tile * tileRows;
  for (int64_t lane = 0; lane < tileRows; lane += laneRows)
    runLanes(block, lane);

  // The rest of the span learns of the block.
  int64_t rest = span.end - end;
  auto pushed = [&](const Matrix<T> &matrix) {
    return matrix.view().block(begin, end, columns, rest);
  };
  auto done = [&](const Tiled<T> &matrix) {
    return matrix.tile(tile).block(begin, 0, columns, tileRows);
  };
  multiply<T>(1, pushed(factor.coefficients), Transpose::Yes, done(values),
              Transpose::No, 1,
              sums.tile(tile).block(end - span.begin, 0, rest, tileRows));
  if (!pull.empty())
    multiply<T>(1, pushed(pull), Transpose::Yes,
                done(pullReplaced ? replaced : compensated), Transpose::No, 1,
                values.tile(tile).block(end, 0, rest, tileRows));
}

template <typename T> double ErrorFeedback<T>::loss() const {
  double total = 0;
  for (double loss : rowLoss)
    total += loss;
  return total;
}

template class nibble::ErrorFeedback<float>;
template class nibble::ErrorFeedback<double>;
