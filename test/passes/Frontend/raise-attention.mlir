// RUN: quant-opt %s --onnx-raise-attention | FileCheck %s
// RUN: quant-opt %s --onnx-raise-attention --onnx-raise-attention | FileCheck %s
// RUN: quant-opt %s --onnx-raise-attention --remarks-filter='.*' --remark-format=emitRemark -o %t 2>&1 | FileCheck %s --check-prefix=REMARK

// Scale on the scores, no mask.
// CHECK-LABEL: func.func @plain
func.func @plain(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 scale 2.5{{.*}} mask_value 0xFFF0000000000000
  // CHECK-NOT: onnx.node
  %four = onnx.constant dense<4.0> : tensor<f32>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %s1 = onnx.node "Div"(%s0, %four) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// sqrt(scale) on queries and keys; keys transposed in rank 3.
// CHECK-LABEL: func.func @scale_on_both
func.func @scale_on_both(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 scale 2.5
  // CHECK-NOT: onnx.node
  %half = onnx.constant dense<0.5> : tensor<f32>
  %flat = qmodel.dim_tensor ["4*b", "p + s", "8"] : tensor<3xi64>
  %back = qmodel.dim_tensor ["b", "4", "8", "p + s"] : tensor<4xi64>
  %qs = onnx.node "Mul"(%half, %q) {version = 16 : i64}
    : (tensor<f32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  %k3 = onnx.node "Reshape"(%k, %flat) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %t3 = onnx.node "Transpose"(%k3) attributes {perm = [0, 2, 1]} {version = 16 : i64}
    : (tensor<?x?x8xf32>) -> tensor<?x8x?xf32>
  %kt = onnx.node "Reshape"(%t3, %back) {version = 16 : i64}
    : (tensor<?x8x?xf32>, tensor<4xi64>) -> tensor<?x4x8x?xf32>
  %ks = onnx.node "Mul"(%kt, %half) {version = 16 : i64}
    : (tensor<?x4x8x?xf32>, tensor<f32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%qs, %ks) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s0) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// j <= i + past, and a bit per key.
// CHECK-LABEL: func.func @causal_and_padding
func.func @causal_and_padding(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %m: tensor<?x?xi64> {qmodel.dims = ["b", "p + s"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: %[[M:.*]] = onnx.node "Cast"(%arg3)
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 key_mask %[[M]] causal scale 1{{.*}} mask_value -1.0{{0*}}e+09
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %second = onnx.constant dense<1> : tensor<1xi64>
  %past = qmodel.dim_tensor ["p"] : tensor<i64>
  %seq = qmodel.dim_tensor ["s"] : tensor<i64>
  %total = qmodel.dim_tensor ["p + s"] : tensor<i64>
  %rows = onnx.node "Range"(%zero, %seq, %one) {version = 16 : i64}
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %i0 = onnx.node "Unsqueeze"(%rows, %second) {version = 16 : i64}
    : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %i = onnx.node "Add"(%i0, %past) {version = 16 : i64}
    : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %columns = onnx.node "Range"(%zero, %total, %one) {version = 16 : i64}
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %j = onnx.node "Unsqueeze"(%columns, %first) {version = 16 : i64}
    : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %ax = onnx.constant dense<[1, 2]> : tensor<2xi64>
  %m4 = onnx.node "Unsqueeze"(%m, %ax) {version = 16 : i64}
    : (tensor<?x?xi64>, tensor<2xi64>) -> tensor<?x1x1x?xi64>
  %mb = onnx.node "Cast"(%m4) attributes {to = 9 : i64} {version = 16 : i64}
    : (tensor<?x1x1x?xi64>) -> tensor<?x1x1x?xi1>
  %nil = onnx.constant dense<0.0> : tensor<f32>
  %low = onnx.constant dense<-1.0e+09> : tensor<f32>
  %c = onnx.node "LessOrEqual"(%j, %i) {version = 16 : i64}
    : (tensor<1x?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %a = onnx.node "And"(%c, %mb) {version = 16 : i64}
    : (tensor<?x?xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %w = onnx.node "Where"(%a, %nil, %low) {version = 16 : i64}
    : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %s1 = onnx.node "Add"(%s0, %w) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// The same, said of what is hidden: not (i + past < j or bit == 0); the mask on the left.
// CHECK-LABEL: func.func @hidden_by_or
func.func @hidden_by_or(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %m: tensor<?x?xi64> {qmodel.dims = ["b", "p + s"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: %[[E:.*]] = onnx.node "Equal"(%arg3
  // CHECK: %[[M:.*]] = onnx.node "Not"(%[[E]])
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 key_mask %[[M]] causal
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %second = onnx.constant dense<1> : tensor<1xi64>
  %past = qmodel.dim_tensor ["p"] : tensor<i64>
  %seq = qmodel.dim_tensor ["s"] : tensor<i64>
  %total = qmodel.dim_tensor ["p + s"] : tensor<i64>
  %rows = onnx.node "Range"(%zero, %seq, %one) {version = 16 : i64}
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %i0 = onnx.node "Unsqueeze"(%rows, %second) {version = 16 : i64}
    : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %i = onnx.node "Add"(%i0, %past) {version = 16 : i64}
    : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %columns = onnx.node "Range"(%zero, %total, %one) {version = 16 : i64}
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %j = onnx.node "Unsqueeze"(%columns, %first) {version = 16 : i64}
    : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %ax = onnx.constant dense<[1, 2]> : tensor<2xi64>
  %m4 = onnx.node "Unsqueeze"(%m, %ax) {version = 16 : i64}
    : (tensor<?x?xi64>, tensor<2xi64>) -> tensor<?x1x1x?xi64>
  %nil = onnx.constant dense<0.0> : tensor<f32>
  %low = onnx.constant dense<-1.0e+09> : tensor<f32>
  %c = onnx.node "Less"(%i, %j) {version = 16 : i64}
    : (tensor<?x1xi64>, tensor<1x?xi64>) -> tensor<?x?xi1>
  %e = onnx.node "Equal"(%m4, %zero) {version = 16 : i64}
    : (tensor<?x1x1x?xi64>, tensor<i64>) -> tensor<?x1x1x?xi1>
  %a = onnx.node "Or"(%c, %e) {version = 16 : i64}
    : (tensor<?x?xi1>, tensor<?x1x1x?xi1>) -> tensor<?x1x?x?xi1>
  %w = onnx.node "Where"(%a, %low, %nil) {version = 16 : i64}
    : (tensor<?x1x?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x1x?x?xf32>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %s1 = onnx.node "Add"(%w, %s0) {version = 16 : i64}
    : (tensor<?x1x?x?xf32>, tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// Scores are replaced instead, and rows with nothing to see are zeros.
// CHECK-LABEL: func.func @selected
func.func @selected(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 causal scale 1{{.*}} mask_value 0xFFF0000000000000
  // CHECK-NOT: onnx.node
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %second = onnx.constant dense<1> : tensor<1xi64>
  %past = qmodel.dim_tensor ["p"] : tensor<i64>
  %seq = qmodel.dim_tensor ["s"] : tensor<i64>
  %total = qmodel.dim_tensor ["p + s"] : tensor<i64>
  %rows = onnx.node "Range"(%zero, %seq, %one) {version = 16 : i64}
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %i0 = onnx.node "Unsqueeze"(%rows, %second) {version = 16 : i64}
    : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %i = onnx.node "Add"(%i0, %past) {version = 16 : i64}
    : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %columns = onnx.node "Range"(%zero, %total, %one) {version = 16 : i64}
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %j = onnx.node "Unsqueeze"(%columns, %first) {version = 16 : i64}
    : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %nil = onnx.constant dense<0.0> : tensor<f32>
  %low = onnx.constant dense<0xFF800000> : tensor<f32>
  %c = onnx.node "GreaterOrEqual"(%i, %j) {version = 16 : i64}
    : (tensor<?x1xi64>, tensor<1x?xi64>) -> tensor<?x?xi1>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %s1 = onnx.node "Where"(%c, %s0, %low) {version = 16 : i64}
    : (tensor<?x?xi1>, tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %nan = onnx.node "IsNaN"(%p) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xi1>
  %safe = onnx.node "Where"(%nan, %nil, %p) {version = 16 : i64}
    : (tensor<?x4x?x?xi1>, tensor<f32>, tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%safe, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// j <= i without the past hides other keys: the mask stays a bias.
// CHECK-LABEL: func.func @not_causal
func.func @not_causal(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: %[[W:.*]] = onnx.node "Where"
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 bias %[[W]] scale
  // REMARK: a mask is not only causal and padding: it stays a bias
  %zero = onnx.constant dense<0> : tensor<i64>
  %one = onnx.constant dense<1> : tensor<i64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %second = onnx.constant dense<1> : tensor<1xi64>
  %past = qmodel.dim_tensor ["p"] : tensor<i64>
  %seq = qmodel.dim_tensor ["s"] : tensor<i64>
  %total = qmodel.dim_tensor ["p + s"] : tensor<i64>
  %rows = onnx.node "Range"(%zero, %seq, %one) {version = 16 : i64}
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %i0 = onnx.node "Unsqueeze"(%rows, %second) {version = 16 : i64}
    : (tensor<?xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  %i = onnx.node "Add"(%i0, %past) {version = 16 : i64}
    : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %columns = onnx.node "Range"(%zero, %total, %one) {version = 16 : i64}
    : (tensor<i64>, tensor<i64>, tensor<i64>) -> tensor<?xi64>
  %j = onnx.node "Unsqueeze"(%columns, %first) {version = 16 : i64}
    : (tensor<?xi64>, tensor<1xi64>) -> tensor<1x?xi64>
  %nil = onnx.constant dense<0.0> : tensor<f32>
  %low = onnx.constant dense<-1.0e+09> : tensor<f32>
  %c = onnx.node "LessOrEqual"(%j, %i0) {version = 16 : i64}
    : (tensor<1x?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %w = onnx.node "Where"(%c, %nil, %low) {version = 16 : i64}
    : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %s1 = onnx.node "Add"(%s0, %w) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x?xf32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// A mask from outside is not understood either.
// CHECK-LABEL: func.func @given_bias
func.func @given_bias(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %m: tensor<?x1x?x?xf32>)
    -> tensor<?x4x?x8xf32> {
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 bias %arg3 scale
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %s1 = onnx.node "Add"(%s0, %m) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x1x?x?xf32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// Trilu, 0 below and -inf above the diagonal; no past.
// CHECK-LABEL: func.func @triangle
func.func @triangle(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "3", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "3", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "3", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: qmodel.attention %{{.*}}, %arg1, %arg2 causal
  // CHECK-NOT: onnx.node "Add"
  %low = onnx.constant dense<0xFF800000> : tensor<3x3xf32>
  %one = onnx.constant dense<1> : tensor<i64>
  %w = onnx.node "Trilu"(%low, %one) attributes {upper = 1 : i64} {version = 16 : i64}
    : (tensor<3x3xf32>, tensor<i64>) -> tensor<3x3xf32>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %s1 = onnx.node "Add"(%s0, %w) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<3x3xf32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// Repeated heads: taken before they were repeated.
// CHECK-LABEL: func.func @grouped
func.func @grouped(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]},
                   %k: tensor<?x2x?x8xf32> {qmodel.dims = ["b", "2", "t", "8"]},
                   %v: tensor<?x2x?x8xf32> {qmodel.dims = ["b", "2", "t", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 scale
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2> : tensor<1xi64>
  %five = qmodel.dim_tensor ["b", "2", "2", "t", "8"] : tensor<5xi64>
  %four = qmodel.dim_tensor ["b", "4", "t", "8"] : tensor<4xi64>
  %k1 = onnx.node "Unsqueeze"(%k, %two) {version = 16 : i64}
    : (tensor<?x2x?x8xf32>, tensor<1xi64>) -> tensor<?x2x1x?x8xf32>
  %k2 = onnx.node "Expand"(%k1, %five) {version = 16 : i64}
    : (tensor<?x2x1x?x8xf32>, tensor<5xi64>) -> tensor<?x2x2x?x8xf32>
  %k3 = onnx.node "Reshape"(%k2, %four) {version = 16 : i64}
    : (tensor<?x2x2x?x8xf32>, tensor<4xi64>) -> tensor<?x4x?x8xf32>
  %v1 = onnx.node "Unsqueeze"(%v, %two) {version = 16 : i64}
    : (tensor<?x2x?x8xf32>, tensor<1xi64>) -> tensor<?x2x1x?x8xf32>
  %v2 = onnx.node "Expand"(%v1, %five) {version = 16 : i64}
    : (tensor<?x2x1x?x8xf32>, tensor<5xi64>) -> tensor<?x2x2x?x8xf32>
  %v3 = onnx.node "Reshape"(%v2, %four) {version = 16 : i64}
    : (tensor<?x2x2x?x8xf32>, tensor<4xi64>) -> tensor<?x4x?x8xf32>
  %kt = onnx.node "Transpose"(%k3) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s0) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v3) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// A softmax over rows is another thing, and so is one of no product.
// CHECK-LABEL: func.func @refused
func.func @refused(%s: tensor<?x4x?x?xf32>, %v: tensor<?x4x?x8xf32>)
    -> (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) {
  // CHECK-NOT: qmodel.attention
  // CHECK: return
  // REMARK: no product of queries and keys before the softmax
  %p = onnx.node "Softmax"(%s) attributes {axis = 2 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  %p2 = onnx.node "Softmax"(%s) attributes {axis = 3 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y2 = onnx.node "MatMul"(%p2, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y, %y2 : tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>
}

// A stored triangle, cut to the rows after the past. Every row sees itself, so -1e4
// hides.
// CHECK-LABEL: func.func @stored_triangle
func.func @stored_triangle(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 causal scale 1{{.*}} mask_value -1.0{{0*}}e+04
  %t = onnx.constant dense<[[[[true, false, false], [true, true, false], [true, true, true]]]]> : tensor<1x1x3x3xi1>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %start = qmodel.dim_tensor ["p"] : tensor<1xi64>
  %zero = onnx.constant dense<0> : tensor<1xi64>
  %end = qmodel.dim_tensor ["p + s"] : tensor<1xi64>
  %two = onnx.constant dense<2> : tensor<1xi64>
  %three = onnx.constant dense<3> : tensor<1xi64>
  %r = onnx.node "Slice"(%t, %start, %end, %two) {version = 16 : i64}
    : (tensor<1x1x3x3xi1>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x1x?x3xi1>
  %m = onnx.node "Slice"(%r, %zero, %end, %three) {version = 16 : i64}
    : (tensor<1x1x?x3xi1>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x1x?x?xi1>
  %low = onnx.constant dense<-1.0e4> : tensor<f32>
  %s1 = onnx.node "Where"(%m, %s0, %low) {version = 16 : i64}
    : (tensor<1x1x?x?xi1>, tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// Rows from the first are not those of the new tokens.
// CHECK-LABEL: func.func @refused_triangle_start
func.func @refused_triangle_start(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK-NOT: qmodel.attention
  %t = onnx.constant dense<[[[[true, false, false], [true, true, false], [true, true, true]]]]> : tensor<1x1x3x3xi1>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %start = qmodel.dim_tensor ["p"] : tensor<1xi64>
  %zero = onnx.constant dense<0> : tensor<1xi64>
  %end = qmodel.dim_tensor ["p + s"] : tensor<1xi64>
  %two = onnx.constant dense<2> : tensor<1xi64>
  %three = onnx.constant dense<3> : tensor<1xi64>
  %r = onnx.node "Slice"(%t, %zero, %end, %two) {version = 16 : i64}
    : (tensor<1x1x3x3xi1>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x1x?x3xi1>
  %m = onnx.node "Slice"(%r, %zero, %end, %three) {version = 16 : i64}
    : (tensor<1x1x?x3xi1>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x1x?x?xi1>
  %low = onnx.constant dense<-1.0e4> : tensor<f32>
  %s1 = onnx.node "Where"(%m, %s0, %low) {version = 16 : i64}
    : (tensor<1x1x?x?xi1>, tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// A window is no triangle.
// CHECK-LABEL: func.func @refused_stored_window
func.func @refused_stored_window(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK-NOT: qmodel.attention
  %t = onnx.constant dense<[[[[true, false, false], [true, true, false], [false, true, true]]]]> : tensor<1x1x3x3xi1>
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %start = qmodel.dim_tensor ["p"] : tensor<1xi64>
  %zero = onnx.constant dense<0> : tensor<1xi64>
  %end = qmodel.dim_tensor ["p + s"] : tensor<1xi64>
  %two = onnx.constant dense<2> : tensor<1xi64>
  %three = onnx.constant dense<3> : tensor<1xi64>
  %r = onnx.node "Slice"(%t, %start, %end, %two) {version = 16 : i64}
    : (tensor<1x1x3x3xi1>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x1x?x3xi1>
  %m = onnx.node "Slice"(%r, %zero, %end, %three) {version = 16 : i64}
    : (tensor<1x1x?x3xi1>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<1x1x?x?xi1>
  %low = onnx.constant dense<-1.0e4> : tensor<f32>
  %s1 = onnx.node "Where"(%m, %s0, %low) {version = 16 : i64}
    : (tensor<1x1x?x?xi1>, tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// A mask that keeps its dimensions of size 1.
// CHECK-LABEL: func.func @padding_of_rank_4
func.func @padding_of_rank_4(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %mask: tensor<?x1x1x?xi1> {qmodel.dims = ["b", "1", "1", "p + s"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: %[[M:.*]] = onnx.node "Squeeze"(%arg3
  // CHECK: qmodel.attention %arg0, %arg1, %arg2 key_mask %[[M]] scale
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %low = onnx.constant dense<-1.0e9> : tensor<f32>
  %s1 = onnx.node "Where"(%mask, %s0, %low) {version = 16 : i64}
    : (tensor<?x1x1x?xi1>, tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// A padded row may see nothing: then -1e4 hides nothing either.
// CHECK-LABEL: func.func @refused_weak_padding
func.func @refused_weak_padding(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %k: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "p + s", "8"]}, %mask: tensor<?x1x1x?xi1> {qmodel.dims = ["b", "1", "1", "p + s"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK-NOT: qmodel.attention
  %kt = onnx.node "Transpose"(%k) attributes {perm = [0, 1, 3, 2]} {version = 16 : i64}
    : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %s0 = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %low = onnx.constant dense<-1.0e4> : tensor<f32>
  %s1 = onnx.node "Where"(%mask, %s0, %low) {version = 16 : i64}
    : (tensor<?x1x1x?xi1>, tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s1) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}

// qmodel.attention has no float64.
// CHECK-LABEL: func.func @refused_float64
func.func @refused_float64(%q: tensor<?x4x?x8xf64>, %kt: tensor<?x4x8x?xf64>, %v: tensor<?x4x?x8xf64>) -> tensor<?x4x?x8xf64> {
  // CHECK-NOT: qmodel.attention
  // REMARK: expects floats of at most 32 bits, got 'f64'
  %s = onnx.node "MatMul"(%q, %kt) {version = 16 : i64}
    : (tensor<?x4x?x8xf64>, tensor<?x4x8x?xf64>) -> tensor<?x4x?x?xf64>
  %p = onnx.node "Softmax"(%s) attributes {axis = -1 : i64} {version = 16 : i64}
    : (tensor<?x4x?x?xf64>) -> tensor<?x4x?x?xf64>
  %y = onnx.node "MatMul"(%p, %v) {version = 16 : i64}
    : (tensor<?x4x?x?xf64>, tensor<?x4x?x8xf64>) -> tensor<?x4x?x8xf64>
  return %y : tensor<?x4x?x8xf64>
}

// Batch and heads are one dimension in both products.
// CHECK-LABEL: func.func @merged_heads
func.func @merged_heads(%q: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]}, %kt: tensor<?x4x8x?xf32> {qmodel.dims = ["b", "4", "8", "s"]}, %v: tensor<?x4x?x8xf32> {qmodel.dims = ["b", "4", "s", "8"]})
    -> tensor<?x4x?x8xf32> {
  // CHECK: %[[K:.*]] = onnx.node "Transpose"(%arg1)
  // CHECK: qmodel.attention %arg0, %[[K]], %arg2 scale 1
  %rows = qmodel.dim_tensor ["4*b", "s", "8"] : tensor<3xi64>
  %columns = qmodel.dim_tensor ["4*b", "8", "s"] : tensor<3xi64>
  %square = qmodel.dim_tensor ["4*b", "s", "s"] : tensor<3xi64>
  %split = qmodel.dim_tensor ["b", "4", "s", "s"] : tensor<4xi64>
  %back = qmodel.dim_tensor ["b", "4", "s", "8"] : tensor<4xi64>
  %q3 = onnx.node "Reshape"(%q, %rows) {version = 16 : i64} : (tensor<?x4x?x8xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %k3 = onnx.node "Reshape"(%kt, %columns) {version = 16 : i64} : (tensor<?x4x8x?xf32>, tensor<3xi64>) -> tensor<?x8x?xf32>
  %s3 = onnx.node "MatMul"(%q3, %k3) {version = 16 : i64} : (tensor<?x?x8xf32>, tensor<?x8x?xf32>) -> tensor<?x?x?xf32>
  %s = onnx.node "Reshape"(%s3, %split) {version = 16 : i64} : (tensor<?x?x?xf32>, tensor<4xi64>) -> tensor<?x4x?x?xf32>
  %p = onnx.node "Softmax"(%s) attributes {axis = -1 : i64} {version = 16 : i64} : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %p3 = onnx.node "Reshape"(%p, %square) {version = 16 : i64} : (tensor<?x4x?x?xf32>, tensor<3xi64>) -> tensor<?x?x?xf32>
  %v3 = onnx.node "Reshape"(%v, %rows) {version = 16 : i64} : (tensor<?x4x?x8xf32>, tensor<3xi64>) -> tensor<?x?x8xf32>
  %y3 = onnx.node "MatMul"(%p3, %v3) {version = 16 : i64} : (tensor<?x?x?xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %y = onnx.node "Reshape"(%y3, %back) {version = 16 : i64} : (tensor<?x?x8xf32>, tensor<4xi64>) -> tensor<?x4x?x8xf32>
  return %y : tensor<?x4x?x8xf32>
}
