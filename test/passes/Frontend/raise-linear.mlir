// RUN: quant-opt %s --onnx-raise-linear | FileCheck %s
// RUN: quant-opt %s --onnx-raise-linear --onnx-raise-linear | FileCheck %s
// RUN: quant-opt %s --onnx-raise-linear --remarks-filter='.*' --remark-format=emitRemark -o %t 2>&1 | FileCheck %s --check-prefix=REMARK

qmodel.weight @in_out : tensor<4x2xf32> = dense<1.0> : tensor<4x2xf32>
qmodel.weight @out_in : tensor<2x4xf32> = dense<1.0> : tensor<2x4xf32>
qmodel.weight @batched : tensor<3x4x2xf32> = dense<1.0> : tensor<3x4x2xf32>
qmodel.weight @half : tensor<4x2xf16> = dense<1.0> : tensor<4x2xf16>
qmodel.weight @bias : tensor<2xf32> = dense<1.0> : tensor<2xf32>

// The weight is loaded as [out, in]; the id is the node's name, cleaned.
// CHECK-LABEL: func.func @matmul
func.func @matmul(%x: tensor<?x?x4xf32>) -> tensor<?x?x2xf32> {
  // CHECK: %[[W:.*]] = qmodel.load @in_out permutation [1, 0] : tensor<2x4xf32>
  // CHECK: qmodel.linear "m/layers.0/q_proj" %{{.*}}, %[[W]] :
  // CHECK-NOT: onnx.node
  %w = qmodel.load @in_out : tensor<4x2xf32>
  %y = onnx.node "MatMul"(%x, %w) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<4x2xf32>) -> tensor<?x?x2xf32> loc("/m/layers.0/q_proj/MatMul")
  return %y : tensor<?x?x2xf32>
}

// A cast that only widens: the weight is read as it is stored.
// CHECK-LABEL: func.func @widened
func.func @widened(%x: tensor<?x4xf32>) -> tensor<?x2xf32> {
  // CHECK: %[[W:.*]] = qmodel.load @half permutation [1, 0] : tensor<2x4xf16>
  // CHECK-NOT: Cast
  // CHECK: qmodel.linear "up" %{{.*}}, %[[W]] : (tensor<?x4xf32>, tensor<2x4xf16>) -> tensor<?x2xf32>
  %w = qmodel.load @half : tensor<4x2xf16>
  %wide = onnx.node "Cast"(%w) attributes {to = 1 : i64} {version = 16 : i64}
    : (tensor<4x2xf16>) -> tensor<4x2xf32>
  %y = onnx.node "MatMul"(%x, %wide) {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<4x2xf32>) -> tensor<?x2xf32> loc("/up/MatMul")
  return %y : tensor<?x2xf32>
}

// A tied head: the transposed table is the table itself.
// CHECK-LABEL: func.func @transposed
func.func @transposed(%x: tensor<?x4xf32>) -> tensor<?x2xf32> {
  // CHECK: %[[W:.*]] = qmodel.load @out_in : tensor<2x4xf32>
  // CHECK-NOT: Transpose
  // CHECK: qmodel.linear "lm_head" %{{.*}}, %[[W]] :
  %w = qmodel.load @out_in : tensor<2x4xf32>
  %t = onnx.node "Transpose"(%w) attributes {perm = [1, 0]} {version = 16 : i64}
    : (tensor<2x4xf32>) -> tensor<4x2xf32>
  %y = onnx.node "MatMul"(%x, %t) {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<4x2xf32>) -> tensor<?x2xf32> loc("/lm_head/MatMul")
  return %y : tensor<?x2xf32>
}

// The bias on the left. Without a name of its own, the weight's is the id.
// CHECK-LABEL: func.func @bias_left
func.func @bias_left(%x: tensor<?x4xf32>) -> tensor<?x2xf32> {
  // CHECK: %[[B:.*]] = qmodel.load @bias
  // CHECK: qmodel.linear "out_in" %{{.*}}, %{{.*}} bias %[[B]]
  // CHECK-NOT: "Add"
  %w = qmodel.load @out_in permutation [1, 0] : tensor<4x2xf32>
  %b = qmodel.load @bias : tensor<2xf32>
  %y = onnx.node "MatMul"(%x, %w) {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<4x2xf32>) -> tensor<?x2xf32> loc("MatMul_3")
  %z = onnx.node "Add"(%b, %y) {version = 16 : i64}
    : (tensor<2xf32>, tensor<?x2xf32>) -> tensor<?x2xf32>
  return %z : tensor<?x2xf32>
}

// CHECK-LABEL: func.func @bias_right
func.func @bias_right(%x: tensor<?x4xf32>) -> tensor<?x2xf32> {
  // CHECK: qmodel.linear "right" %{{.*}}, %{{.*}} bias
  // CHECK-NOT: "Add"
  %w = qmodel.load @in_out : tensor<4x2xf32>
  %b = qmodel.load @bias : tensor<2xf32>
  %y = onnx.node "MatMul"(%x, %w) {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<4x2xf32>) -> tensor<?x2xf32> loc("right/MatMul")
  %z = onnx.node "Add"(%y, %b) {version = 16 : i64}
    : (tensor<?x2xf32>, tensor<2xf32>) -> tensor<?x2xf32>
  return %z : tensor<?x2xf32>
}

// Gemm, with the weight as it is; the name is taken, so the id is numbered.
// CHECK-LABEL: func.func @gemm
func.func @gemm(%x: tensor<?x4xf32>) -> tensor<?x2xf32> {
  // CHECK: %[[W:.*]] = qmodel.load @out_in : tensor<2x4xf32>
  // CHECK: qmodel.linear "right_1" %{{.*}}, %[[W]] bias
  %w = qmodel.load @out_in : tensor<2x4xf32>
  %b = qmodel.load @bias : tensor<2xf32>
  %y = onnx.node "Gemm"(%x, %w, %b) attributes {transB = 1 : i64} {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<2x4xf32>, tensor<2xf32>) -> tensor<?x2xf32> loc("right/Gemm")
  return %y : tensor<?x2xf32>
}

// A small matrix that the importer left as a constant.
// CHECK-LABEL: func.func @constant
func.func @constant(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  // CHECK: %[[W:.*]] = qmodel.load @small.weight permutation [1, 0]
  // CHECK: qmodel.linear "small" %{{.*}}, %[[W]]
  %w = onnx.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %y = onnx.node "MatMul"(%x, %w) {version = 16 : i64}
    : (tensor<?x2xf32>, tensor<2x2xf32>) -> tensor<?x2xf32> loc("small/MatMul")
  return %y : tensor<?x2xf32>
}

// Two activations, a weight of rank 3, and scales stay.
// CHECK-LABEL: func.func @refused
func.func @refused(%x: tensor<3x?x4xf32>, %z: tensor<3x4x2xf32>, %a: tensor<?x4xf32>)
    -> (tensor<3x?x2xf32>, tensor<3x?x2xf32>, tensor<?x2xf32>) {
  // CHECK-NOT: qmodel.linear
  // CHECK: return
  // REMARK: expects a weight of rank 2, got rank 3
  // REMARK: alpha and beta other than 1 would need another weight
  %w = qmodel.load @batched : tensor<3x4x2xf32>
  %g = qmodel.load @in_out : tensor<4x2xf32>
  %1 = onnx.node "MatMul"(%x, %z) {version = 16 : i64}
    : (tensor<3x?x4xf32>, tensor<3x4x2xf32>) -> tensor<3x?x2xf32>
  %2 = onnx.node "MatMul"(%x, %w) {version = 16 : i64}
    : (tensor<3x?x4xf32>, tensor<3x4x2xf32>) -> tensor<3x?x2xf32>
  %3 = onnx.node "Gemm"(%a, %g) attributes {alpha = 0.5 : f32} {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<4x2xf32>) -> tensor<?x2xf32>
  return %1, %2, %3 : tensor<3x?x2xf32>, tensor<3x?x2xf32>, tensor<?x2xf32>
}
