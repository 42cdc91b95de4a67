//===- NodeDimsTest.cpp - Dimensions of the results of ONNX nodes ---------===//
//
// Part of Nibble, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every case is a function body over %x : [batch, past + seq, 64] and
// %y : [batch, seq, 64]; expectations were worked out by hand from the ONNX
// specification.
//
//===----------------------------------------------------------------------===//

#include "nibble/Support/Dims.h"
#include "nibble/dialects/Onnx/Onnx.h"
#include "nibble/dialects/Onnx/ShapeInputs.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/ADT/StringExtras.h"
#include "gtest/gtest.h"

using namespace mlir;
using namespace nibble;

namespace {

std::string join(const std::optional<std::vector<DimExpr>> &dims) {
  if (!dims)
    return "?";
  std::string result;
  for (const DimExpr &dim : *dims)
    result += (result.empty() ? "" : ", ") + dim.str();
  return result;
}

/// Dimensions and elements of the last op's first result.
struct Derived {
  std::string shape, elements;
};

Derived derive(const std::string &body) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<func::FuncDialect, nibble::onnx::OnnxDialect>();
  std::string text =
      "func.func @main(%x: tensor<?x?x64xf32> {qmodel.dims = [\"batch\", "
      "\"past + seq\", \"64\"]}, %y: tensor<?x?x64xf32> {qmodel.dims = "
      "[\"batch\", \"seq\", \"64\"]}) {\n" +
      body + "\n  return\n}\n";
  context.allowUnregisteredDialects();
  auto module = parseSourceString<ModuleOp>(text, &context);
  if (!module)
    return {"does not parse", ""};
  auto function = *module->getOps<func::FuncOp>().begin();
  DimsAnalysis dims;
  if (failed(dims.run(function)))
    return {"error", ""};
  Operation *last = function.getBody().front().getTerminator()->getPrevNode();
  const ValueDims &known = dims.of(last->getResult(0));
  return {join(known.shape), join(known.elements)};
}

/// `onnx.constant` of integers.
std::string constant(const std::string &name, std::vector<int64_t> values) {
  std::string list;
  for (int64_t value : values)
    list += (list.empty() ? "" : ", ") + std::to_string(value);
  return name + " = onnx.constant dense<[" + list + "]> : tensor<" +
         std::to_string(values.size()) + "xi64>\n";
}

const char shapeOfX[] = "%s = onnx.node \"Shape\"(%x) {version = 17 : i64} : "
                        "(tensor<?x?x64xf32>) -> tensor<3xi64>\n";

TEST(NodeDims, ShapeGivesElements) {
  EXPECT_EQ(derive(shapeOfX).elements, "batch, past + seq, 64");
}

TEST(NodeDims, ReshapeCopiesAndInfers) {
  std::string body =
      constant("%t", {0, 0, 8, -1}) +
      "%r = onnx.node \"Reshape\"(%x, %t) {version = 17 : i64} : "
      "(tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<*xf32>";
  EXPECT_EQ(derive(body).shape, "batch, past + seq, 8, 8");
}

TEST(NodeDims, ReshapeFlattensTokens) {
  std::string body = constant("%t", {-1, 64}) +
                     "%r = onnx.node \"Reshape\"(%y, %t) {version = 17 : i64} "
                     ": (tensor<?x?x64xf32>, tensor<2xi64>) -> tensor<*xf32>";
  EXPECT_EQ(derive(body).shape, "batch*seq, 64");
}

TEST(NodeDims, ReshapeRefusesTwoOpenDimensions) {
  std::string body = constant("%t", {-1, -1}) +
                     "%r = onnx.node \"Reshape\"(%y, %t) {version = 17 : i64} "
                     ": (tensor<?x?x64xf32>, tensor<2xi64>) -> tensor<*xf32>";
  EXPECT_EQ(derive(body).shape, "error");
}

TEST(NodeDims, ConcatAdds) {
  EXPECT_EQ(derive("%r = onnx.node \"Concat\"(%x, %y) attributes {axis = 1 : "
                   "i64} {version = 17 : i64} : (tensor<?x?x64xf32>, "
                   "tensor<?x?x64xf32>) -> tensor<*xf32>")
                .shape,
            "batch, past + 2*seq, 64");
}

/// Slices dimension `axis` of %x.
std::string slice(int64_t start, int64_t end, int64_t axis, int64_t step) {
  return derive(constant("%a", {start}) + constant("%b", {end}) +
                constant("%c", {axis}) + constant("%d", {step}) +
                "%r = onnx.node \"Slice\"(%x, %a, %b, %c, %d) {version = 17 : "
                "i64} : (tensor<?x?x64xf32>, tensor<1xi64>, tensor<1xi64>, "
                "tensor<1xi64>, tensor<1xi64>) -> tensor<*xf32>")
      .shape;
}

TEST(NodeDims, SliceClampsLikeNumpy) {
  EXPECT_EQ(slice(0, 32, -1, 1), "batch, past + seq, 32");
  EXPECT_EQ(slice(32, INT64_MAX, 2, 1), "batch, past + seq, 32");
  EXPECT_EQ(slice(-10, INT64_MAX, 2, 1), "batch, past + seq, 10");
  EXPECT_EQ(slice(0, -4, 2, 3), "batch, past + seq, 20");
  EXPECT_EQ(slice(-1, INT64_MIN, 2, -1), "batch, past + seq, 64");
  EXPECT_EQ(slice(62, 3, 2, -2), "batch, past + seq, 30");
  EXPECT_EQ(slice(0, INT64_MAX, 1, 1), "batch, past + seq, 64");
  EXPECT_EQ(slice(8, 4, 2, 1), "batch, past + seq, 0");
}

TEST(NodeDims, ExpandMaskIdiom) {
  // PyTorch writes expand(-1, ...) as Where(shape == -1, ones, shape).
  std::string body =
      std::string(shapeOfX) + constant("%m", {-1, -1, -1}) +
      constant("%o", {1, 1, 1}) +
      "%e = onnx.node \"Equal\"(%s, %m) {version = 17 : i64} : "
      "(tensor<3xi64>, tensor<3xi64>) -> tensor<3xi1>\n"
      "%w = onnx.node \"Where\"(%e, %o, %s) {version = 17 : i64} : "
      "(tensor<3xi1>, tensor<3xi64>, tensor<3xi64>) -> tensor<3xi64>";
  EXPECT_EQ(derive(body).elements, "batch, past + seq, 64");
}

TEST(NodeDims, MatMulBroadcasts) {
  std::string body =
      "%t = onnx.node \"Transpose\"(%x) attributes {perm = [0, 2, 1]} {version "
      "= 17 : i64} : (tensor<?x?x64xf32>) -> tensor<?x64x?xf32>\n"
      "%r = onnx.node \"MatMul\"(%y, %t) {version = 17 : i64} : "
      "(tensor<?x?x64xf32>, tensor<?x64x?xf32>) -> tensor<*xf32>";
  EXPECT_EQ(derive(body).shape, "batch, seq, past + seq");
}

TEST(NodeDims, DifferentSymbolsDoNotBroadcast) {
  EXPECT_EQ(derive("%r = onnx.node \"Add\"(%x, %y) {version = 17 : i64} : "
                   "(tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<*xf32>")
                .shape,
            "?");
}

TEST(NodeDims, SplitOfOpset18MayBeUneven) {
  EXPECT_EQ(derive("%r:3 = onnx.node \"Split\"(%y) attributes {axis = 2 : i64, "
                   "num_outputs = 3 : i64} {version = 18 : i64} : "
                   "(tensor<?x?x64xf32>) -> (tensor<*xf32>, tensor<*xf32>, "
                   "tensor<*xf32>)")
                .shape,
            "batch, seq, 22");
}

TEST(NodeDims, ReduceKeepsOrDrops) {
  EXPECT_EQ(derive("%r = onnx.node \"ReduceMean\"(%y) attributes {axes = [-1]} "
                   "{version = 17 : i64} : (tensor<?x?x64xf32>) -> "
                   "tensor<*xf32>")
                .shape,
            "batch, seq, 1");
  EXPECT_EQ(derive("%r = onnx.node \"ReduceMean\"(%y) attributes {axes = [0], "
                   "keepdims = 0 : i64} {version = 17 : i64} : "
                   "(tensor<?x?x64xf32>) -> tensor<*xf32>")
                .shape,
            "seq, 64");
}

TEST(NodeDims, PresentIsPastPlusAdded) {
  std::string body =
      constant("%t", {0, 0, 8, 8}) +
      "%k = onnx.node \"Reshape\"(%y, %t) {version = 23 : i64} : "
      "(tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<?x?x8x8xf32>\n"
      "%c = onnx.node \"Transpose\"(%k) attributes {perm = [0, 2, 1, 3]} "
      "{version = 23 : i64} : (tensor<?x?x8x8xf32>) -> tensor<?x8x?x8xf32>\n"
      "%n = onnx.none\n"
      "%a:2 = onnx.node \"Attention\"(%y, %y, %y, %n, %c, %c) attributes "
      "{q_num_heads = 8 : i64, kv_num_heads = 8 : i64} {version = 23 : i64} : "
      "(tensor<?x?x64xf32>, tensor<?x?x64xf32>, tensor<?x?x64xf32>, none, "
      "tensor<?x8x?x8xf32>, tensor<?x8x?x8xf32>) -> (tensor<*xf32>, "
      "tensor<*xf32>)\n"
      "%s = onnx.node \"Shape\"(%a#1) {version = 23 : i64} : (tensor<*xf32>) "
      "-> tensor<4xi64>";
  EXPECT_EQ(derive(body).elements, "batch, 8, 2*seq, 8");
}

TEST(NodeDims, StatesDoNotGrow) {
  std::string attention =
      "%a:2 = onnx.node \"LinearAttention\"(%y, %y, %y) attributes "
      "{q_num_heads = 16 : i64, kv_num_heads = 8 : i64, update_rule = "
      "\"linear\"} {version = 27 : i64} : (tensor<?x?x64xf32>, "
      "tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> (tensor<*xf32>, "
      "tensor<*xf32>)\n";
  auto shapeOf = [&](const std::string &body, const std::string &value) {
    return derive(body + "%s = onnx.node \"Shape\"(" + value +
                  ") {version = 23 : i64} : (tensor<*xf32>) -> tensor<?xi64>")
        .elements;
  };
  EXPECT_EQ(shapeOf(attention, "%a#0"), "batch, seq, 128");
  EXPECT_EQ(shapeOf(attention, "%a#1"), "batch, 8, 4, 8");
  std::string convolution =
      "%t = onnx.node \"Transpose\"(%y) attributes {perm = [0, 2, 1]} "
      "{version = 21 : i64} : (tensor<?x?x64xf32>) -> tensor<?x64x?xf32>\n"
      "%w = onnx.constant dense<1.0> : tensor<64x1x4xf32>\n"
      "%c:2 = onnx.node \"CausalConvWithState\"(%t, %w) {version = 27 : i64} "
      ": (tensor<?x64x?xf32>, tensor<64x1x4xf32>) -> (tensor<*xf32>, "
      "tensor<*xf32>)\n";
  EXPECT_EQ(shapeOf(convolution, "%c#0"), "batch, 64, seq");
  EXPECT_EQ(shapeOf(convolution, "%c#1"), "batch, 64, 3");
}

TEST(NodeDims, SizesThatDataDecideHaveNames) {
  auto nonZero = [](const std::string &sizes, const std::string &type) {
    return derive("%r = onnx.node \"NonZero\"(%x) {version = 13 : i64" + sizes +
                  "} : (tensor<?x?x64xf32>) -> " + type)
        .shape;
  };
  EXPECT_EQ(nonZero("", "tensor<3x?xi64>"), "?");
  std::string named = ", qmodel.sizes = [\"found\"]";
  EXPECT_EQ(nonZero(named, "tensor<3x?xi64>"), "3, found");
  // A declared size is not to be trusted; a name has to be one.
  EXPECT_EQ(nonZero(named, "tensor<3x7xi64>"), "3, found");
  EXPECT_EQ(nonZero(", qmodel.sizes = [\"1 + 1\"]", "tensor<3x?xi64>"), "?");
  EXPECT_EQ(nonZero(", qmodel.sizes = [7]", "tensor<3x?xi64>"), "?");
  auto unique = [&](const std::string &attributes) {
    return derive("%r = onnx.node \"Unique\"(%x) attributes {" + attributes +
                  "} {version = 11 : i64" + named +
                  "} : (tensor<?x?x64xf32>) -> tensor<*xf32>")
        .shape;
  };
  EXPECT_EQ(unique(""), "found");
  EXPECT_EQ(unique("axis = -1 : i64"), "batch, past + seq, found");
  EXPECT_EQ(unique("axis = 3 : i64"), "error");
}

TEST(NodeDims, UnknownOperatorsStayOpen) {
  EXPECT_EQ(derive("%r = onnx.node \"Strange\"(%y) {version = 17 : i64} : "
                   "(tensor<?x?x64xf32>) -> tensor<?xf32>")
                .shape,
            "?");
}

TEST(NodeDims, UnsqueezeRefusesAnAxisTwice) {
  EXPECT_EQ(derive(constant("%a", {0, 0}) +
                   "%r = onnx.node \"Unsqueeze\"(%x, %a) {version = 17 : i64} "
                   ": (tensor<?x?x64xf32>, tensor<2xi64>) -> tensor<*xf32>")
                .shape,
            "error");
}

// Sums of attributes must not wrap around.
TEST(NodeDims, GatherNDLeavesHugeBatchDimsOpen) {
  EXPECT_EQ(derive(constant("%i", {0}) +
                   "%r = onnx.node \"GatherND\"(%x, %i) attributes {batch_dims "
                   "= 9223372036854775807 : i64} {version = 17 : i64} : "
                   "(tensor<?x?x64xf32>, tensor<1xi64>) -> tensor<*xf32>")
                .shape,
            "?");
}

TEST(NodeDims, WhereWithOneOperandHasNoElements) {
  EXPECT_EQ(derive(constant("%c", {1}) +
                   "%r = onnx.node \"Where\"(%c) {version = 17 : i64} : "
                   "(tensor<1xi64>) -> tensor<1xi64>")
                .elements,
            "?");
}

TEST(NodeDims, TablesOfUnusualElementsAreNotPacked) {
  EXPECT_EQ(
      derive(constant("%i", {0, 1}) +
             "%t = onnx.node \"Table\"() {domain = \"com.example\", version = "
             "1 : i64} : () -> tensor<8x4xindex>\n"
             "%r = onnx.node \"GatherBlockQuantized\"(%t, %i) {domain = "
             "\"com.microsoft\", version = 1 : i64} : (tensor<8x4xindex>, "
             "tensor<2xi64>) -> tensor<*xf32>")
          .shape,
      "2, 4");
}

TEST(NodeDims, NegativeSizesAreRefused) {
  EXPECT_EQ(
      derive(constant("%s", {2, -5}) +
             "%r = onnx.node \"ConstantOfShape\"(%s) {version = 17 : i64} "
             ": (tensor<2xi64>) -> tensor<*xf32>")
          .shape,
      "error");
}

TEST(NodeDims, EinsumWithAnEllipsis) {
  EXPECT_EQ(derive("%r = onnx.node \"Einsum\"(%x, %y) attributes {equation = "
                   "\"...ld, ...sd -> ...ls\"} {version = 12 : i64} : "
                   "(tensor<?x?x64xf32>, tensor<?x?x64xf32>) -> tensor<*xf32>")
                .shape,
            "batch, past + seq, seq");
  EXPECT_EQ(derive("%r = onnx.node \"Einsum\"(%x) attributes {equation = "
                   "\"ab->ab\"} {version = 12 : i64} : "
                   "(tensor<?x?x64xf32>) -> tensor<*xf32>")
                .shape,
            "error");
}

/// Arguments of a function that decide shapes.
std::vector<unsigned> shapeArguments(const std::string &function) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<func::FuncDialect, nibble::onnx::OnnxDialect>();
  auto module = parseSourceString<ModuleOp>(function, &context);
  auto main = *module->getOps<func::FuncOp>().begin();
  DimsAnalysis dims;
  EXPECT_TRUE(succeeded(dims.run(main)));
  auto found = nibble::onnx::shapeInputs(main, dims);
  return {found.begin(), found.end()};
}

// Through arithmetic, but not through the shape of an input; what only moves
// elements is free.
TEST(ShapeInputs, AreFoundBackwards) {
  EXPECT_EQ(shapeArguments(R"(
    func.func @main(%x: tensor<6xf32>, %a: tensor<1xi64>, %b: tensor<1xi32>,
                    %i: tensor<3xi64>, %unused: tensor<2xi64>) {
      %c = onnx.node "Cast"(%b) attributes {to = 7 : i64} {version = 13 : i64}
        : (tensor<1xi32>) -> tensor<1xi64>
      %s = onnx.node "Shape"(%i) {version = 13 : i64}
        : (tensor<3xi64>) -> tensor<1xi64>
      %to = onnx.node "Concat"(%a, %c, %s) attributes {axis = 0 : i64}
        {version = 13 : i64}
        : (tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3xi64>
      %y = onnx.node "Reshape"(%x, %to) {version = 13 : i64}
        : (tensor<6xf32>, tensor<3xi64>) -> tensor<?x?x?xf32>
      %z = onnx.node "Gather"(%x, %i) {version = 13 : i64}
        : (tensor<6xf32>, tensor<3xi64>) -> tensor<3xf32>
      return
    })"),
            (std::vector<unsigned>{1, 2}));
}

} // namespace
