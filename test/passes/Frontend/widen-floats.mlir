// Activations of 16 bits become float32; ports, weights of layers and unknown
// operators keep their types.

// RUN: quant-opt %s --qmodel-widen-floats | FileCheck %s
// RUN: quant-opt %s --qmodel-widen-floats --remarks-filter=".*" --remark-format=emitRemark 2>&1 \
// RUN:   | FileCheck %s --check-prefix=REMARK
// A second time there is nothing left to do.
// RUN: quant-opt %s --qmodel-widen-floats -o %t.once
// RUN: quant-opt %s --qmodel-widen-floats --qmodel-widen-floats -o %t.twice
// RUN: diff %t.once %t.twice

// CHECK-DAG: qmodel.weight @w : tensor<2x4xf16>
// CHECK-DAG: qmodel.weight @table.float32 : tensor<2x3xf32> = dense<{{\[}}[1.500000e+00, 0.000000e+00, 0xFF800000], [2.500000e-01, -3.40282347E+38, 3.40282347E+38]]>
qmodel.weight @w : tensor<2x4xf16> = dense<1.5> : tensor<2x4xf16>
qmodel.weight @gain : tensor<4xbf16> = dense<2.0> : tensor<4xbf16>
qmodel.weight @table : tensor<2x3xf16> = dense<[[1.5, 0.0, 0xFC00], [0.25, -65504.0, 65504.0]]> : tensor<2x3xf16>

// CHECK-LABEL: func.func @layers(
// CHECK-SAME: %[[X:.*]]: tensor<?x4xf16>
// CHECK-SAME: -> tensor<?x2xf16>
// CHECK: %[[WIDE:.*]] = onnx.node "Cast"(%[[X]]) attributes {to = 1 : i64}
// CHECK: %[[GAIN:.*]] = qmodel.load @gain.float32 : tensor<4xf32>
// CHECK: %[[NORM:.*]] = qmodel.rms_norm %[[WIDE]], %[[GAIN]]
// CHECK: %[[W:.*]] = qmodel.load @w : tensor<2x4xf16>
// CHECK: %[[Y:.*]] = qmodel.linear "up" %[[NORM]], %[[W]] : (tensor<?x4xf32>, tensor<2x4xf16>) -> tensor<?x2xf32>
// CHECK: %[[Z:.*]] = onnx.node "Cast"(%[[Y]]) attributes {to = 10 : i64}
// CHECK: return %[[Z]] : tensor<?x2xf16>
func.func @layers(%x: tensor<?x4xf16> {qmodel.dims = ["n", "4"]}) -> tensor<?x2xf16> {
  %b = onnx.node "Cast"(%x) attributes {to = 16 : i64} {version = 17 : i64} : (tensor<?x4xf16>) -> tensor<?x4xbf16>
  %g = qmodel.load @gain : tensor<4xbf16>
  %n = qmodel.rms_norm %b, %g epsilon 1.0e-5 : (tensor<?x4xbf16>, tensor<4xbf16>) -> tensor<?x4xbf16>
  %h = onnx.node "Cast"(%n) attributes {to = 10 : i64} {version = 17 : i64} : (tensor<?x4xbf16>) -> tensor<?x4xf16>
  %w = qmodel.load @w : tensor<2x4xf16>
  %y = qmodel.linear "up" %h, %w : (tensor<?x4xf16>, tensor<2x4xf16>) -> tensor<?x2xf16>
  return %y : tensor<?x2xf16>
}

// The embedding reads the table as it is stored; a Gather does not.
// CHECK-LABEL: func.func @tables(
// CHECK-DAG: %[[ROWS:.*]] = qmodel.load @table : tensor<2x3xf16>
// CHECK-DAG: %[[WIDE:.*]] = qmodel.load @table.float32 : tensor<2x3xf32>
// CHECK-DAG: qmodel.embedding "e" %[[ROWS]], %{{.*}} -> tensor<?x3xf32>
// CHECK-DAG: onnx.node "Gather"(%[[WIDE]], %{{.*}}) {{.*}} -> tensor<?x3xf32>
func.func @tables(%i: tensor<?xi64> {qmodel.dims = ["n"]}) -> (tensor<?x3xf16>, tensor<?x3xf16>) {
  %t = qmodel.load @table : tensor<2x3xf16>
  %e = qmodel.embedding "e" %t, %i : (tensor<2x3xf16>, tensor<?xi64>) -> tensor<?x3xf16>
  %r = onnx.node "Gather"(%t, %i) {version = 17 : i64} : (tensor<2x3xf16>, tensor<?xi64>) -> tensor<?x3xf16>
  return %e, %r : tensor<?x3xf16>, tensor<?x3xf16>
}

// The lowest number of a type stays the lowest; constants otherwise keep their
// value, and attributes say the new type.
// CHECK-LABEL: func.func @constants(
// CHECK: onnx.constant dense<-3.40282347E+38> : tensor<f32>
// CHECK: onnx.constant dense<0.0999755859> : tensor<f32>
// CHECK: onnx.node "ConstantOfShape"(%{{.*}}) attributes {value = dense<1.000000e+00> : tensor<1xf32>}
// CHECK: onnx.node "Cast"(%{{.*}}) attributes {to = 1 : i64} {version = 17 : i64} : (tensor<?xi64>) -> tensor<?xf32>
func.func @constants(%m: tensor<?xi1> {qmodel.dims = ["n"]}, %i: tensor<?xi64> {qmodel.dims = ["n"]}) -> tensor<?xf16> {
  %low = onnx.constant dense<-65504.0> : tensor<f16>
  %tenth = onnx.constant dense<0.0999755859375> : tensor<f16>
  %masked = onnx.node "Where"(%m, %tenth, %low) {version = 17 : i64} : (tensor<?xi1>, tensor<f16>, tensor<f16>) -> tensor<?xf16>
  %s = onnx.node "Shape"(%masked) {version = 17 : i64} : (tensor<?xf16>) -> tensor<1xi64>
  %ones = onnx.node "ConstantOfShape"(%s) attributes {value = dense<1.0> : tensor<1xf16>} {version = 17 : i64} : (tensor<1xi64>) -> tensor<?xf16>
  %f = onnx.node "Cast"(%i) attributes {to = 10 : i64} {version = 17 : i64} : (tensor<?xi64>) -> tensor<?xf16>
  %y = onnx.node "Add"(%masked, %ones) {version = 17 : i64} : (tensor<?xf16>, tensor<?xf16>) -> tensor<?xf16>
  %z = onnx.node "Add"(%y, %f) {version = 17 : i64} : (tensor<?xf16>, tensor<?xf16>) -> tensor<?xf16>
  return %z : tensor<?xf16>
}

// The mask of an attention is a constant too.
// CHECK-LABEL: func.func @attention(
// CHECK: qmodel.attention {{.*}} mask_value -3.4028234663852886E+38
func.func @attention(%q: tensor<?x2x?x8xf16> {qmodel.dims = ["b", "2", "s", "8"]}) -> tensor<?x2x?x8xf16> {
  %y = qmodel.attention %q, %q, %q causal scale 1.0 mask_value -65504.0 : (tensor<?x2x?x8xf16>, tensor<?x2x?x8xf16>, tensor<?x2x?x8xf16>) -> tensor<?x2x?x8xf16>
  return %y : tensor<?x2x?x8xf16>
}

// CHECK-LABEL: func.func @unknown(
// CHECK: %[[H:.*]] = onnx.node "Cast"(%{{.*}}) attributes {to = 10 : i64}
// CHECK: %[[U:.*]] = onnx.node "Mystery"(%[[H]]) {{.*}} : (tensor<?xf16>) -> tensor<?xf16>
// CHECK: %[[W:.*]] = onnx.node "Cast"(%[[U]]) attributes {to = 1 : i64}
// CHECK: onnx.node "Relu"(%[[W]]) {{.*}} -> tensor<?xf32>
// REMARK: what this operator does is unknown: it keeps its types
func.func @unknown(%x: tensor<?xf16> {qmodel.dims = ["n"]}) -> tensor<?xf16> {
  %a = onnx.node "Relu"(%x) {version = 17 : i64} : (tensor<?xf16>) -> tensor<?xf16>
  %u = onnx.node "Mystery"(%a) {version = 1 : i64} : (tensor<?xf16>) -> tensor<?xf16>
  %b = onnx.node "Relu"(%u) {version = 17 : i64} : (tensor<?xf16>) -> tensor<?xf16>
  return %b : tensor<?xf16>
}
