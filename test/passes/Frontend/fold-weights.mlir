// RUN: quant-opt %s --onnx-fold-weights | FileCheck %s
// RUN: quant-opt %s --onnx-fold-weights --onnx-fold-weights | FileCheck %s
// RUN: quant-opt %s --onnx-fold-weights=keep-storage | FileCheck %s --check-prefix=KEPT

// CHECK-DAG: qmodel.weight @gain.add : tensor<2xf32> = dense<[2.000000e+00, 3.000000e+00]>
// CHECK-DAG: qmodel.weight @half.cast : tensor<2x3xf32> = dense<{{\[\[}}1.000000e+00, 2.000000e+00, 3.000000e+00], [4.000000e+00, 5.000000e+00, 6.000000e+00]]>
// CHECK-DAG: qmodel.weight @half.cast.1 : tensor<3x2xf32> = dense<{{\[\[}}1.000000e+00, 4.000000e+00], [2.000000e+00, 5.000000e+00], [3.000000e+00, 6.000000e+00]]>
// CHECK-DAG: qmodel.weight @fused.split : tensor<1x2xf32> = dense<{{\[\[}}1.000000e+00, 2.000000e+00]]>
// CHECK-DAG: qmodel.weight @fused.split.1 : tensor<1x2xf32> = dense<{{\[\[}}3.000000e+00, 4.000000e+00]]>
// CHECK-DAG: qmodel.weight @codes.dequantizelinear : tensor<2x2xf32> = dense<{{\[\[}}5.000000e-01, 1.000000e+00], [3.000000e+00, -4.000000e+00]]>
qmodel.weight @gain : tensor<2xf32> = dense<[1.0, 2.0]> : tensor<2xf32>
qmodel.weight @half : tensor<2x3xf16> = dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]> : tensor<2x3xf16>
qmodel.weight @other : tensor<2x3xf16> = dense<1.0> : tensor<2x3xf16>
qmodel.weight @fused : tensor<1x4xf32> = dense<[[1.0, 2.0, 3.0, 4.0]]> : tensor<1x4xf32>
qmodel.weight @codes : tensor<2x2xi8> = dense<[[1, 2], [3, -4]]> : tensor<2x2xi8>
qmodel.weight @scales : tensor<2xf32> = dense<[0.5, 1.0]> : tensor<2xf32>
// A transpose is a way to read a weight.
// CHECK-DAG: qmodel.weight @kept :
qmodel.weight @kept : tensor<2x3xf32> = dense<1.0> : tensor<2x3xf32>

// CHECK-LABEL: func.func @gain_plus_one
func.func @gain_plus_one() -> tensor<2xf32> {
  // CHECK: %[[Y:.*]] = qmodel.load @gain.add
  // CHECK-NEXT: return %[[Y]]
  %w = qmodel.load @gain : tensor<2xf32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %y = onnx.node "Add"(%one, %w) {version = 17 : i64} : (tensor<f32>, tensor<2xf32>) -> tensor<2xf32>
  return %y : tensor<2xf32>
}

// CHECK-LABEL: func.func @half_precision
func.func @half_precision() -> (tensor<2x3xf32>, tensor<3x2xf32>) {
  // CHECK-NOT: onnx.node
  %w = qmodel.load @half : tensor<2x3xf16>
  %y = onnx.node "Cast"(%w) attributes {to = 1 : i64} {version = 17 : i64} : (tensor<2x3xf16>) -> tensor<2x3xf32>
  %t = onnx.node "Transpose"(%w) attributes {perm = [1, 0]} {version = 17 : i64} : (tensor<2x3xf16>) -> tensor<3x2xf16>
  %z = onnx.node "Cast"(%t) attributes {to = 1 : i64} {version = 17 : i64} : (tensor<3x2xf16>) -> tensor<3x2xf32>
  return %y, %z : tensor<2x3xf32>, tensor<3x2xf32>
}

// CHECK-LABEL: func.func @fused_matrix
func.func @fused_matrix() -> (tensor<1x2xf32>, tensor<1x2xf32>) {
  // CHECK-NOT: onnx.node
  %w = qmodel.load @fused : tensor<1x4xf32>
  %a, %b = onnx.node "Split"(%w) attributes {axis = 1 : i64, num_outputs = 2 : i64} {version = 18 : i64} : (tensor<1x4xf32>) -> (tensor<1x2xf32>, tensor<1x2xf32>)
  return %a, %b : tensor<1x2xf32>, tensor<1x2xf32>
}

// CHECK-LABEL: func.func @quantized_before
func.func @quantized_before() -> tensor<2x2xf32> {
  // CHECK-NOT: onnx.node
  %w = qmodel.load @codes : tensor<2x2xi8>
  %s = qmodel.load @scales : tensor<2xf32>
  %y = onnx.node "DequantizeLinear"(%w, %s) attributes {axis = 0 : i64} {version = 13 : i64} : (tensor<2x2xi8>, tensor<2xf32>) -> tensor<2x2xf32>
  return %y : tensor<2x2xf32>
}

// CHECK-LABEL: func.func @left_alone
func.func @left_alone(%x: tensor<2x3xf32>) -> (tensor<3x2xf32>, tensor<4x3xf32>, tensor<2x3xf32>) {
  // CHECK: onnx.node "Transpose"
  // CHECK: onnx.node "Concat"
  // CHECK: onnx.node "Add"
  %w = qmodel.load @kept : tensor<2x3xf32>
  %t = onnx.node "Transpose"(%w) attributes {perm = [1, 0]} {version = 17 : i64} : (tensor<2x3xf32>) -> tensor<3x2xf32>
  %r = onnx.node "Concat"(%w, %x) attributes {axis = 0 : i64} {version = 17 : i64} : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<4x3xf32>
  %s = onnx.node "Add"(%w, %x) {version = 17 : i64} : (tensor<2x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return %t, %r, %s : tensor<3x2xf32>, tensor<4x3xf32>, tensor<2x3xf32>
}

// With keep-storage the matrix of a product and the table of a lookup stay in 16
// bits; what something else reads too does not.
// KEPT-LABEL: func.func @layers
func.func @layers(%x: tensor<?x2xf32>, %i: tensor<?xi64>) -> (tensor<?x3xf32>, tensor<?x2xf32>, tensor<2x3xf32>) {
  // KEPT: %[[W:.*]] = qmodel.load @half : tensor<2x3xf16>
  // KEPT: %[[WIDE:.*]] = onnx.node "Cast"(%[[W]])
  // KEPT: onnx.node "MatMul"(%{{.*}}, %[[WIDE]])
  // KEPT: onnx.node "Cast"
  // KEPT: onnx.node "Gather"
  // KEPT-NOT: onnx.node
  // KEPT: %[[GAIN:.*]] = qmodel.load @other.cast : tensor<2x3xf32>
  // KEPT: onnx.node "Add"(%{{.*}}, %[[GAIN]])
  %w = qmodel.load @half : tensor<2x3xf16>
  %wide = onnx.node "Cast"(%w) attributes {to = 1 : i64} {version = 17 : i64} : (tensor<2x3xf16>) -> tensor<2x3xf32>
  %y = onnx.node "MatMul"(%x, %wide) {version = 17 : i64} : (tensor<?x2xf32>, tensor<2x3xf32>) -> tensor<?x3xf32>
  %t = onnx.node "Transpose"(%w) attributes {perm = [1, 0]} {version = 17 : i64} : (tensor<2x3xf16>) -> tensor<3x2xf16>
  %table = onnx.node "Cast"(%t) attributes {to = 1 : i64} {version = 17 : i64} : (tensor<3x2xf16>) -> tensor<3x2xf32>
  %z = onnx.node "Gather"(%table, %i) attributes {axis = 0 : i64} {version = 17 : i64} : (tensor<3x2xf32>, tensor<?xi64>) -> tensor<?x2xf32>
  %o = qmodel.load @other : tensor<2x3xf16>
  %other = onnx.node "Cast"(%o) attributes {to = 1 : i64} {version = 17 : i64} : (tensor<2x3xf16>) -> tensor<2x3xf32>
  %p = onnx.node "MatMul"(%x, %other) {version = 17 : i64} : (tensor<?x2xf32>, tensor<2x3xf32>) -> tensor<?x3xf32>
  %s = onnx.node "Add"(%p, %other) {version = 17 : i64} : (tensor<?x3xf32>, tensor<2x3xf32>) -> tensor<2x3xf32>
  return %y, %z, %s : tensor<?x3xf32>, tensor<?x2xf32>, tensor<2x3xf32>
}
