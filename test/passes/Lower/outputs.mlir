// Outputs that nothing computes are copied: an input, a constant, a weight, a
// value that is another output already, and views of these.

// RUN: quant-opt %s --nibble-lower | FileCheck %s
// RUN: %python %S/../Inputs/same_results.py %s nibble-lower n=5
// RUN: %python %S/../Inputs/same_results.py %s --compiled n=5

// CHECK: qkernel.program @main
// CHECK-COUNT-1: #qkernel.buffer<output, bytes =
// CHECK: #qkernel.buffer<output, index = 1,
// CHECK: #qkernel.buffer<output, index = 2,
// CHECK: #qkernel.buffer<output, index = 3,
// CHECK: #qkernel.buffer<output, index = 4,
// CHECK: #qkernel.buffer<output, index = 5,
// CHECK: #qkernel.buffer<output, index = 6,
module attributes {qmodel.bounds = {n = [1, 8]}} {
qmodel.weight @w : tensor<2x3xf32> = dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]> : tensor<2x3xf32>
func.func @main(%x: tensor<?x4xf32> {onnx.name = "x", qmodel.dims = ["n", "4"]})
    -> (tensor<?x4xf32> {onnx.name = "computed"}, tensor<?x4xf32> {onnx.name = "again"},
        tensor<?x4xf32> {onnx.name = "input"}, tensor<2xi64> {onnx.name = "constant"},
        tensor<3x2xf32> {onnx.name = "weight"}, tensor<4x?xf32> {onnx.name = "view"},
        tensor<2xi64> {onnx.name = "shape"}) {
  %0 = onnx.node "Neg"(%x) {version = 13 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %c = onnx.constant dense<[7, -9]> : tensor<2xi64>
  %w = qmodel.load @w permutation [1, 0] : tensor<3x2xf32>
  %s = onnx.constant dense<[4, -1]> : tensor<2xi64>
  %v = onnx.node "Reshape"(%x, %s) {version = 14 : i64} : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<4x?xf32>
  %d = qmodel.dim_tensor ["n", "2*n + 1"] : tensor<2xi64>
  return %0, %0, %x, %c, %w, %v, %d : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<2xi64>, tensor<3x2xf32>, tensor<4x?xf32>, tensor<2xi64>
}
}
