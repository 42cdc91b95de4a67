// RUN: quant-opt --onnx-decompose %s | FileCheck %s
// RUN: quant-opt --onnx-decompose --remarks-filter='.*' %s 2>&1 | FileCheck %s --check-prefix=REMARK

// CHECK-LABEL: func.func @main
func.func @main(%a: tensor<4x3xui8>, %b: tensor<3x2xui8>, %zero: tensor<4xui8>) -> tensor<4x2xi32> {
  // CHECK: %[[COLUMN:.*]] = onnx.node "Reshape"(%arg2
  // CHECK: %[[A:.*]] = onnx.node "Cast"(%arg0)
  // CHECK: %[[ZERO:.*]] = onnx.node "Cast"(%[[COLUMN]])
  // CHECK: %[[LEFT:.*]] = onnx.node "Sub"(%[[A]], %[[ZERO]])
  // CHECK: %[[RIGHT:.*]] = onnx.node "Cast"(%arg1)
  // CHECK: onnx.node "MatMul"(%[[LEFT]], %[[RIGHT]])
  %y = onnx.node "MatMulInteger"(%a, %b, %zero) {version = 10 : i64} : (tensor<4x3xui8>, tensor<3x2xui8>, tensor<4xui8>) -> tensor<4x2xi32>
  return %y : tensor<4x2xi32>
}

// The norm stays; its statistics are reductions.
// CHECK-LABEL: func.func @statistics
func.func @statistics(%x: tensor<4x3xf32>, %gain: tensor<3xf32>) -> (tensor<4x3xf32>, tensor<4x1xf32>) {
  // CHECK: %[[Y:.*]] = onnx.node "LayerNormalization"(%arg0, %arg1){{.*}} -> tensor<4x3xf32>
  // CHECK: %[[MEAN:.*]] = onnx.node "ReduceMean"(%arg0
  // CHECK: return %[[Y]], %[[MEAN]]
  %y:2 = onnx.node "LayerNormalization"(%x, %gain) {version = 17 : i64} : (tensor<4x3xf32>, tensor<3xf32>) -> (tensor<4x3xf32>, tensor<4x1xf32>)
  return %y#0, %y#1 : tensor<4x3xf32>, tensor<4x1xf32>
}

// CHECK-LABEL: func.func @training
// CHECK: BatchNormalization
// REMARK: expects inference, got training_mode = 1
func.func @training(%x: tensor<2x3xf32>, %v: tensor<3xf32>) -> tensor<2x3xf32> {
  %y = onnx.node "BatchNormalization"(%x, %v, %v, %v, %v) attributes {training_mode = 1 : i64} {version = 15 : i64} : (tensor<2x3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  return %y : tensor<2x3xf32>
}
