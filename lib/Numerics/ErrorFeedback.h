//===- ErrorFeedback.h - Columns replaced one by one ------------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The loop that GPTQ and SparseGPT share: columns of a weight are replaced in
// the order of a HessianFactor, each after it has taken over the errors of the
// ones before it (see HessianFactor.h for L):
//
//   w_j = V_j + sum over i < j of (V_i - Q_i) L_ij,   Q_j = replacement(w_j)
//
// V is the weight W; with GPTAQ, V_j = W_j + sum over i < j of w_i P_ij.
//
// Rows do not depend on each other. They are processed in tiles, stored with
// the rows of a tile side by side, so that one vector instruction does the same
// for many rows. Sums over far columns are products of matrices.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_NUMERICS_ERRORFEEDBACK_H
#define NIBBLE_LIB_NUMERICS_ERRORFEEDBACK_H

#include "HessianFactor.h"

#include "nibble/Numerics/Grid.h"

namespace nibble {

/// Which elements a sweep removes.
struct SweepPruning {
  enum class Kind : uint8_t {
    None,
    Threshold, ///< by the masks that the caller has set for the block
    Smallest,  ///< the `remove` smallest of every `of` columns, of each row
  };
  Kind kind = Kind::None;
  int64_t remove = 0, of = 1;
};

/// The matrix that a sweep works on, in tiles of rows: element (row, position)
/// of `Tiled<T> m` is m.at(row, position).
template <typename T> class Tiled {
public:
  Tiled() = default;
  Tiled(int64_t rows, int64_t columns, int64_t tileRows)
      : elements((rows + tileRows - 1) / tileRows * columns, tileRows),
        columns(columns), tileRows(tileRows) {}
  bool empty() const { return elements.empty(); }
  /// [columns, tileRows] of tile `index`.
  MatrixView<T> tile(int64_t index) const {
    return elements.view().block(index * columns, 0, columns, tileRows);
  }
  T &at(int64_t row, int64_t position) const {
    return elements.view().at(row / tileRows * columns + position,
                              row % tileRows);
  }

private:
  Matrix<T> elements;
  int64_t columns = 0, tileRows = 1;
};

/// One weight being swept. Set up the public members, then call `advance` and
/// `replace` for every span of `spans()`, in order.
template <typename T> class ErrorFeedback {
public:
  /// A run of columns that is brought up to date at once, and its blocks,
  /// within which columns are done one by one.
  struct Span {
    int64_t begin = 0, end = 0;
    std::vector<int64_t> blocks; ///< begin of each
  };

  ErrorFeedback(const HessianFactor<T> &factor, int64_t rows,
                std::vector<Span> spans);

  /// Spans of `columns` columns. Blocks of `block` columns start anew at every
  /// span and at every multiple of `stretch` (0: not).
  static std::vector<Span> makeSpans(int64_t width, int64_t block,
                                     int64_t stretch, int64_t columns);

  int64_t rows, width, tileRows, tiles;
  std::vector<Span> spans;

  Tiled<T> values;              ///< V; V - Q behind the front
  Tiled<uint8_t> codes;         ///< codes of Q; unset: no quantization
  Tiled<uint8_t> masks;         ///< 1 where Q is 0; unset: no pruning
  Tiled<T> replaced;            ///< Q; may be unset
  Tiled<T> compensated;         ///< w; may be unset, needed for `pull`
  Tiled<T> scales, zeros;       ///< by group instead of position
  std::vector<int64_t> groupOf; ///< [width] group of each position
  T codeMin = 0, codeMax = 0;
  bool halfAway = false;
  SweepPruning pruning;
  /// P of GPTAQ, strictly upper [width, width] in the order of positions; may
  /// be unset. `pullReplaced`: later blocks take Q for w, as upstream does.
  Matrix<T> pull;
  bool pullReplaced = false;

  /// Brings tile `tile` of `span` up to date with the columns before it.
  void advance(const Span &span, int64_t tile);
  /// What the columns [begin, end) of `span` would be if nothing from `begin`
  /// on were replaced: [end - begin, tileRows]. Valid when the front is at
  /// `begin`, which starts a block.
  Matrix<T> expected(const Span &span, int64_t begin, int64_t end,
                     int64_t tile) const;
  /// Replaces the columns of a span in one tile. `startBlock(begin, end)` is
  /// called when the front is at the begin of each block.
  template <typename StartBlock>
  void replace(const Span &span, int64_t tile, StartBlock &&startBlock) {
    for (size_t i = 0; i < span.blocks.size(); ++i) {
      int64_t begin = span.blocks[i];
      int64_t end = i + 1 < span.blocks.size() ? span.blocks[i + 1] : span.end;
      startBlock(begin, end);
      replaceBlock(span, begin, end, tile);
    }
  }
  /// tr((W - Q) H (W - Q)^T) with the Hessian before damping; not with `pull`.
  double loss() const;

private:
  void replaceBlock(const Span &span, int64_t begin, int64_t end, int64_t tile);

  const HessianFactor<T> &factor;
  Tiled<T> sums;               ///< of the current span
  std::vector<double> rowLoss; ///< [tiles * tileRows]
};

} // namespace nibble

#endif // NIBBLE_LIB_NUMERICS_ERRORFEEDBACK_H
