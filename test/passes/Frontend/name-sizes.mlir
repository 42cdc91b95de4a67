// RUN: quant-opt --onnx-name-sizes --split-input-file %s | FileCheck %s
// RUN: quant-opt --onnx-name-sizes --onnx-name-sizes --split-input-file %s | FileCheck %s
// RUN: quant-opt --onnx-name-sizes --onnx-fold-shapes --split-input-file %s | FileCheck %s --check-prefix=FOLD

// What the model declares behind the node is one run's truth; the analysis
// finds out what stays: see fold-shapes below.
// CHECK-LABEL: func.func @main
// CHECK-SAME: -> (tensor<?x?xi64>, tensor<?x?xf32>, tensor<?xi64>)
func.func @main(%x: tensor<5x4xf32>, %i: tensor<3xi64>) -> (tensor<2x7xi64>, tensor<7x4xf32>, tensor<2xi64>) {
  // CHECK: onnx.node "NonZero"(%arg0) {qmodel.sizes = ["nonzero_0"], version = 13 : i64} : (tensor<5x4xf32>) -> tensor<?x?xi64>
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<5x4xf32>) -> tensor<2x7xi64>
  // CHECK: onnx.node "NonZero"(%arg1) {qmodel.sizes = ["nonzero_1"],
  %1 = onnx.node "NonZero"(%i) {version = 13 : i64} : (tensor<3xi64>) -> tensor<1x?xi64>
  // CHECK: onnx.node "Unique"(%arg1) {qmodel.sizes = ["unique_0"],
  %2 = onnx.node "Unique"(%i) {version = 11 : i64} : (tensor<3xi64>) -> tensor<?xi64>
  %3 = onnx.node "Gather"(%x, %2) {version = 13 : i64} : (tensor<5x4xf32>, tensor<?xi64>) -> tensor<7x4xf32>
  %4 = onnx.node "Shape"(%1) {version = 13 : i64} : (tensor<1x?xi64>) -> tensor<2xi64>
  // CHECK: onnx.node "Neg"(%arg1) {version = 13 : i64} : (tensor<3xi64>) -> tensor<3xi64>
  %5 = onnx.node "Neg"(%i) {version = 13 : i64} : (tensor<3xi64>) -> tensor<3xi64>
  return %0, %3, %4 : tensor<2x7xi64>, tensor<7x4xf32>, tensor<2xi64>
}

// -----

// Names that are in use are left alone.
// CHECK-LABEL: func.func @taken
module attributes {qmodel.bounds = {nonzero_0 = [1, 4]}} {
func.func @taken(%x: tensor<?x?xf32> {qmodel.dims = ["nonzero_0", "2*nonzero_1"]}) -> tensor<2x?xi64> {
  // CHECK: qmodel.sizes = ["nonzero_2"]
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<?x?xf32>) -> tensor<2x?xi64>
  return %0 : tensor<2x?xi64>
}
}

// -----

// In the body of a loop the size may be another one each time; a called function
// keeps its signature.
// CHECK-LABEL: func.func @subgraph
// CHECK-NOT: qmodel.sizes
func.func @subgraph(%n: tensor<i64>, %c: tensor<i1>, %x: tensor<4xf32>) -> tensor<?x1x?xi64> {
  %0 = onnx.node "Loop"(%n, %c) {version = 16 : i64} : (tensor<i64>, tensor<i1>) -> tensor<?x1x?xi64> {
  ^bb0(%i: tensor<i64>, %go: tensor<i1>):
    %1 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<1x?xi64>
    onnx.yield %go, %1 : tensor<i1>, tensor<1x?xi64>
  }
  %2 = call @called(%x) : (tensor<4xf32>) -> tensor<1x2xi64>
  return %0 : tensor<?x1x?xi64>
}
func.func private @called(%x: tensor<4xf32>) -> tensor<1x2xi64> {
  %0 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<1x2xi64>
  return %0 : tensor<1x2xi64>
}

// -----

// onnx-fold-shapes computes this one.
// CHECK-LABEL: func.func @constant
// CHECK-NOT: qmodel.sizes
func.func @constant() -> tensor<1x2xi64> {
  %c = onnx.constant dense<[1, 0, 3]> : tensor<3xi64>
  // CHECK: "NonZero"({{.*}}) -> tensor<1x2xi64>
  %0 = onnx.node "NonZero"(%c) {version = 13 : i64} : (tensor<3xi64>) -> tensor<1x2xi64>
  return %0 : tensor<1x2xi64>
}

// -----

// A branch of an If runs once at most; what only one of them declares is not
// known behind it.
// CHECK-LABEL: func.func @branches
func.func @branches(%c: tensor<i1>, %x: tensor<4xf32>) -> tensor<3xi64> {
  // CHECK: "If"
  // CHECK-SAME: -> tensor<?x?xi64> {
  %0 = onnx.node "If"(%c) {version = 16 : i64} : (tensor<i1>) -> tensor<1x3xi64> {
    // CHECK: "NonZero"(%arg1) {qmodel.sizes = ["nonzero_0"]
    %1 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<1x3xi64>
    // CHECK: onnx.yield %{{.*}} : tensor<?x?xi64>
    onnx.yield %1 : tensor<1x3xi64>
  }, {
    // CHECK: "NonZero"(%arg1) {qmodel.sizes = ["nonzero_1"]
    %1 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<1x3xi64>
    onnx.yield %1 : tensor<1x3xi64>
  }
  %1 = onnx.node "Squeeze"(%0) {version = 11 : i64} : (tensor<1x3xi64>) -> tensor<3xi64>
  // CHECK: return %{{.*}} : tensor<?xi64>
  return %1 : tensor<3xi64>
}

// -----

// What onnx-fold-shapes then makes of a branch that is always taken.
// FOLD-LABEL: func.func @taken_branch
// FOLD-SAME: -> tensor<?xi64>
func.func @taken_branch(%x: tensor<4xf32>) -> tensor<3xi64> {
  %c = onnx.constant dense<true> : tensor<i1>
  // FOLD-NOT: "If"
  // FOLD: "NonZero"(%arg0) {qmodel.sizes = ["nonzero_1"]
  // FOLD-SAME: -> tensor<1x?xi64>
  %0 = onnx.node "If"(%c) {version = 16 : i64} : (tensor<i1>) -> tensor<1x3xi64> {
    %1 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<1x3xi64>
    onnx.yield %1 : tensor<1x3xi64>
  }, {
    %1 = onnx.node "NonZero"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<1x3xi64>
    onnx.yield %1 : tensor<1x3xi64>
  }
  %1 = onnx.node "Squeeze"(%0) {version = 11 : i64} : (tensor<1x3xi64>) -> tensor<3xi64>
  return %1 : tensor<3xi64>
}
