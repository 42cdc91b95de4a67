// RUN: quant-opt %s --onnx-fold-shapes | FileCheck %s
// RUN: quant-opt %s --onnx-fold-shapes --onnx-fold-shapes | FileCheck %s

// What arithmetic says, as one op; the result learns what is static.
// CHECK-LABEL: func.func @reshape
func.func @reshape(%x: tensor<?x?x64xf32> {qmodel.dims = ["batch", "past + seq", "64"]})
    -> tensor<?x?x?x?xf32> {
  // CHECK: %[[S:.*]] = qmodel.dim_tensor ["batch", "{{past \+ seq|seq \+ past}}", "8", "8"] : tensor<4xi64>
  // CHECK: onnx.node "Reshape"(%arg0, %[[S]]) {{.*}} -> tensor<?x?x8x8xf32>
  // CHECK-NOT: onnx.node
  %zero = onnx.constant dense<0> : tensor<i64>
  %first = onnx.constant dense<0> : tensor<1xi64>
  %minus = onnx.constant dense<-1> : tensor<1xi64>
  %eight = onnx.constant dense<8> : tensor<1xi64>
  %s = onnx.node "Shape"(%x) {version = 16 : i64} : (tensor<?x?x64xf32>) -> tensor<3xi64>
  %b = onnx.node "Gather"(%s, %zero) attributes {axis = 0 : i64} {version = 16 : i64}
    : (tensor<3xi64>, tensor<i64>) -> tensor<i64>
  %b1 = onnx.node "Unsqueeze"(%b, %first) {version = 16 : i64}
    : (tensor<i64>, tensor<1xi64>) -> tensor<1xi64>
  %to = onnx.node "Concat"(%b1, %minus, %eight, %eight) attributes {axis = 0 : i64} {version = 16 : i64}
    : (tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<4xi64>
  %y = onnx.node "Reshape"(%x, %to) {version = 16 : i64}
    : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<?x?x?x?xf32>
  %s2 = onnx.node "Shape"(%y) {version = 16 : i64} : (tensor<?x?x?x?xf32>) -> tensor<4xi64>
  %z = onnx.node "Reshape"(%x, %s2) {version = 16 : i64}
    : (tensor<?x?x64xf32>, tensor<4xi64>) -> tensor<?x?x?x?xf32>
  return %z : tensor<?x?x?x?xf32>
}

// Without symbols: a constant.
// CHECK-LABEL: func.func @static
func.func @static(%x: tensor<?x64xf32> {qmodel.dims = ["n", "64"]}) -> tensor<i64> {
  // CHECK: %[[C:.*]] = onnx.constant dense<32> : tensor<i64>
  // CHECK-NEXT: return %[[C]]
  %one = onnx.constant dense<1> : tensor<i64>
  %two = onnx.constant dense<2> : tensor<i64>
  %s = onnx.node "Shape"(%x) {version = 16 : i64} : (tensor<?x64xf32>) -> tensor<2xi64>
  %d = onnx.node "Gather"(%s, %one) attributes {axis = 0 : i64} {version = 16 : i64}
    : (tensor<2xi64>, tensor<i64>) -> tensor<i64>
  %h = onnx.node "Div"(%d, %two) {version = 16 : i64} : (tensor<i64>, tensor<i64>) -> tensor<i64>
  return %h : tensor<i64>
}

// Nodes that change nothing.
// CHECK-LABEL: func.func @nothing
func.func @nothing(%x: tensor<?x4xf32> {qmodel.dims = ["n", "4"]}) -> tensor<?x4xf32> {
  // CHECK-NEXT: return %arg0
  %zero = onnx.constant dense<0> : tensor<1xi64>
  %end = onnx.constant dense<9223372036854775807> : tensor<1xi64>
  %shape = onnx.constant dense<[-1, 4]> : tensor<2xi64>
  %ones = onnx.constant dense<1> : tensor<2xi64>
  %1 = onnx.node "Identity"(%x) {version = 16 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2, %m = onnx.node "Dropout"(%1) {version = 16 : i64} : (tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xi1>)
  %3 = onnx.node "Cast"(%2) attributes {to = 1 : i64} {version = 16 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %4 = onnx.node "Reshape"(%3, %shape) {version = 16 : i64} : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %5 = onnx.node "Expand"(%4, %ones) {version = 16 : i64} : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x4xf32>
  %6 = onnx.node "Transpose"(%5) attributes {perm = [0, 1]} {version = 16 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %7 = onnx.node "Slice"(%6, %zero, %end, %zero) {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x4xf32>
  return %7 : tensor<?x4xf32>
}

// Small constants are computed.
// CHECK-LABEL: func.func @constants
func.func @constants(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // CHECK: %[[C:.*]] = onnx.constant dense<8.0{{0*}}e+00> : tensor<f32>
  // CHECK-NEXT: onnx.node "Mul"(%arg0, %[[C]])
  // CHECK-NOT: onnx.node
  %a = onnx.constant dense<16.0> : tensor<f32>
  %b = onnx.constant dense<2.0> : tensor<f32>
  %r = onnx.node "Sqrt"(%a) {version = 16 : i64} : (tensor<f32>) -> tensor<f32>
  %s = onnx.node "Mul"(%r, %b) {version = 16 : i64} : (tensor<f32>, tensor<f32>) -> tensor<f32>
  %y = onnx.node "Mul"(%x, %s) {version = 16 : i64} : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// A reversal has the shape of its operand and is not nothing; casts that change
// the type, operators without a meaning here and large results stay.
// CHECK-LABEL: func.func @refused
func.func @refused(%x: tensor<?x4xf32> {qmodel.dims = ["n", "4"]})
    -> (tensor<?x4xf32>, tensor<?x4xf16>, tensor<f32>, tensor<5000xf32>) {
  // CHECK-DAG: onnx.node "Slice"
  // CHECK-DAG: onnx.node "Cast"
  // CHECK-DAG: onnx.node "Mystery"
  // CHECK-DAG: onnx.node "ConstantOfShape"
  %zero = onnx.constant dense<-1> : tensor<1xi64>
  %end = onnx.constant dense<-9223372036854775807> : tensor<1xi64>
  %axis = onnx.constant dense<1> : tensor<1xi64>
  %back = onnx.constant dense<-1> : tensor<1xi64>
  %size = onnx.constant dense<5000> : tensor<1xi64>
  %f = onnx.constant dense<1.0> : tensor<f32>
  %1 = onnx.node "Slice"(%x, %zero, %end, %axis, %back) {version = 16 : i64}
    : (tensor<?x4xf32>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?x4xf32>
  %2 = onnx.node "Cast"(%x) attributes {to = 10 : i64} {version = 16 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf16>
  %3 = onnx.node "Mystery"(%f) {version = 16 : i64} : (tensor<f32>) -> tensor<f32>
  %4 = onnx.node "ConstantOfShape"(%size) {version = 16 : i64} : (tensor<1xi64>) -> tensor<5000xf32>
  return %1, %2, %3, %4 : tensor<?x4xf32>, tensor<?x4xf16>, tensor<f32>, tensor<5000xf32>
}

// A constant condition leaves one branch, also of an If inside of it.
// CHECK-LABEL: func.func @branch
func.func @branch(%x: tensor<4xf32>, %c: tensor<i1>) -> (tensor<4xf32>, tensor<?xf32>) {
  // CHECK-NEXT: %[[E:.*]] = onnx.node "Exp"(%arg0)
  // CHECK-NEXT: %[[F:.*]] = onnx.node "If"(%arg1)
  // CHECK: return %[[E]], %[[F]]
  %true = onnx.constant dense<true> : tensor<i1>
  %0 = onnx.node "If"(%true) {version = 16 : i64} : (tensor<i1>) -> tensor<4xf32> {
    onnx.yield %x : tensor<4xf32>
  }, {
    %false = onnx.constant dense<false> : tensor<1xi1>
    %1 = onnx.node "If"(%false) {version = 16 : i64} : (tensor<1xi1>) -> tensor<4xf32> {
      %2 = onnx.node "Exp"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<4xf32>
      onnx.yield %2 : tensor<4xf32>
    }, {
      onnx.yield %x : tensor<4xf32>
    }
    onnx.yield %1 : tensor<4xf32>
  }
  %3 = onnx.node "If"(%c) {version = 16 : i64} : (tensor<i1>) -> tensor<?xf32> {
    onnx.yield %0 : tensor<4xf32>
  }, {
    onnx.yield %x : tensor<4xf32>
  }
  return %0, %3 : tensor<4xf32>, tensor<?xf32>
}
