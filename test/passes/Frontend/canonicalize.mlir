// RUN: quant-opt --onnx-canonicalize %s | FileCheck %s

// CHECK-LABEL: func.func @main
func.func @main(%x: tensor<3x4xf32>, %like: tensor<1xf16>) -> tensor<3x4xf16> {
  // CHECK: onnx.node "Cast"(%arg0)
  // CHECK-NOT: CastLike
  %y = onnx.node "CastLike"(%x, %like) {version = 19 : i64} : (tensor<3x4xf32>, tensor<1xf16>) -> tensor<3x4xf16>
  return %y : tensor<3x4xf16>
}

// CHECK-LABEL: func.func @swiglu
func.func @swiglu(%a: tensor<3x4xf32>, %b: tensor<3x4xf32>) -> tensor<3x4xf32> {
  // CHECK: %[[GATE:.*]] = onnx.node "Swish"(%arg0) attributes {alpha = 5.000000e-01 : f32}
  // CHECK: onnx.node "Mul"(%[[GATE]], %arg1)
  %y = onnx.node "SwiGLU"(%a, %b) attributes {alpha = 0.5 : f32} {version = 28 : i64} : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return %y : tensor<3x4xf32>
}

// Until opset 12 the axis and all that follow were one.
// CHECK-LABEL: func.func @flattening
func.func @flattening(%x: tensor<2x3x4xf32>) -> tensor<2x3x4xf32> {
  // CHECK: %[[FLAT:.*]] = onnx.node "Flatten"(%arg0) attributes {axis = 1 : i64}
  // CHECK: %[[Y:.*]] = onnx.node "Softmax"(%[[FLAT]]) attributes {axis = -1 : i64} {version = 13 : i64}
  // CHECK: %[[SHAPE:.*]] = onnx.node "Shape"(%arg0)
  // CHECK: onnx.node "Reshape"(%[[Y]], %[[SHAPE]])
  %y = onnx.node "Softmax"(%x) attributes {axis = 1 : i64} {version = 11 : i64} : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  return %y : tensor<2x3x4xf32>
}

// What a condition picks are the elements that NonZero finds in it.
// CHECK-LABEL: func.func @compress
func.func @compress(%x: tensor<3x4xf32>, %c: tensor<4xi1>, %flat: tensor<?xi1>) -> (tensor<3x2xf32>, tensor<5xf32>) {
  // CHECK: %[[FOUND:.*]] = onnx.node "NonZero"(%arg1)
  // CHECK: %[[INDICES:.*]] = onnx.node "Squeeze"(%[[FOUND]]
  // CHECK: %[[Y:.*]] = onnx.node "Gather"(%arg0, %[[INDICES]]) attributes {axis = 1 : i64}
  %0 = onnx.node "Compress"(%x, %c) attributes {axis = -1 : i64} {version = 11 : i64} : (tensor<3x4xf32>, tensor<4xi1>) -> tensor<3x2xf32>
  // CHECK: %[[FLAT:.*]] = onnx.node "Reshape"(%arg0
  // CHECK: onnx.node "NonZero"(%arg2)
  // CHECK: onnx.node "Gather"(%[[FLAT]], %{{.*}}) attributes {axis = 0 : i64}
  %1 = onnx.node "Compress"(%x, %flat) {version = 11 : i64} : (tensor<3x4xf32>, tensor<?xi1>) -> tensor<5xf32>
  return %0, %1 : tensor<3x2xf32>, tensor<5xf32>
}
