// A tanh between scale and mask is the soft cap of an attention.

// RUN: quant-opt %s --onnx-raise-attention | FileCheck %s

// cap * tanh(q k^T * scale / cap): the scale of the op is without the cap.
// CHECK-LABEL: func.func @capped
// CHECK: qmodel.attention %arg0, %arg1, %arg2 scale 2.500000e-01 softcap 5.000000e+01 mask_value
func.func @capped(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}) -> tensor<?x4x?x8xf32> {
  %quarter = onnx.constant dense<0.25> : tensor<f32>
  %cap = onnx.constant dense<50.0> : tensor<f32>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 17 : i64} : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 17 : i64} : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %s1 = onnx.node "Mul"(%s0, %quarter) {version = 17 : i64} : (tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %s2 = onnx.node "Div"(%s1, %cap) {version = 17 : i64} : (tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %s3 = onnx.node "Tanh"(%s2) {version = 17 : i64} : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %s4 = onnx.node "Mul"(%cap, %s3) {version = 17 : i64} : (tensor<f32>, tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s4) attributes {axis = -1 : i64} {version = 17 : i64} : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 17 : i64} : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// Nothing may scale the scores again behind the cap.
// CHECK-LABEL: func.func @scaled_twice
// CHECK-NOT: qmodel.attention
func.func @scaled_twice(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}) -> tensor<?x4x?x8xf32> {
  %two = onnx.constant dense<2.0> : tensor<f32>
  %cap = onnx.constant dense<50.0> : tensor<f32>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 17 : i64} : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 17 : i64} : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %s1 = onnx.node "Tanh"(%s0) {version = 17 : i64} : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %s2 = onnx.node "Mul"(%cap, %s1) {version = 17 : i64} : (tensor<f32>, tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %s3 = onnx.node "Mul"(%s2, %two) {version = 17 : i64} : (tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s3) attributes {axis = -1 : i64} {version = 17 : i64} : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 17 : i64} : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}
