//===- Strided.h - Index spaces, broadcasting, conversions ------*- C++ -*-===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Almost every op walks one index space with a stride per tensor. IndexSpace
// does so in runs along the innermost dimension, after merging dimensions that
// are contiguous in all tensors, so that the common cases are one flat loop.
//
// Arithmetic is done in four types only (computeType); narrower ones are
// widened before and narrowed after, which is exact for integers (they wrap)
// and rounds floats once.
//
//===----------------------------------------------------------------------===//

#ifndef NIBBLE_LIB_REFERENCE_STRIDED_H
#define NIBBLE_LIB_REFERENCE_STRIDED_H

#include "Evaluation.h"

#include <array>

namespace nibble::reference {

/// Elements between neighbours of each dimension, row-major.
Shape rowMajorStrides(ArrayRef<int64_t> shape);
/// Numpy broadcasting; no value if the shapes do not fit together.
std::optional<Shape> broadcastShapes(ArrayRef<int64_t> a, ArrayRef<int64_t> b);
/// Strides with which a tensor of `shape` is read as one of `target` (to which
/// it broadcasts): 0 where it repeats.
Shape broadcastStrides(ArrayRef<int64_t> shape, ArrayRef<int64_t> target);
/// Product of the dimensions [begin, end).
int64_t productOf(ArrayRef<int64_t> shape, size_t begin = 0,
                  size_t end = SIZE_MAX);
/// "2x3xf32"
std::string describe(const Tensor &tensor);

/// An index space that N tensors are walked in together.
template <size_t N> class IndexSpace {
public:
  IndexSpace(ArrayRef<int64_t> shape, const std::array<Shape, N> &strides) {
    for (size_t i = 0; i < shape.size(); ++i) {
      if (shape[i] == 0)
        empty = true;
      if (shape[i] == 1)
        continue;
      bool merges = !sizes.empty();
      for (size_t t = 0; t < N && merges; ++t)
        merges = steps[t].back() == strides[t][i] * shape[i];
      if (merges)
        sizes.back() *= shape[i];
      else
        sizes.push_back(shape[i]);
      for (size_t t = 0; t < N; ++t) {
        if (merges)
          steps[t].back() = strides[t][i];
        else
          steps[t].push_back(strides[t][i]);
      }
    }
    if (sizes.empty()) {
      sizes.push_back(1);
      for (size_t t = 0; t < N; ++t)
        steps[t].push_back(0);
    }
  }

  /// Calls visit(offsets, strides, count) for each run, in row-major order.
  template <typename Visit>
  void forEachRun(std::array<int64_t, N> offsets, Visit visit) const {
    if (empty)
      return;
    size_t inner = sizes.size() - 1;
    std::array<int64_t, N> strides;
    for (size_t t = 0; t < N; ++t)
      strides[t] = steps[t][inner];
    llvm::SmallVector<int64_t, 8> position(inner, 0);
    while (true) {
      visit(offsets, strides, sizes[inner]);
      size_t dim = inner;
      for (; dim > 0; --dim) {
        size_t d = dim - 1;
        for (size_t t = 0; t < N; ++t)
          offsets[t] += steps[t][d];
        if (++position[d] < sizes[d])
          break;
        for (size_t t = 0; t < N; ++t)
          offsets[t] -= steps[t][d] * sizes[d];
        position[d] = 0;
      }
      if (dim == 0)
        return;
    }
  }

private:
  bool empty = false;
  llvm::SmallVector<int64_t, 8> sizes;
  std::array<llvm::SmallVector<int64_t, 8>, N> steps;
};

/// f32 for floats of up to 32 bits, f64, ui64 for itself, else si64.
ElementType computeType(ElementType type);
/// Calls `f` with a zero of the C++ type of a compute type.
template <typename F> auto dispatch(ElementType type, F f) {
  if (type == ElementType::float32())
    return f(float());
  if (type == ElementType::float64())
    return f(double());
  if (type == ElementType::unsignedInt(64))
    return f(uint64_t());
  return f(int64_t());
}
template <typename T> constexpr ElementType elementTypeOf() {
  if constexpr (std::is_same_v<T, float>)
    return ElementType::float32();
  else if constexpr (std::is_same_v<T, double>)
    return ElementType::float64();
  else if constexpr (std::is_same_v<T, uint64_t>)
    return ElementType::unsignedInt(64);
  else
    return ElementType::signedInt(64);
}

/// To the compute type, exactly.
Tensor widen(const Tensor &tensor);
/// From a compute type to `type` of the same kind: integers keep their low
/// bits, floats round to nearest even.
Tensor narrow(const Tensor &tensor, ElementType type);
/// Between any types, as ONNX Cast: floats become integers by truncation
/// (saturating), anything but zero is true.
Tensor cast(const Tensor &tensor, ElementType type);
/// Elements of less than a byte widened to one, exactly, so that they have
/// addresses.
Tensor withBytes(const Tensor &tensor);

/// A dense copy of elements of `x` (at least a byte each): element i of the
/// result is at offset + sum i[d] * strides[d] of `x`, which must be inside.
FailureOr<Tensor> copyStrided(const Call &call, const Tensor &x, Shape shape,
                              const Shape &strides, int64_t offset = 0);
/// `x` repeated to `shape`, to which it must broadcast.
FailureOr<Tensor> expand(const Call &call, const Tensor &x, const Shape &shape);
FailureOr<Tensor> transpose(const Call &call, const Tensor &x,
                            ArrayRef<int64_t> permutation);

} // namespace nibble::reference

#endif // NIBBLE_LIB_REFERENCE_STRIDED_H
