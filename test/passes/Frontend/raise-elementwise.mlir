// RUN: quant-opt %s --onnx-raise-elementwise | FileCheck %s
// RUN: quant-opt %s --onnx-raise-elementwise --onnx-raise-elementwise | FileCheck %s

qmodel.weight @table.weight : tensor<16x8xf32> = dense<1.0> : tensor<16x8xf32>

// x sigmoid(x).
// CHECK-LABEL: func.func @silu
func.func @silu(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation {{ *}}silu %arg0
  // CHECK-NOT: onnx.node
  %s = onnx.node "Sigmoid"(%x) {version = 16 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%s, %x) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// x / sqrt 2, the half last.
// CHECK-LABEL: func.func @gelu_divided
func.func @gelu_divided(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation {{ *}}gelu  %arg0
  // CHECK-NOT: onnx.node
  %half = onnx.constant dense<0.5> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %root = onnx.constant dense<1.41421354> : tensor<f32>
  %d = onnx.node "Div"(%x, %root) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf"(%d) {version = 16 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Add"(%e, %one) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %m = onnx.node "Mul"(%x, %a) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%m, %half) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// x * 0.707, the half at the gate.
// CHECK-LABEL: func.func @gelu_multiplied
func.func @gelu_multiplied(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation {{ *}}gelu  %arg0
  // CHECK-NOT: onnx.node
  %half = onnx.constant dense<0.5> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %inv = onnx.constant dense<0.707106769> : tensor<f32>
  %d = onnx.node "Mul"(%inv, %x) {version = 16 : i64}
    : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf"(%d) {version = 16 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Add"(%one, %e) {version = 16 : i64}
    : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %h = onnx.node "Mul"(%half, %a) {version = 16 : i64}
    : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%x, %h) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// The half at x, as a quotient.
// CHECK-LABEL: func.func @gelu_halved
func.func @gelu_halved(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation {{ *}}gelu  %arg0
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2.0> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %root = onnx.constant dense<1.41421354> : tensor<f32>
  %d = onnx.node "Div"(%x, %root) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf"(%d) {version = 16 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Add"(%e, %one) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %h = onnx.node "Div"(%x, %two) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%h, %a) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// The cube as a power.
// CHECK-LABEL: func.func @gelu_tanh_power
func.func @gelu_tanh_power(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation {{ *}}gelu_tanh %arg0
  // CHECK-NOT: onnx.node
  %half = onnx.constant dense<0.5> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %c = onnx.constant dense<0.797884583> : tensor<f32>
  %cubic = onnx.constant dense<4.471500e-02> : tensor<f32>
  %three = onnx.constant dense<3.0> : tensor<f32>
  %p = onnx.node "Pow"(%x, %three) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %q = onnx.node "Mul"(%cubic, %p) {version = 16 : i64}
    : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %r = onnx.node "Add"(%x, %q) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %u = onnx.node "Mul"(%c, %r) {version = 16 : i64}
    : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %t = onnx.node "Tanh"(%u) {version = 16 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Add"(%one, %t) {version = 16 : i64}
    : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %h = onnx.node "Mul"(%half, %x) {version = 16 : i64}
    : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%h, %a) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// The bracket as x (1 + 0.044715 x x).
// CHECK-LABEL: func.func @gelu_tanh_products
func.func @gelu_tanh_products(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation {{ *}}gelu_tanh %arg0
  // CHECK-NOT: onnx.node
  %half = onnx.constant dense<0.5> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %c = onnx.constant dense<0.797884583> : tensor<f32>
  %cubic = onnx.constant dense<4.471500e-02> : tensor<f32>
  %p = onnx.node "Mul"(%x, %x) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %q = onnx.node "Mul"(%p, %cubic) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %r = onnx.node "Add"(%q, %one) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %v = onnx.node "Mul"(%x, %c) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %u = onnx.node "Mul"(%v, %r) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %t = onnx.node "Tanh"(%u) {version = 16 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Add"(%t, %one) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %h = onnx.node "Mul"(%a, %x) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%h, %half) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// x sigmoid(1.702 x).
// CHECK-LABEL: func.func @gelu_quick
func.func @gelu_quick(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation {{ *}}gelu_quick %arg0
  // CHECK-NOT: onnx.node
  %quick = onnx.constant dense<1.702> : tensor<f32>
  %m = onnx.node "Mul"(%x, %quick) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %s = onnx.node "Sigmoid"(%m) {version = 16 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%x, %s) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// Operators that are activations.
// CHECK-LABEL: func.func @operator_gelu
func.func @operator_gelu(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation {{ *}}gelu_tanh %arg0
  // CHECK-NOT: onnx.node
  %y = onnx.node "Gelu"(%x) attributes {approximate = "tanh"} {version = 20 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// ONNX Runtime's.
// CHECK-LABEL: func.func @operator_fast_gelu
func.func @operator_fast_gelu(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: qmodel.activation {{ *}}gelu_tanh %arg0
  // CHECK-NOT: onnx.node
  %y = onnx.node "FastGelu"(%x) {domain = "com.microsoft", version = 1 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// silu(gate) * up is one op.
// CHECK-LABEL: func.func @gate
func.func @gate(%x: tensor<?x8xf32> {qmodel.dims = ["n", "8"]}, %z: tensor<?x8xf32> {qmodel.dims = ["n", "8"]}) -> tensor<?x8xf32> {
  // CHECK: qmodel.gated_activation {{ *}}silu %arg0, %arg1
  // CHECK-NOT: onnx.node
  %s = onnx.node "Sigmoid"(%x) {version = 16 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %g = onnx.node "Mul"(%x, %s) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%z, %g) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// A sum of one shape, and the product with it.
// CHECK-LABEL: func.func @residual
func.func @residual(%x: tensor<?x8xf32> {qmodel.dims = ["n", "8"]}, %z: tensor<?x8xf32> {qmodel.dims = ["n", "8"]}) -> tensor<?x8xf32> {
  // CHECK: %[[A:.*]] = qmodel.add %arg0, %arg1
  // CHECK: qmodel.multiply %arg1, %[[A]]
  %a = onnx.node "Add"(%x, %z) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%a, %z) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// The id is the node's name.
// CHECK-LABEL: func.func @embedding
func.func @embedding(%ids: tensor<?x?xi64>) -> tensor<?x?x8xf32> {
  // CHECK: %[[T:.*]] = qmodel.load @table.weight
  // CHECK: qmodel.embedding "m/embed_tokens" %[[T]], %arg0
  %t = qmodel.load @table.weight : tensor<16x8xf32>
  %y = onnx.node "Gather"(%t, %ids) {version = 16 : i64}
    : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32> loc("/m/embed_tokens/Gather")
  return %y : tensor<?x?x8xf32>
}

// n and k may differ: one could be 1.
// CHECK-LABEL: func.func @refused_broadcast
func.func @refused_broadcast(%x: tensor<?x8xf32> {qmodel.dims = ["n", "8"]}, %z: tensor<?x8xf32> {qmodel.dims = ["k", "8"]}) -> tensor<?x8xf32> {
  // CHECK: onnx.node "Add"
  // CHECK-NOT: qmodel.add
  %y = onnx.node "Add"(%x, %z) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// Twice a GELU is no GELU.
// CHECK-LABEL: func.func @refused_factor
func.func @refused_factor(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: "Erf"
  // CHECK-NOT: qmodel.activation
  %one = onnx.constant dense<1.0> : tensor<f32>
  %root = onnx.constant dense<1.41421354> : tensor<f32>
  %d = onnx.node "Div"(%x, %root) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %e = onnx.node "Erf"(%d) {version = 16 : i64}
    : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %a = onnx.node "Add"(%e, %one) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %y = onnx.node "Mul"(%x, %a) {version = 16 : i64}
    : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// Cosines of a table of positions are no embedding.
// CHECK-LABEL: func.func @refused_rope_table
func.func @refused_rope_table(%x: tensor<?x2x?x8xf32>, %positions: tensor<?x?xi64>) -> tensor<?x2x?x8xf32> {
  // CHECK-NOT: qmodel.embedding
  // CHECK: qmodel.rope
  %t = qmodel.load @table.weight : tensor<16x8xf32>
  %c = onnx.node "Gather"(%t, %positions) {version = 16 : i64}
    : (tensor<16x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %y = qmodel.rope %x, %c, %c : (tensor<?x2x?x8xf32>, tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}
