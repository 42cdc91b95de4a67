// A product with a stack of matrices becomes one product for each.

// RUN: quant-opt %s --onnx-split-stacks | FileCheck %s
// RUN: quant-opt %s --onnx-split-stacks --remarks-filter=".*" --remark-format=emitRemark 2>&1 \
// RUN:   | FileCheck %s --check-prefix=REMARK
// The parts multiply to the same.
// RUN: quant-opt %s --onnx-split-stacks --onnx-split-stacks -o %t.twice
// RUN: quant-opt %s --onnx-split-stacks -o %t.once
// RUN: diff %t.once %t.twice

// CHECK-DAG: qmodel.weight @w.0 : tensor<2x3xf32> = dense<{{\[}}[1.0{{.*}}, 2.0{{.*}}, 3.0{{.*}}], [4.0{{.*}}, 5.0{{.*}}, 6.0{{.*}}]]>
// CHECK-DAG: qmodel.weight @w.1 : tensor<2x3xf32> = dense<{{\[}}[7.0{{.*}}, 8.0{{.*}}, 9.0{{.*}}], [1.0{{.*}}, 1.0{{.*}}, 1.0{{.*}}]]>
qmodel.weight @w : tensor<2x2x3xf32> = dense<[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[7.0, 8.0, 9.0], [1.0, 1.0, 1.0]]]> : tensor<2x2x3xf32>

// Each matrix takes its slice of the operand.
// CHECK-LABEL: func.func @slices(
// CHECK: %[[X0:.*]] = onnx.node "Slice"(%arg0, %{{.*}}, %{{.*}}, %{{.*}})
// CHECK: %[[Q0:.*]] = onnx.node "Squeeze"(%[[X0]]
// CHECK: onnx.node "MatMul"(%[[Q0]], %{{.*}}) {{.*}} : (tensor<?x2xf32>, tensor<2x3xf32>) -> tensor<?x3xf32>
// CHECK: onnx.node "MatMul"
// CHECK: onnx.node "Concat"(%{{.*}}, %{{.*}}) attributes {axis = 0 : i64}
func.func @slices(%x: tensor<2x?x2xf32> {qmodel.dims = ["2", "n", "2"]}) -> tensor<2x?x3xf32> {
  %w = qmodel.load @w : tensor<2x2x3xf32>
  %y = onnx.node "MatMul"(%x, %w) {version = 17 : i64} : (tensor<2x?x2xf32>, tensor<2x2x3xf32>) -> tensor<2x?x3xf32>
  return %y : tensor<2x?x3xf32>
}

// All matrices read what was expanded, and transposed matrices stay loads.
// CHECK-LABEL: func.func @expanded(
// CHECK: %[[X:.*]] = onnx.node "Squeeze"(%arg0,
// CHECK: %[[W0:.*]] = qmodel.load @w.0 permutation [1, 0] : tensor<3x2xf32>
// CHECK: onnx.node "MatMul"(%[[X]], %[[W0]])
// CHECK: onnx.node "MatMul"(%[[X]],
func.func @expanded(%x: tensor<1x?x3xf32> {qmodel.dims = ["1", "n", "3"]}) -> tensor<2x?x2xf32> {
  %s = qmodel.dim_tensor ["2", "n", "3"] : tensor<3xi64>
  %c = onnx.node "Expand"(%x, %s) {version = 17 : i64} : (tensor<1x?x3xf32>, tensor<3xi64>) -> tensor<2x?x3xf32>
  %w = qmodel.load @w : tensor<2x2x3xf32>
  %t = onnx.node "Transpose"(%w) attributes {perm = [0, 2, 1]} {version = 17 : i64} : (tensor<2x2x3xf32>) -> tensor<2x3x2xf32>
  %y = onnx.node "MatMul"(%c, %t) {version = 17 : i64} : (tensor<2x?x3xf32>, tensor<2x3x2xf32>) -> tensor<2x?x2xf32>
  return %y : tensor<2x?x2xf32>
}

// CHECK-LABEL: func.func @otherwise(
// CHECK: onnx.node "MatMul"(%arg0, %{{.*}}) {{.*}} tensor<3x2x2xf32>) -> tensor<3x?x2xf32>
// REMARK: expects a stack of matrices along the first dimension
func.func @otherwise(%x: tensor<3x?x2xf32> {qmodel.dims = ["3", "n", "2"]}) -> tensor<3x?x2xf32> {
  %w = qmodel.load @w permutation [2, 0, 1] : tensor<3x2x2xf32>
  %y = onnx.node "MatMul"(%x, %w) {version = 17 : i64} : (tensor<3x?x2xf32>, tensor<3x2x2xf32>) -> tensor<3x?x2xf32>
  return %y : tensor<3x?x2xf32>
}
