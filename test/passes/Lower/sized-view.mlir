// An output that is a view with a size found later: its bytes were written when
// nobody knew how many count, so they are copied then.

// RUN: quant-opt %s --nibble-lower | FileCheck %s

// CHECK: qkernel.program @main
// CHECK: qkernel.step @neg_{{.*}} #qkernel.buffer<arena, bytes = "4*n">]
// CHECK: defines ["k"]
// CHECK: qkernel.step @identity_{{.*}} #qkernel.buffer<output, bytes = "4*k">] scalars ["k"] after 1
module attributes {qmodel.bounds = {n = [1, 8]}} {
func.func @main(%x: tensor<?xf32> {onnx.name = "x", qmodel.dims = ["n"]})
    -> (tensor<?xf32> {onnx.name = "y"}) {
  %0 = onnx.node "Neg"(%x) {version = 13 : i64} : (tensor<?xf32>) -> tensor<?xf32>
  %1 = onnx.node "NonZero"(%0) {version = 13 : i64, qmodel.sizes = ["k"]} : (tensor<?xf32>) -> tensor<1x?xi64>
  %s = qmodel.dim_tensor ["k"] : tensor<1xi64>
  %2 = onnx.node "Reshape"(%0, %s) {version = 13 : i64} : (tensor<?xf32>, tensor<1xi64>) -> tensor<?xf32>
  return %2 : tensor<?xf32>
}
}
