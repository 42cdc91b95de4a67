//===- Products.cpp - Matrix products -------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// See Products.h. The ONNX operators that are products of float matrices:
// MatMul, Gemm, Einsum.
//
//===----------------------------------------------------------------------===//

#include "Products.h"

#include "Elementwise.h"

#include "nibble/dialects/Onnx/Einsum.h"

#include "llvm/ADT/StringExtras.h"

#include <cblas.h>
#include <cmath>
#include <limits>
#include <mutex>

namespace nibble::reference {

/// Below this many multiplications calling BLAS does not pay.
static constexpr int64_t blasThreshold = 1 << 15;

static void useOneBlasThread() {
  static std::once_flag once;
  std::call_once(once, [] { openblas_set_num_threads(1); });
}

template <typename T>
void multiplyMatrices(const T *a, int64_t aRow, const T *b, int64_t bRow, T *c,
                      int64_t cRow, int64_t m, int64_t n, int64_t k,
                      bool transposed) {
  if constexpr (std::is_floating_point_v<T>) {
    constexpr int64_t largest = std::numeric_limits<blasint>::max();
    if (m * n * k >= blasThreshold &&
        std::max({m, n, k, aRow, bRow, cRow}) <= largest) {
      useOneBlasThread();
      auto transposeB = transposed ? CblasTrans : CblasNoTrans;
      if constexpr (std::is_same_v<T, float>)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, transposeB, m, n, k, 1, a,
                    aRow, b, bRow, 0, c, cRow);
      else
        cblas_dgemm(CblasRowMajor, CblasNoTrans, transposeB, m, n, k, 1, a,
                    aRow, b, bRow, 0, c, cRow);
      return;
    }
  }
  // Integers wrap, so they are summed as unsigned numbers.
  using A = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
  int64_t inStep = transposed ? 1 : bRow, outStep = transposed ? bRow : 1;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      A sum = 0;
      for (int64_t l = 0; l < k; ++l)
        sum += static_cast<A>(a[i * aRow + l]) *
               static_cast<A>(b[l * inStep + j * outStep]);
      c[i * cRow + j] = static_cast<T>(sum);
    }
}

template void multiplyMatrices<float>(const float *, int64_t, const float *,
                                      int64_t, float *, int64_t, int64_t,
                                      int64_t, int64_t, bool);
template void multiplyMatrices<double>(const double *, int64_t, const double *,
                                       int64_t, double *, int64_t, int64_t,
                                       int64_t, int64_t, bool);

//===----------------------------------------------------------------------===//
// MatMul and linear
//===----------------------------------------------------------------------===//

FailureOr<Tensor> matmul(const Call &call, const Tensor &a, const Tensor &b) {
  Shape left = a.shape(), right = b.shape();
  bool vectorLeft = left.size() == 1, vectorRight = right.size() == 1;
  if (vectorLeft)
    left.insert(left.begin(), 1);
  if (vectorRight)
    right.push_back(1);
  auto mismatch = [&] {
    return call.error() << "expects matrices that multiply, got " << describe(a)
                        << " and " << describe(b);
  };
  if (a.type() != b.type() || left.size() < 2 || right.size() < 2 ||
      left.back() != right[right.size() - 2])
    return mismatch();
  int64_t m = left[left.size() - 2], k = left.back(), n = right.back();
  ArrayRef<int64_t> leftBatch = ArrayRef<int64_t>(left).drop_back(2);
  ArrayRef<int64_t> rightBatch = ArrayRef<int64_t>(right).drop_back(2);
  auto batch = broadcastShapes(leftBatch, rightBatch);
  if (!batch)
    return mismatch();
  Shape shape = *batch;
  if (!vectorLeft)
    shape.push_back(m);
  if (!vectorRight)
    shape.push_back(n);
  Tensor x = widen(a), y = widen(b);
  FailureOr<Tensor> result = call.allocate(x.type(), shape);
  if (failed(result))
    return failure();
  Shape leftStrides = broadcastStrides(leftBatch, *batch);
  Shape rightStrides = broadcastStrides(rightBatch, *batch);
  // One weight for all batches: one product with all rows at once.
  if (productOf(rightBatch) == 1 && productOf(leftBatch) == productOf(*batch)) {
    m *= productOf(*batch);
    batch->clear();
    leftStrides.clear();
    rightStrides.clear();
  }
  for (int64_t &stride : leftStrides)
    stride *= left[left.size() - 2] * k;
  for (int64_t &stride : rightStrides)
    stride *= k * n;
  dispatch(x.type(), [&](auto zero) {
    using T = decltype(zero);
    const T *from = x.as<T>().data(), *with = y.as<T>().data();
    T *to = result->asMutable<T>().data();
    IndexSpace<2>(*batch, {leftStrides, rightStrides})
        .forEachRun({0, 0}, [&](auto at, auto step, int64_t count) {
          for (int64_t i = 0; i < count; ++i, to += m * n)
            multiplyMatrices(
                from + at[0] + i * step[0], std::max<int64_t>(k, 1),
                with + at[1] + i * step[1], std::max<int64_t>(n, 1), to,
                std::max<int64_t>(n, 1), m, n, k, false);
        });
  });
  return narrow(*result, a.type());
}

FailureOr<Tensor> linear(const Call &call, const Tensor &x,
                         const Tensor &weight, const Tensor *bias) {
  if (x.rank() < 1 || weight.rank() != 2 || !x.type().isFloat() ||
      !weight.type().isFloat() || x.shape().back() != weight.shape()[1])
    return call.error() << "expects floats [..., in] and [out, in], got "
                        << describe(x) << " and " << describe(weight);
  int64_t in = weight.shape()[1], out = weight.shape()[0];
  Shape shape = x.shape();
  shape.back() = out;
  // A weight may be stored in fewer bits than x has.
  Tensor input = widen(x), matrix = cast(weight, input.type());
  FailureOr<Tensor> result = call.allocate(input.type(), shape);
  if (failed(result))
    return failure();
  auto run = [&](auto zero) {
    using T = decltype(zero);
    multiplyMatrices(input.as<T>().data(), std::max<int64_t>(in, 1),
                     matrix.as<T>().data(), std::max<int64_t>(in, 1),
                     result->template asMutable<T>().data(),
                     std::max<int64_t>(out, 1),
                     productOf(shape, 0, shape.size() - 1), out, in, true);
  };
  if (input.type() == ElementType::float64())
    run(double());
  else
    run(float());
  if (!bias)
    return narrow(*result, x.type());
  FailureOr<Tensor> sum = add(call, *result, cast(*bias, input.type()));
  if (failed(sum))
    return failure();
  return narrow(*sum, x.type());
}

static Results matmulNode(const NodeCall &call) {
  FailureOr<Tensor> result = matmul(call, call[0], call[1]);
  if (failed(result))
    return failure();
  return std::vector<Tensor>{*result};
}

/// `factor` as a scalar in the compute type of `tensor`, multiplied in.
static FailureOr<Tensor> scaleBy(const Call &call, const Tensor &tensor,
                                 double factor) {
  if (factor == 1)
    return tensor;
  Tensor scalar = Tensor::allocate(tensor.type(), {});
  scalar.setNumberAt(0, factor);
  return multiply(call, tensor, scalar);
}

/// com.microsoft: alpha op(A) op(B), op a transpose of the last two dimensions.
static Results fusedMatmul(const NodeCall &call) {
  if (call.intAttribute("transBatchA", 0) ||
      call.intAttribute("transBatchB", 0))
    return call.error() << "has no reference with transposed batches";
  auto operand = [&](size_t index, llvm::StringRef name) -> FailureOr<Tensor> {
    const Tensor &x = call[index];
    if (!call.intAttribute(name, 0) || x.rank() < 2)
      return x;
    llvm::SmallVector<int64_t> order(x.rank());
    for (int64_t i = 0; i < x.rank(); ++i)
      order[i] = i;
    std::swap(order[x.rank() - 1], order[x.rank() - 2]);
    return transpose(call, x, order);
  };
  FailureOr<Tensor> a = operand(0, "transA"), b = operand(1, "transB");
  if (failed(a) || failed(b))
    return failure();
  FailureOr<Tensor> y = matmul(call, *a, *b);
  if (failed(y))
    return failure();
  Tensor alpha = Tensor::allocate(y->type(), {});
  alpha.setNumberAt(0, call.floatAttribute("alpha", 1));
  y = multiply(call, *y, alpha);
  if (failed(y))
    return failure();
  return std::vector<Tensor>{*y};
}

static Results gemm(const NodeCall &call) {
  for (int i = 0; i < 2; ++i)
    if (call[i].rank() != 2)
      return call.error() << "expects matrices, got " << describe(call[i]);
  FailureOr<Tensor> a = widen(call[0]), b = widen(call[1]);
  if (call.intAttribute("transA", 0))
    a = transpose(call, *a, {1, 0});
  if (call.intAttribute("transB", 0))
    b = transpose(call, *b, {1, 0});
  if (failed(a) || failed(b))
    return failure();
  FailureOr<Tensor> product = matmul(call, *a, *b);
  if (failed(product))
    return failure();
  product = scaleBy(call, *product, call.floatAttribute("alpha", 1));
  if (failed(product))
    return failure();
  if (const Tensor *c = call.operand(2)) {
    FailureOr<Tensor> bias =
        scaleBy(call, widen(*c), call.floatAttribute("beta", 1));
    if (failed(bias))
      return failure();
    Shape shape = product->shape();
    product = add(call, *product, *bias);
    if (failed(product))
      return failure();
    if (product->shape() != shape)
      return call.error() << "expects C to broadcast to "
                          << nibble::describe(c->type(), shape) << ", got "
                          << describe(*c);
  }
  return std::vector<Tensor>{narrow(*product, call[0].type())};
}

//===----------------------------------------------------------------------===//
// Einsum
//===----------------------------------------------------------------------===//

static Results einsum(const NodeCall &call) {
  std::string equation = call.node.stringAttribute("equation", "").str();
  llvm::SmallVector<int64_t> ranks;
  for (size_t i = 0; i < call.operands.size(); ++i) {
    if (!call.operand(i))
      return call.error() << "expects operand #" << i << " to be present";
    ranks.push_back(call[i].rank());
  }
  FailureOr<onnx::Einsum> parsed =
      call.take(onnx::parseEinsum(equation, ranks));
  if (failed(parsed))
    return failure();
  const std::vector<std::string> &terms = parsed->inputs;
  std::map<char, int64_t> sizes;
  for (size_t i = 0; i < terms.size(); ++i) {
    if (call[i].type() != call[0].type())
      return call.error() << "expects operands of one type, got "
                          << describe(call[0]) << " and " << describe(call[i]);
    for (size_t d = 0; d < terms[i].size(); ++d) {
      int64_t &size = sizes.try_emplace(terms[i][d], 1).first->second;
      if (size != 1 && call[i].shape()[d] != 1 && size != call[i].shape()[d])
        return call.error()
               << "index '" << terms[i][d] << "' of '" << equation
               << "' has sizes " << size << " and " << call[i].shape()[d];
      if (size == 1)
        size = call[i].shape()[d];
    }
  }
  Shape shape, space;
  for (char letter : parsed->output)
    shape.push_back(sizes[letter]);
  std::string order = parsed->output + parsed->summed;
  for (char letter : order)
    space.push_back(sizes[letter]);
  auto count = elementCount(space);
  if (!count)
    return call.error() << "has too many products";
  bool isFloat = call[0].type().isFloat();
  ElementType wide =
      isFloat ? ElementType::float64() : ElementType::signedInt(64);
  FailureOr<Tensor> result = call.allocate(wide, shape);
  if (failed(result))
    return failure();
  // Element by element: the reference of an operator that is rare in decoders.
  std::vector<Tensor> inputs;
  std::vector<Shape> strides;
  for (size_t i = 0; i < terms.size(); ++i) {
    inputs.push_back(cast(call[i], wide));
    Shape dense = rowMajorStrides(call[i].shape()), steps(order.size(), 0);
    for (size_t d = 0; d < terms[i].size(); ++d)
      if (call[i].shape()[d] != 1)
        steps[order.find(terms[i][d])] += dense[d];
    strides.push_back(steps);
  }
  uint64_t inner = std::max<uint64_t>(1, productOf(space, shape.size()));
  auto run = [&](auto zero) {
    using T = decltype(zero);
    using A = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
    std::span<T> target = result->template asMutable<T>();
    for (uint64_t i = 0; i < *count; ++i) {
      A product = 1;
      for (size_t t = 0; t < inputs.size(); ++t) {
        uint64_t rest = i;
        int64_t at = 0;
        for (size_t d = space.size(); d-- > 0; rest /= space[d])
          at += static_cast<int64_t>(rest % space[d]) * strides[t][d];
        product *= static_cast<A>(inputs[t].as<T>()[at]);
      }
      target[i / inner] =
          static_cast<T>(static_cast<A>(target[i / inner]) + product);
    }
  };
  if (isFloat)
    run(double());
  else
    run(int64_t());
  return std::vector<Tensor>{cast(*result, call[0].type())};
}

void addProductNodes(NodeTable &table) {
  table["MatMul"] = {matmulNode, 2};
  table["com.microsoft.FusedMatMul"] = {fusedMatmul, 2};
  table["Gemm"] = {gemm, 2};
  table["Einsum"] = {einsum, 1};
}

} // namespace nibble::reference
