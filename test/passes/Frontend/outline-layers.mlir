// RUN: split-file %s %t
// RUN: quant-opt %t/layers.mlir --qmodel-outline-layers | FileCheck %s
// RUN: quant-opt %t/layers.mlir --qmodel-outline-layers --qmodel-outline-layers | FileCheck %s
// RUN: quant-opt %t/alone.mlir --qmodel-outline-layers --remarks-filter='.*' --remark-format=emitRemark 2>&1 | FileCheck %s --check-prefix=ALONE
// RUN: quant-opt %t/sizes.mlir --qmodel-outline-layers | FileCheck %s --check-prefix=SIZES
// RUN: %python %S/../Inputs/same_results.py %t/sizes.mlir qmodel-outline-layers n=5

//--- layers.mlir
// Two layers of two segments each. The second result leaves the function and
// does not keep the stream from being cut; the mask becomes an argument, the
// shape and the weights are copied into the layers. Biases of a few elements are
// constants, and may differ.

// CHECK-LABEL: func.func @main
// CHECK: %[[M:.*]] = onnx.node "Cos"(%arg1)
// CHECK: %[[X:.*]] = qmodel.embedding "embed"
// CHECK-NEXT: %[[A:.*]]:2 = call @layer_0(%[[X]], %[[M]])
// CHECK-NEXT: %[[B:.*]]:2 = call @layer_1(%[[A]]#0, %[[M]])
// CHECK: %[[Y:.*]] = qmodel.linear "head" %[[B]]#0,
// CHECK: return %[[Y]], %[[A]]#1, %[[B]]#1

// CHECK-LABEL: func.func private @layer_0
// CHECK-SAME: %arg0: tensor<?x4xf32> {qmodel.dims = ["n", "4"]}, %arg1: tensor<?x4xf32> {qmodel.dims = ["n", "4"]}
// CHECK: qmodel.dim_tensor ["n", "4"]
// CHECK: qmodel.linear "0/a" %{{.*}} : 
// CHECK: qmodel.linear "0/b"
// CHECK: return

// CHECK-LABEL: func.func private @layer_1
// CHECK: qmodel.load @w1
// CHECK: qmodel.decompress_24
// CHECK: qmodel.linear "1/a"
// CHECK: qmodel.linear "1/b"

qmodel.weight @table : tensor<4x4xf32> = dense<1.0> : tensor<4x4xf32>
qmodel.weight @w0 : tensor<4x2xf32> = dense<1.0> : tensor<4x2xf32>
qmodel.weight @w1 : tensor<4x2xf32> = dense<1.0> : tensor<4x2xf32>
qmodel.weight @positions : tensor<4x2xui2> = dense<[[0, 1], [1, 2], [2, 3], [0, 3]]> : tensor<4x2xui2>
qmodel.weight @h : tensor<4x4xf32> = dense<1.0> : tensor<4x4xf32>
func.func @main(%ids: tensor<?xi64> {qmodel.dims = ["n"]}, %angles: tensor<?x4xf32> {qmodel.dims = ["n", "4"]})
    -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %mask = onnx.node "Cos"(%angles) {version = 16 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %shape = qmodel.dim_tensor ["n", "4"] : tensor<2xi64>
  %t = qmodel.load @table : tensor<4x4xf32>
  %v = qmodel.load @w0 : tensor<4x2xf32>
  %p = qmodel.load @positions : tensor<4x2xui2>
  %x0 = qmodel.embedding "embed" %t, %ids : (tensor<4x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  %w0 = qmodel.decompress_24 %v, %p : (tensor<4x2xf32>, tensor<4x2xui2>) -> tensor<4x4xf32>
  %a0 = qmodel.linear "0/a" %x0, %w0 : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %r0 = onnx.node "Reshape"(%a0, %shape) {version = 16 : i64} : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %m0 = qmodel.multiply %r0, %mask : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %x1 = qmodel.add %x0, %m0 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %bias0 = onnx.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %b0 = qmodel.linear "0/b" %x1, %w0 bias %bias0 : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %c0 = qmodel.activation silu %b0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %x2 = qmodel.add %x1, %c0 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v1 = qmodel.load @w1 : tensor<4x2xf32>
  %w1 = qmodel.decompress_24 %v1, %p : (tensor<4x2xf32>, tensor<4x2xui2>) -> tensor<4x4xf32>
  %a1 = qmodel.linear "1/a" %x2, %w1 : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %r1 = onnx.node "Reshape"(%a1, %shape) {version = 16 : i64} : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %m1 = qmodel.multiply %r1, %mask : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %x3 = qmodel.add %x2, %m1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %bias1 = onnx.constant dense<[5.0, 6.0, 7.0, 8.0]> : tensor<4xf32>
  %b1 = qmodel.linear "1/b" %x3, %w1 bias %bias1 : (tensor<?x4xf32>, tensor<4x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %c1 = qmodel.activation silu %b1 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %x4 = qmodel.add %x3, %c1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %h = qmodel.load @h : tensor<4x4xf32>
  %y = qmodel.linear "head" %x4, %h : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return %y, %a0, %a1 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

//--- alone.mlir
// ALONE: no repeated layers: the whole model is one layer
// ALONE: func.func @main
// ALONE-NOT: call
qmodel.weight @w : tensor<4x4xf32> = dense<1.0> : tensor<4x4xf32>
func.func @main(%x: tensor<?x4xf32> {qmodel.dims = ["n", "4"]}) -> tensor<?x4xf32> {
  %w = qmodel.load @w : tensor<4x4xf32>
  %a = qmodel.linear "a" %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %y = qmodel.activation silu %a : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

//--- sizes.mlir
// Names of sizes that data decide differ, and layers are alike nevertheless. What
// is said of a size stands behind the node that has it.
// SIZES: call @layer_0
// SIZES: call @layer_1
// SIZES-LABEL: func.func private @layer_0
// SIZES: onnx.node "NonZero"{{.*}} {qmodel.sizes = ["nonzero_0"]
// SIZES: qmodel.dim_tensor ["2*nonzero_0", "2"]
// SIZES-LABEL: func.func private @layer_1
// SIZES: onnx.node "NonZero"{{.*}} {qmodel.sizes = ["nonzero_1"]
// SIZES: qmodel.dim_tensor ["2*nonzero_1", "2"]
qmodel.weight @w : tensor<4x4xf32> = dense<[[1.0, -1.0, 0.5, 2.0], [0.0, 1.0, -2.0, 1.0], [1.0, 1.0, 1.0, -1.0], [2.0, 0.0, -1.0, 1.0]]> : tensor<4x4xf32>
func.func @main(%x: tensor<?x4xf32> {onnx.name = "x", qmodel.dims = ["n", "4"]}) -> (tensor<?x4xf32> {onnx.name = "y"}) {
  %w = qmodel.load @w : tensor<4x4xf32>
  %x0 = qmodel.linear "first" %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %zero = onnx.constant dense<0.0> : tensor<f32>
  %axes = onnx.constant dense<[0, 1]> : tensor<2xi64>
  %a0 = qmodel.linear "0" %x0, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %g0 = onnx.node "Greater"(%a0, %zero) {version = 13 : i64} : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xi1>
  %z0 = onnx.node "NonZero"(%g0) {version = 13 : i64, qmodel.sizes = ["nonzero_0"]} : (tensor<?x4xi1>) -> tensor<2x?xi64>
  %f0 = onnx.node "Cast"(%z0) attributes {to = 1 : i64} {version = 13 : i64} : (tensor<2x?xi64>) -> tensor<2x?xf32>
  %d0 = qmodel.dim_tensor ["2*nonzero_0", "2"] : tensor<2xi64>
  %e0 = onnx.node "Expand"(%zero, %d0) {version = 13 : i64} : (tensor<f32>, tensor<2xi64>) -> tensor<?x2xf32>
  %s0 = onnx.node "ReduceSum"(%f0, %axes) attributes {keepdims = 0 : i64} {version = 13 : i64} : (tensor<2x?xf32>, tensor<2xi64>) -> tensor<f32>
  %t0 = onnx.node "ReduceSum"(%e0, %axes) attributes {keepdims = 0 : i64} {version = 13 : i64} : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<f32>
  %u0 = onnx.node "Add"(%s0, %t0) {version = 13 : i64} : (tensor<f32>, tensor<f32>) -> tensor<f32>
  %x1 = onnx.node "Add"(%a0, %u0) {version = 13 : i64} : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %a1 = qmodel.linear "1" %x1, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %g1 = onnx.node "Greater"(%a1, %zero) {version = 13 : i64} : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xi1>
  %z1 = onnx.node "NonZero"(%g1) {version = 13 : i64, qmodel.sizes = ["nonzero_1"]} : (tensor<?x4xi1>) -> tensor<2x?xi64>
  %f1 = onnx.node "Cast"(%z1) attributes {to = 1 : i64} {version = 13 : i64} : (tensor<2x?xi64>) -> tensor<2x?xf32>
  %d1 = qmodel.dim_tensor ["2*nonzero_1", "2"] : tensor<2xi64>
  %e1 = onnx.node "Expand"(%zero, %d1) {version = 13 : i64} : (tensor<f32>, tensor<2xi64>) -> tensor<?x2xf32>
  %s1 = onnx.node "ReduceSum"(%f1, %axes) attributes {keepdims = 0 : i64} {version = 13 : i64} : (tensor<2x?xf32>, tensor<2xi64>) -> tensor<f32>
  %t1 = onnx.node "ReduceSum"(%e1, %axes) attributes {keepdims = 0 : i64} {version = 13 : i64} : (tensor<?x2xf32>, tensor<2xi64>) -> tensor<f32>
  %u1 = onnx.node "Add"(%s1, %t1) {version = 13 : i64} : (tensor<f32>, tensor<f32>) -> tensor<f32>
  %x2 = onnx.node "Add"(%a1, %u1) {version = 13 : i64} : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %y = onnx.node "Neg"(%x2) {version = 13 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}
