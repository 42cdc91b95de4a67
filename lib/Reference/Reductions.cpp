//===- Reductions.cpp - Sums, extremes, softmax --------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// ONNX operators that combine the elements along dimensions. Floats are summed
// in float64, so that a long sum is as good as its result type.
//
//===----------------------------------------------------------------------===//

#include "Strided.h"

#include <cmath>
#include <limits>

namespace nibble::reference {

namespace {
/// Which dimensions of a tensor are kept and which are combined.
struct ReducedSpace {
  Shape kept, keptStrides, reduced, reducedStrides, result;

  ReducedSpace(const Shape &shape, ArrayRef<int64_t> axes, bool keepDims) {
    Shape dense = rowMajorStrides(shape);
    for (size_t i = 0; i < shape.size(); ++i) {
      bool isReduced = llvm::is_contained(axes, static_cast<int64_t>(i));
      (isReduced ? reduced : kept).push_back(shape[i]);
      (isReduced ? reducedStrides : keptStrides).push_back(dense[i]);
      if (!isReduced)
        result.push_back(shape[i]);
      else if (keepDims)
        result.push_back(1);
    }
  }

  /// visit(element): every combined element of the group at `offset`.
  template <typename T, typename Visit>
  static void forEach(const IndexSpace<1> &group, const T *data, int64_t offset,
                      Visit visit) {
    group.forEachRun({offset}, [&](auto at, auto step, int64_t count) {
      const T *from = data + at[0];
      for (int64_t i = 0; i < count; ++i)
        visit(from[i * step[0]]);
    });
  }
};

/// Accumulators: a start value, a step, and a last step on n elements. A is
/// double for floats, else the integer type.
struct SumOf {
  template <typename A> static A start() { return 0; }
  template <typename A> static A step(A a, A x) { return a + x; }
  template <typename A> static A finish(A a, uint64_t) { return a; }
};
struct MeanOf : SumOf {
  template <typename A> static A finish(A a, uint64_t n) {
    if constexpr (std::is_integral_v<A>)
      return n ? a / static_cast<A>(n) : 0;
    else
      return a / static_cast<A>(n);
  }
};
struct ProductOf : SumOf {
  template <typename A> static A start() { return 1; }
  template <typename A> static A step(A a, A x) { return a * x; }
};
struct MaxOf : SumOf {
  template <typename A> static A start() {
    return std::numeric_limits<A>::has_infinity
               ? -std::numeric_limits<A>::infinity()
               : std::numeric_limits<A>::lowest();
  }
  template <typename A> static A step(A a, A x) {
    return x > a || x != x ? x : a;
  }
};
struct MinOf : SumOf {
  template <typename A> static A start() {
    return std::numeric_limits<A>::has_infinity
               ? std::numeric_limits<A>::infinity()
               : std::numeric_limits<A>::max();
  }
  template <typename A> static A step(A a, A x) {
    return x < a || x != x ? x : a;
  }
};
struct L1Of : SumOf {
  template <typename A> static A step(A a, A x) { return a + (x < 0 ? -x : x); }
};
struct SumSquareOf : SumOf {
  template <typename A> static A step(A a, A x) { return a + x * x; }
};
struct L2Of : SumSquareOf {
  template <typename A> static A finish(A a, uint64_t) {
    return static_cast<A>(std::sqrt(static_cast<double>(a)));
  }
};
struct LogSumOf : SumOf {
  template <typename A> static A finish(A a, uint64_t) {
    return static_cast<A>(std::log(static_cast<double>(a)));
  }
};
} // namespace

/// The axes to reduce: all of them if none are named, unless
/// `noop_with_empty_axes`; no value then.
static FailureOr<std::optional<llvm::SmallVector<int64_t>>>
reducedAxes(const NodeCall &call) {
  auto axes = call.axesOf(1, "axes", call[0].rank());
  if (failed(axes) || (*axes && !(*axes)->empty()))
    return axes;
  if (call.intAttribute("noop_with_empty_axes", 0)) {
    *axes = std::nullopt;
    return axes;
  }
  *axes = llvm::SmallVector<int64_t>();
  for (int64_t i = 0; i < call[0].rank(); ++i)
    (*axes)->push_back(i);
  return axes;
}

template <typename Op> static Results reduce(const NodeCall &call) {
  const Tensor &x = call[0];
  auto axes = reducedAxes(call);
  if (failed(axes))
    return failure();
  // Without axes the elements are groups of one: the step and the last step
  // still apply (L1 takes the absolute value).
  ReducedSpace space(x.shape(), *axes ? **axes : llvm::SmallVector<int64_t>(),
                     call.intAttribute("keepdims", 1));
  Tensor wide = widen(x);
  FailureOr<Tensor> result = call.allocate(wide.type(), space.result);
  if (failed(result))
    return failure();
  dispatch(wide.type(), [&](auto zero) {
    using T = decltype(zero);
    using A = std::conditional_t<std::is_integral_v<T>, T, double>;
    const T *data = wide.as<T>().data();
    T *target = result->asMutable<T>().data();
    IndexSpace<1> group(space.reduced, {space.reducedStrides});
    uint64_t count = productOf(space.reduced);
    IndexSpace<1>(space.kept, {space.keptStrides})
        .forEachRun({0}, [&](auto at, auto step, int64_t run) {
          for (int64_t i = 0; i < run; ++i) {
            A sum = Op::template start<A>();
            ReducedSpace::forEach(group, data, at[0] + i * step[0], [&](T v) {
              sum = Op::template step<A>(sum, static_cast<A>(v));
            });
            *target++ = static_cast<T>(Op::template finish<A>(sum, count));
          }
        });
  });
  return std::vector<Tensor>{narrow(*result, x.type())};
}

/// log(sum(exp(x))), with the largest element taken out against overflow.
static Results logSumExp(const NodeCall &call) {
  const Tensor &x = call[0];
  auto axes = reducedAxes(call);
  if (failed(axes))
    return failure();
  if (!*axes)
    return std::vector<Tensor>{x};
  ReducedSpace space(x.shape(), **axes, call.intAttribute("keepdims", 1));
  Tensor wide = cast(x, ElementType::float64());
  FailureOr<Tensor> result = call.allocate(wide.type(), space.result);
  if (failed(result))
    return failure();
  const double *data = wide.as<double>().data();
  double *target = result->asMutable<double>().data();
  IndexSpace<1> group(space.reduced, {space.reducedStrides});
  IndexSpace<1>(space.kept, {space.keptStrides})
      .forEachRun({0}, [&](auto at, auto step, int64_t run) {
        for (int64_t i = 0; i < run; ++i) {
          int64_t offset = at[0] + i * step[0];
          double largest = -std::numeric_limits<double>::infinity(), sum = 0;
          ReducedSpace::forEach(group, data, offset, [&](double v) {
            largest = std::max(largest, v);
          });
          double shift = std::isfinite(largest) ? largest : 0;
          ReducedSpace::forEach(group, data, offset,
                                [&](double v) { sum += std::exp(v - shift); });
          *target++ = std::log(sum) + shift;
        }
      });
  return std::vector<Tensor>{cast(*result, x.type())};
}

/// Index of the largest (or smallest) element; the first of equals unless
/// `select_last_index`.
template <bool largest> static Results argExtreme(const NodeCall &call) {
  const Tensor &x = call[0];
  FailureOr<int64_t> axis = call.axis(call.intAttribute("axis", 0), x.rank());
  if (failed(axis))
    return failure();
  if (x.shape()[*axis] == 0)
    return call.error() << "expects elements along dimension " << *axis;
  bool last = call.intAttribute("select_last_index", 0);
  ReducedSpace space(x.shape(), {*axis}, call.intAttribute("keepdims", 1));
  Tensor wide = widen(x);
  Tensor result = Tensor::allocate(ElementType::signedInt(64), space.result);
  dispatch(wide.type(), [&](auto zero) {
    using T = decltype(zero);
    const T *data = wide.as<T>().data();
    int64_t *target = result.asMutable<int64_t>().data();
    IndexSpace<1> group(space.reduced, {space.reducedStrides});
    IndexSpace<1>(space.kept, {space.keptStrides})
        .forEachRun({0}, [&](auto at, auto step, int64_t run) {
          for (int64_t i = 0; i < run; ++i) {
            int64_t best = -1, index = 0;
            T value{};
            ReducedSpace::forEach(group, data, at[0] + i * step[0], [&](T v) {
              bool better = best < 0 || (largest ? v > value : v < value) ||
                            (last && v == value);
              if (better) {
                best = index;
                value = v;
              }
              ++index;
            });
            *target++ = best;
          }
        });
  });
  return std::vector<Tensor>{result};
}

//===----------------------------------------------------------------------===//
// Softmax, CumSum, CumProd, Hardmax
//===----------------------------------------------------------------------===//

/// exp(x - max) / sum over `count` elements `step` apart, or its logarithm.
template <typename T>
static void softmaxRow(const T *x, T *y, int64_t count, int64_t step,
                       bool logarithm) {
  T largest = -std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < count; ++i)
    largest = std::max(largest, x[i * step]);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    y[i * step] = std::exp(x[i * step] - largest);
    sum += y[i * step];
  }
  if (logarithm) {
    T logSum = static_cast<T>(std::log(sum));
    for (int64_t i = 0; i < count; ++i)
      y[i * step] = x[i * step] - largest - logSum;
    return;
  }
  T inverse = static_cast<T>(1 / sum);
  for (int64_t i = 0; i < count; ++i)
    y[i * step] *= inverse;
}

template <bool logarithm> static Results softmax(const NodeCall &call) {
  const Tensor &x = call[0];
  if (!x.type().isFloat())
    return call.error() << "expects floats, got " << describe(x);
  // Up to opset 12 the tensor is a matrix split at `axis`, and rows are
  // normalized as a whole.
  bool coerced = call.version() < 13;
  int64_t given = call.intAttribute("axis", coerced ? 1 : -1);
  int64_t axis = given < 0 ? given + x.rank() : given;
  if (axis < 0 || axis > x.rank() || (!coerced && axis == x.rank()))
    return call.error() << "expects 'axis' to be a dimension of " << describe(x)
                        << ", got " << given;
  int64_t outer = productOf(x.shape(), 0, axis);
  int64_t count = coerced ? productOf(x.shape(), axis) : x.shape()[axis];
  int64_t inner = coerced ? 1 : productOf(x.shape(), axis + 1);
  Tensor wide = widen(x);
  FailureOr<Tensor> result = call.allocate(wide.type(), wide.shape());
  if (failed(result))
    return failure();
  auto run = [&](auto zero) {
    using T = decltype(zero);
    const T *source = wide.as<T>().data();
    T *target = result->template asMutable<T>().data();
    for (int64_t i = 0; i < outer; ++i)
      for (int64_t j = 0; j < inner; ++j)
        softmaxRow(source + i * count * inner + j,
                   target + i * count * inner + j, count, inner, logarithm);
  };
  if (wide.type() == ElementType::float64())
    run(double());
  else
    run(float());
  return std::vector<Tensor>{narrow(*result, x.type())};
}

/// Sums or products of all elements up to each.
template <bool isProduct> static Results cumulate(const NodeCall &call) {
  const Tensor &x = call[0];
  auto given = call.integers(1);
  if (failed(given))
    return failure();
  if (given->size() != 1)
    return call.error() << "expects one axis, got " << given->size();
  FailureOr<int64_t> axis = call.axis(given->front(), x.rank());
  if (failed(axis))
    return failure();
  bool exclusive = call.intAttribute("exclusive", 0);
  bool reverse = call.intAttribute("reverse", 0);
  int64_t outer = productOf(x.shape(), 0, *axis), count = x.shape()[*axis],
          inner = productOf(x.shape(), *axis + 1);
  Tensor wide = widen(x);
  Tensor result = Tensor::allocate(wide.type(), wide.shape());
  dispatch(wide.type(), [&](auto zero) {
    using T = decltype(zero);
    using A = std::conditional_t<std::is_integral_v<T>, T, double>;
    const T *source = wide.as<T>().data();
    T *target = result.asMutable<T>().data();
    for (int64_t i = 0; i < outer; ++i)
      for (int64_t j = 0; j < inner; ++j) {
        A total = isProduct ? 1 : 0;
        for (int64_t k = 0; k < count; ++k) {
          int64_t position = reverse ? count - 1 - k : k;
          int64_t at = (i * count + position) * inner + j;
          T value = source[at];
          A next = isProduct ? total * value : total + value;
          target[at] = static_cast<T>(exclusive ? total : next);
          total = next;
        }
      }
  });
  return std::vector<Tensor>{narrow(result, x.type())};
}

/// 1 at the first largest element along the axis, 0 elsewhere; up to opset 12
/// along the axis and all that follow.
static Results hardmax(const NodeCall &call) {
  const Tensor &x = call[0];
  bool coerced = call.version() < 13;
  FailureOr<int64_t> axis =
      call.axis(call.intAttribute("axis", coerced ? 1 : -1), x.rank());
  if (failed(axis) || !x.type().isFloat())
    return call.error() << "expects floats and one of their dimensions, got "
                        << describe(x);
  int64_t outer = productOf(x.shape(), 0, *axis);
  int64_t count = coerced ? productOf(x.shape(), *axis) : x.shape()[*axis];
  int64_t inner = coerced ? 1 : productOf(x.shape(), *axis + 1);
  Tensor result = Tensor::allocate(x.type(), x.shape());
  for (int64_t i = 0; i < outer; ++i)
    for (int64_t j = 0; j < inner && count > 0; ++j) {
      int64_t first = i * count * inner + j, best = 0;
      for (int64_t k = 1; k < count; ++k)
        if (x.numberAt(first + k * inner) > x.numberAt(first + best * inner))
          best = k;
      result.setNumberAt(first + best * inner, 1);
    }
  return std::vector<Tensor>{result};
}

void addReductionNodes(NodeTable &table) {
  table["ReduceSum"] = {reduce<SumOf>, 1};
  table["ReduceMean"] = {reduce<MeanOf>, 1};
  table["ReduceProd"] = {reduce<ProductOf>, 1};
  table["ReduceMax"] = {reduce<MaxOf>, 1};
  table["ReduceMin"] = {reduce<MinOf>, 1};
  table["ReduceL1"] = {reduce<L1Of>, 1};
  table["ReduceL2"] = {reduce<L2Of>, 1};
  table["ReduceSumSquare"] = {reduce<SumSquareOf>, 1};
  table["ReduceLogSum"] = {reduce<LogSumOf>, 1};
  table["ReduceLogSumExp"] = {logSumExp, 1};
  table["ArgMax"] = {argExtreme<true>, 1};
  table["ArgMin"] = {argExtreme<false>, 1};
  table["Softmax"] = {softmax<false>, 1};
  table["LogSoftmax"] = {softmax<true>, 1};
  table["CumSum"] = {cumulate<false>, 2};
  table["CumProd"] = {cumulate<true>, 2};
  table["Hardmax"] = {hardmax, 1};
}

} // namespace nibble::reference
