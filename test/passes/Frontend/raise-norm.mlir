// RUN: quant-opt %s --onnx-raise-norm | FileCheck %s
// RUN: quant-opt %s --onnx-raise-norm --onnx-raise-norm | FileCheck %s

qmodel.weight @gain : tensor<4xf32> = dense<1.0> : tensor<4xf32>
qmodel.weight @bias : tensor<4xf32> = dense<1.0> : tensor<4xf32>

// Llama as TorchScript exports it.
// CHECK-LABEL: func.func @pow_div
func.func @pow_div(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  // CHECK: qmodel.rms_norm %{{.*}}, %{{.*}} epsilon 9.99
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2.0> : tensor<f32>
  %eps = onnx.constant dense<1.0e-05> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %half = onnx.constant dense<-0.5> : tensor<f32>
  %gain = qmodel.load @gain : tensor<4xf32>
  %sq = onnx.node "Pow"(%x, %two) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<f32>) -> tensor<?x?x4xf32>
  %ms = onnx.node "ReduceMean"(%sq) attributes {axes = [2], keepdims = 1 : i64} {version = 16 : i64}
    : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %v = onnx.node "Add"(%ms, %eps) {version = 16 : i64}
    : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32>
  %r = onnx.node "Sqrt"(%v) {version = 16 : i64}
    : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %i = onnx.node "Div"(%one, %r) {version = 16 : i64}
    : (tensor<f32>, tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %n = onnx.node "Mul"(%x, %i) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %y = onnx.node "Mul"(%gain, %n) {version = 16 : i64}
    : (tensor<4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// Another square, root and order of operands.
// CHECK-LABEL: func.func @mul_reciprocal
func.func @mul_reciprocal(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  // CHECK: qmodel.rms_norm %{{.*}}, %{{.*}} epsilon 9.99
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2.0> : tensor<f32>
  %eps = onnx.constant dense<1.0e-05> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %half = onnx.constant dense<-0.5> : tensor<f32>
  %gain = qmodel.load @gain : tensor<4xf32>
  %sq = onnx.node "Mul"(%x, %x) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %ms = onnx.node "ReduceMean"(%sq) attributes {axes = [2], keepdims = 1 : i64} {version = 16 : i64}
    : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %v = onnx.node "Add"(%eps, %ms) {version = 16 : i64}
    : (tensor<f32>, tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %r = onnx.node "Sqrt"(%v) {version = 16 : i64}
    : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %i = onnx.node "Reciprocal"(%r) {version = 16 : i64}
    : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %n = onnx.node "Mul"(%i, %x) {version = 16 : i64}
    : (tensor<?x?x1xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %y = onnx.node "Mul"(%n, %gain) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// The root as a power.
// CHECK-LABEL: func.func @power
func.func @power(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  // CHECK: qmodel.rms_norm %{{.*}}, %{{.*}} epsilon 9.99
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2.0> : tensor<f32>
  %eps = onnx.constant dense<1.0e-05> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %half = onnx.constant dense<-0.5> : tensor<f32>
  %gain = qmodel.load @gain : tensor<4xf32>
  %sq = onnx.node "Pow"(%x, %two) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<f32>) -> tensor<?x?x4xf32>
  %ms = onnx.node "ReduceMean"(%sq) attributes {axes = [2], keepdims = 1 : i64} {version = 16 : i64}
    : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %v = onnx.node "Add"(%ms, %eps) {version = 16 : i64}
    : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32>
  %i = onnx.node "Pow"(%v, %half) {version = 16 : i64}
    : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32>
  %n = onnx.node "Mul"(%x, %i) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %y = onnx.node "Mul"(%n, %gain) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// Divided by the root.
// CHECK-LABEL: func.func @quotient
func.func @quotient(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  // CHECK: qmodel.rms_norm %{{.*}}, %{{.*}} epsilon 9.99
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2.0> : tensor<f32>
  %eps = onnx.constant dense<1.0e-05> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %half = onnx.constant dense<-0.5> : tensor<f32>
  %gain = qmodel.load @gain : tensor<4xf32>
  %sq = onnx.node "Mul"(%x, %x) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %ms = onnx.node "ReduceMean"(%sq) attributes {axes = [2], keepdims = 1 : i64} {version = 16 : i64}
    : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %v = onnx.node "Add"(%ms, %eps) {version = 16 : i64}
    : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32>
  %r = onnx.node "Sqrt"(%v) {version = 16 : i64}
    : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %n = onnx.node "Div"(%x, %r) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %y = onnx.node "Mul"(%gain, %n) {version = 16 : i64}
    : (tensor<4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// Without a gain: the gain is ones.
// CHECK-LABEL: func.func @without_gain
func.func @without_gain(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  // CHECK: qmodel.rms_norm %{{.*}}, %{{.*}} epsilon 9.99
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2.0> : tensor<f32>
  %eps = onnx.constant dense<1.0e-05> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %half = onnx.constant dense<-0.5> : tensor<f32>
  %sq = onnx.node "Pow"(%x, %two) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<f32>) -> tensor<?x?x4xf32>
  %ms = onnx.node "ReduceMean"(%sq) attributes {axes = [2], keepdims = 1 : i64} {version = 16 : i64}
    : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %v = onnx.node "Add"(%ms, %eps) {version = 16 : i64}
    : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32>
  %r = onnx.node "Sqrt"(%v) {version = 16 : i64}
    : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %n = onnx.node "Div"(%x, %r) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  return %n : tensor<?x?x4xf32>
}

// The same of x - mean(x), with gain and bias.
// CHECK-LABEL: func.func @layer_norm
func.func @layer_norm(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  // CHECK: qmodel.layer_norm %{{.*}}, %{{.*}} bias %{{.*}} epsilon 9.99
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2.0> : tensor<f32>
  %eps = onnx.constant dense<1.0e-05> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %half = onnx.constant dense<-0.5> : tensor<f32>
  %gain = qmodel.load @gain : tensor<4xf32>
  %bias = qmodel.load @bias : tensor<4xf32>
  %mean = onnx.node "ReduceMean"(%x) attributes {axes = [-1]} {version = 16 : i64}
    : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %d = onnx.node "Sub"(%x, %mean) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %sq = onnx.node "Pow"(%d, %two) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<f32>) -> tensor<?x?x4xf32>
  %ms = onnx.node "ReduceMean"(%sq) attributes {axes = [2], keepdims = 1 : i64} {version = 16 : i64}
    : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %v = onnx.node "Add"(%ms, %eps) {version = 16 : i64}
    : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32>
  %r = onnx.node "Sqrt"(%v) {version = 16 : i64}
    : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %n = onnx.node "Div"(%d, %r) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %y = onnx.node "Mul"(%n, %gain) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  %z = onnx.node "Add"(%y, %bias) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<4xf32>) -> tensor<?x?x4xf32>
  return %z : tensor<?x?x4xf32>
}

// Layer norm without bias.
// CHECK-LABEL: func.func @layer_norm_without_bias
func.func @layer_norm_without_bias(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  // CHECK: qmodel.layer_norm %{{.*}}, %{{.*}} epsilon 9.99
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2.0> : tensor<f32>
  %eps = onnx.constant dense<1.0e-05> : tensor<f32>
  %one = onnx.constant dense<1.0> : tensor<f32>
  %half = onnx.constant dense<-0.5> : tensor<f32>
  %gain = qmodel.load @gain : tensor<4xf32>
  %mean = onnx.node "ReduceMean"(%x) attributes {axes = [-1]} {version = 16 : i64}
    : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %d = onnx.node "Sub"(%x, %mean) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %sq = onnx.node "Mul"(%d, %d) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %ms = onnx.node "ReduceMean"(%sq) attributes {axes = [2], keepdims = 1 : i64} {version = 16 : i64}
    : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %v = onnx.node "Add"(%ms, %eps) {version = 16 : i64}
    : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32>
  %r = onnx.node "Sqrt"(%v) {version = 16 : i64}
    : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %i = onnx.node "Reciprocal"(%r) {version = 16 : i64}
    : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %n = onnx.node "Mul"(%d, %i) {version = 16 : i64}
    : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %y = onnx.node "Mul"(%gain, %n) {version = 16 : i64}
    : (tensor<4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %y : tensor<?x?x4xf32>
}

// The precision of the sums is the op's own matter.
// CHECK-LABEL: func.func @casts
func.func @casts(%x: tensor<?x4xf16>, %gain: tensor<4xf16>) -> tensor<?x4xf16> {
  // CHECK: qmodel.rms_norm %arg0, %arg1 epsilon {{.*}} : (tensor<?x4xf16>, tensor<4xf16>) -> tensor<?x4xf16>
  // CHECK-NOT: onnx.node
  %two = onnx.constant dense<2.0> : tensor<f32>
  %eps = onnx.constant dense<1.0e-05> : tensor<f32>
  %c = onnx.node "Cast"(%x) attributes {to = 1 : i64} {version = 16 : i64}
    : (tensor<?x4xf16>) -> tensor<?x4xf32>
  %sq = onnx.node "Pow"(%c, %two) {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %ms = onnx.node "ReduceMean"(%sq) attributes {axes = [-1]} {version = 16 : i64}
    : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %v = onnx.node "Add"(%ms, %eps) {version = 16 : i64}
    : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %r = onnx.node "Sqrt"(%v) {version = 16 : i64} : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %n = onnx.node "Div"(%c, %r) {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %b = onnx.node "Cast"(%n) attributes {to = 10 : i64} {version = 16 : i64}
    : (tensor<?x4xf32>) -> tensor<?x4xf16>
  %y = onnx.node "Mul"(%gain, %b) {version = 16 : i64}
    : (tensor<4xf16>, tensor<?x4xf16>) -> tensor<?x4xf16>
  return %y : tensor<?x4xf16>
}

// CHECK-LABEL: func.func @operators
func.func @operators(%x: tensor<?x4xf32>, %g: tensor<4xf32>, %b: tensor<4xf32>)
    -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK: qmodel.layer_norm %arg0, %arg1 bias %arg2 epsilon
  // CHECK: qmodel.rms_norm %arg0, %arg1 epsilon
  // CHECK: qmodel.rms_norm %arg0, %arg1 epsilon
  // CHECK-NOT: onnx.node
  %1 = onnx.node "LayerNormalization"(%x, %g, %b) {version = 17 : i64}
    : (tensor<?x4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %2 = onnx.node "RMSNormalization"(%x, %g) attributes {axis = 1 : i64} {version = 23 : i64}
    : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %3 = onnx.node "SimplifiedLayerNormalization"(%x, %g) {version = 17 : i64}
    : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %1, %2, %3 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// The sum is the next layer's residual.
// CHECK-LABEL: func.func @skip
func.func @skip(%x: tensor<?x4xf32> {qmodel.dims = ["n", "4"]},
                %s: tensor<?x4xf32> {qmodel.dims = ["n", "4"]},
                %g: tensor<4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK: %[[SUM:.*]] = qmodel.add %arg0, %arg1
  // CHECK: %[[Y:.*]] = qmodel.rms_norm %[[SUM]], %arg2 epsilon
  // CHECK: return %[[Y]], %[[SUM]]
  %y, %m, %d, %sum = onnx.node "SkipSimplifiedLayerNormalization"(%x, %s, %g)
    {domain = "com.microsoft", version = 1 : i64}
    : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>)
    -> (tensor<?x4xf32>, none, none, tensor<?x4xf32>)
  return %y, %sum : tensor<?x4xf32>, tensor<?x4xf32>
}

// Another axis, and a skip that may be broadcast, stay.
// CHECK-LABEL: func.func @refused
func.func @refused(%x: tensor<?x4xf32> {qmodel.dims = ["n", "4"]},
                   %s: tensor<?x4xf32> {qmodel.dims = ["k", "4"]},
                   %g: tensor<4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  // CHECK: "LayerNormalization"
  // CHECK: "SkipSimplifiedLayerNormalization"
  %1 = onnx.node "LayerNormalization"(%x, %g) attributes {axis = 0 : i64} {version = 17 : i64}
    : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %2 = onnx.node "SkipSimplifiedLayerNormalization"(%x, %s, %g)
    {domain = "com.microsoft", version = 1 : i64}
    : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %1, %2 : tensor<?x4xf32>, tensor<?x4xf32>
}
