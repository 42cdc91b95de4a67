// Sizes that data decide are dimensions of the program, which a step defines.

// RUN: quant-opt %s --nibble-lower | FileCheck %s
// RUN: %python %S/../Inputs/same_results.py %s nibble-lower n=5
// RUN: %python %S/../Inputs/same_results.py %s --compiled n=5

// Bounds follow from those of other dimensions, unless the module has some.
// CHECK: qmodel.bounds = {all = [0, 32], n = [1, 8], positive = [0, 20], unused = [0, 32]
// CHECK-SAME: values = [0, 20]
// CHECK: qkernel.kernel @nonzero_{{.*}} scalars ["d0", "d1"] args {{.*}}"d0", "4"
// CHECK: onnx.node "NonZero"(%{{.*}}) {qmodel.sizes = ["d1"]
// CHECK: qkernel.program @main
// CHECK-SAME: #qkernel.port<"positions", i64, ["2", "positive"]>
// CHECK-SAME: #qkernel.port<"picked", f32, ["positive", "4"]>
// The second step waits for the first, which has no buffer of it.
// CHECK: qkernel.step @count_nonzero_{{.*}} scalars ["n"] after [[C:.*]] defines ["positive"]
// CHECK-NEXT: qkernel.step @nonzero_{{.*}} #qkernel.buffer<output, bytes = "16*positive">] scalars ["n", "positive"] after
// CHECK: defines ["all"]
// CHECK-NEXT: qkernel.step @nonzero_
// CHECK: defines ["unused"]
// CHECK-NOT: qkernel.step @nonzero_
// CHECK: qkernel.step @unique_groups_{{.*}} bytes = "8">] scalars ["positive"] after {{.*}} defines ["values"]
module attributes {qmodel.bounds = {n = [1, 8], positive = [0, 20]}} {
func.func @main(%x: tensor<?x4xf32> {onnx.name = "x", qmodel.dims = ["n", "4"]})
    -> (tensor<2x?xi64> {onnx.name = "positions"}, tensor<?x4xf32> {onnx.name = "picked"},
        tensor<2x?xi64> {onnx.name = "everything"}, tensor<3xi64> {onnx.name = "sizes"},
        tensor<?xi64> {onnx.name = "rows"}, tensor<?xi64> {onnx.name = "group"},
        tensor<?xi64> {onnx.name = "members"}) {
  %zero = onnx.constant dense<0.0> : tensor<f32>
  %first = onnx.constant dense<0> : tensor<i64>
  %mask = onnx.node "Greater"(%x, %zero) {version = 13 : i64} : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xi1>
  %0 = onnx.node "NonZero"(%mask) {version = 13 : i64, qmodel.sizes = ["positive"]} : (tensor<?x4xi1>) -> tensor<2x?xi64>
  %r = onnx.node "Gather"(%0, %first) attributes {axis = 0 : i64} {version = 13 : i64} : (tensor<2x?xi64>, tensor<i64>) -> tensor<?xi64>
  %1 = onnx.node "Gather"(%x, %r) {version = 13 : i64} : (tensor<?x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  %2 = onnx.node "NonZero"(%x) {version = 13 : i64, qmodel.sizes = ["all"]} : (tensor<?x4xf32>) -> tensor<2x?xi64>
  // Only the size is of use.
  %3 = onnx.node "NonZero"(%x) {version = 13 : i64, qmodel.sizes = ["unused"]} : (tensor<?x4xf32>) -> tensor<2x?xi64>
  %u:4 = onnx.node "Unique"(%r) {version = 11 : i64, qmodel.sizes = ["values"]} : (tensor<?xi64>) -> (tensor<?xi64>, tensor<?xi64>, tensor<?xi64>, tensor<?xi64>)
  %s = qmodel.dim_tensor ["unused", "positive + all", "values"] : tensor<3xi64>
  return %0, %1, %2, %s, %u#0, %u#2, %u#3 : tensor<2x?xi64>, tensor<?x4xf32>, tensor<2x?xi64>, tensor<3xi64>, tensor<?xi64>, tensor<?xi64>, tensor<?xi64>
}
}
