//===- Products.cpp - Matrix products -------------------------------------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// See Products.h. The ONNX operators that are products of matrices: MatMul,
// Gemm, MatMulInteger, Einsum.
//
//===----------------------------------------------------------------------===//

#include "Products.h"

#include "Elementwise.h"

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
  if (x.rank() < 1 || weight.rank() != 2 || x.type() != weight.type() ||
      x.shape().back() != weight.shape()[1])
    return call.error() << "expects [..., in] and [out, in] of one type, got "
                        << describe(x) << " and " << describe(weight);
  int64_t in = weight.shape()[1], out = weight.shape()[0];
  Shape shape = x.shape();
  shape.back() = out;
  Tensor input = widen(x), matrix = widen(weight);
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
  FailureOr<Tensor> sum = add(call, *result, widen(*bias));
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

/// A x B with the zero points taken off; those of A per row, of B per column.
static Results matmulInteger(const NodeCall &call) {
  Tensor matrices[2];
  for (int i : {0, 1}) {
    if (call[i].type().isFloat())
      return call.error() << "expects integers, got " << describe(call[i]);
    matrices[i] = cast(call[i], ElementType::signedInt(64));
    const Tensor *zero = call.operand(i + 2);
    if (!zero)
      continue;
    Tensor negated = cast(*zero, ElementType::signedInt(64)).clone();
    if (negated.size() == 1)
      negated = negated.reshaped({});
    else if (i == 0 && negated.rank() == 1)
      negated = negated.reshaped({static_cast<int64_t>(negated.size()), 1});
    for (int64_t &value : negated.asMutable<int64_t>())
      value = -value;
    Shape shape = matrices[i].shape();
    FailureOr<Tensor> shifted = add(call, matrices[i], negated);
    if (failed(shifted))
      return failure();
    if (shifted->shape() != shape)
      return call.error() << "expects a zero point per row or column of "
                          << describe(call[i]) << ", got " << describe(*zero);
    matrices[i] = *shifted;
  }
  FailureOr<Tensor> product = matmul(call, matrices[0], matrices[1]);
  if (failed(product))
    return failure();
  return std::vector<Tensor>{cast(*product, ElementType::signedInt(32))};
}

//===----------------------------------------------------------------------===//
// Einsum
//===----------------------------------------------------------------------===//

/// The letters of one term, with the dimensions of an ellipsis as digits.
static std::string expandTerm(std::string term, int64_t rank,
                              int64_t ellipsisRank) {
  size_t at = term.find("...");
  if (at == std::string::npos)
    return term;
  int64_t own =
      rank < 0 ? ellipsisRank : rank - static_cast<int64_t>(term.size() - 3);
  std::string digits;
  for (int64_t i = std::max<int64_t>(0, ellipsisRank - own); i < ellipsisRank;
       ++i)
    digits += static_cast<char>('0' + i);
  return term.replace(at, 3, digits);
}

static Results einsum(const NodeCall &call) {
  std::string equation;
  for (char c : call.node.stringAttribute("equation", ""))
    if (c != ' ')
      equation += c;
  size_t arrow = equation.find("->");
  llvm::SmallVector<llvm::StringRef> parts;
  llvm::StringRef left = llvm::StringRef(equation).substr(0, arrow);
  left.split(parts, ',');
  if (parts.size() != call.operands.size())
    return call.error() << "expects a term per operand in '" << equation << "'";
  // Dimensions that an ellipsis stands for, at most nine.
  int64_t ellipsisRank = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!call.operand(i))
      return call.error() << "expects operand #" << i << " to be present";
    if (parts[i].contains("..."))
      ellipsisRank = std::max<int64_t>(
          ellipsisRank,
          call[i].rank() - static_cast<int64_t>(parts[i].size() - 3));
  }
  if (ellipsisRank > 9)
    return call.error() << "expects an ellipsis of at most 9 dimensions";
  std::map<char, int64_t> sizes;
  std::vector<std::string> terms;
  for (size_t i = 0; i < parts.size(); ++i) {
    std::string term = expandTerm(parts[i].str(), call[i].rank(), ellipsisRank);
    if (static_cast<int64_t>(term.size()) != call[i].rank() ||
        call[i].type() != call[0].type())
      return call.error() << "term '" << parts[i] << "' does not describe "
                          << describe(call[i]);
    for (size_t d = 0; d < term.size(); ++d) {
      int64_t &size = sizes.try_emplace(term[d], 1).first->second;
      if (size != 1 && call[i].shape()[d] != 1 && size != call[i].shape()[d])
        return call.error()
               << "index '" << term[d] << "' of '" << equation << "' has sizes "
               << size << " and " << call[i].shape()[d];
      if (size == 1)
        size = call[i].shape()[d];
    }
    terms.push_back(term);
  }
  std::string output;
  if (arrow != std::string::npos) {
    output = expandTerm(equation.substr(arrow + 2), -1, ellipsisRank);
  } else {
    // Implicit: the ellipsis, then letters that occur once, sorted.
    std::string all = llvm::join(terms, "");
    for (auto [letter, size] : sizes)
      if ((letter >= '0' && letter <= '9') || llvm::count(all, letter) == 1)
        output += letter;
  }
  std::string order = output;
  Shape shape, space;
  for (char letter : output) {
    if (!sizes.count(letter) || llvm::count(output, letter) != 1)
      return call.error() << "output index '" << letter << "' of '" << equation
                          << "' is not an input index used once";
    shape.push_back(sizes[letter]);
  }
  for (auto [letter, size] : sizes)
    if (output.find(letter) == std::string::npos)
      order += letter;
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
  table["Gemm"] = {gemm, 2};
  table["MatMulInteger"] = {matmulInteger, 2};
  table["Einsum"] = {einsum, 1};
}

} // namespace nibble::reference
