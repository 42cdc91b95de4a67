// Every op of the dialect survives text and bytecode.

// RUN: quant-opt %s | quant-opt | FileCheck %s
// RUN: quant-opt %s --emit-bytecode | quant-opt | FileCheck %s

// CHECK-LABEL: func.func @node
// CHECK-SAME: %[[A:[^:]+]]: tensor<?x64xf32>
func.func @node(%a: tensor<?x64xf32> {onnx.name = "a"}) -> (tensor<?x32xf32> {onnx.name = "y"}) {
  // CHECK: %[[B:.+]] = onnx.constant dense<{{.*}}> : tensor<64x32xf32>
  %b = onnx.constant dense<0.5> : tensor<64x32xf32>
  // CHECK: %[[NONE:.+]] = onnx.none
  %none = onnx.none
  // CHECK: onnx.node "MatMul"(%[[A]], %[[B]]) {version = 16 : i64} : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  %y = onnx.node "MatMul"(%a, %b) {version = 16 : i64} : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  // CHECK: onnx.node "Clip"(%{{.+}}, %[[NONE]]) {version = 13 : i64} : (tensor<?x32xf32>, none) -> tensor<?x32xf32>
  %c = onnx.node "Clip"(%y, %none) {version = 13 : i64} : (tensor<?x32xf32>, none) -> tensor<?x32xf32>
  return %c : tensor<?x32xf32>
}

// CHECK-LABEL: func.func @attributes
func.func @attributes(%x: tensor<4xf32>) -> tensor<4xf32> {
  // CHECK: onnx.node "Custom"(%{{.+}}) attributes {axis = -1 : i64, list = [1, 2], mode = "linear", scale = 5.000000e-01 : f32, table = dense<[1, 2]> : tensor<2xi64>} {domain = "my.domain", version = 1 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  %y = onnx.node "Custom"(%x) attributes {axis = -1 : i64, list = [1, 2], mode = "linear", scale = 0.5 : f32, table = dense<[1, 2]> : tensor<2xi64>} {domain = "my.domain", version = 1 : i64} : (tensor<4xf32>) -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// CHECK-LABEL: func.func @results
func.func @results(%x: tensor<4xf32>) -> (tensor<2xf32>, tensor<2xf32>) {
  // CHECK: %{{.+}}:2 = onnx.node "Split"(%{{.+}}) {version = 18 : i64} : (tensor<4xf32>) -> (tensor<2xf32>, tensor<2xf32>)
  %y:2 = onnx.node "Split"(%x) {version = 18 : i64} : (tensor<4xf32>) -> (tensor<2xf32>, tensor<2xf32>)
  return %y#0, %y#1 : tensor<2xf32>, tensor<2xf32>
}

// CHECK-LABEL: func.func @no_operands
func.func @no_operands() -> tensor<4xf32> {
  // CHECK: onnx.node "RandomNormal"() {version = 1 : i64} : () -> tensor<4xf32>
  %y = onnx.node "RandomNormal"() {version = 1 : i64} : () -> tensor<4xf32>
  return %y : tensor<4xf32>
}

// CHECK-LABEL: func.func @subgraphs
func.func @subgraphs(%condition: tensor<i1>, %x: tensor<4xf32>) -> tensor<4xf32> {
  // CHECK: onnx.node "If"(%{{.+}}) {version = 16 : i64} : (tensor<i1>) -> tensor<4xf32> {
  // CHECK-NEXT: onnx.yield %{{.+}} : tensor<4xf32>
  // CHECK-NEXT: }, {
  // CHECK-NEXT: %[[NEG:.+]] = onnx.node "Neg"
  // CHECK-NEXT: onnx.yield %[[NEG]] : tensor<4xf32>
  %y = onnx.node "If"(%condition) {version = 16 : i64} : (tensor<i1>) -> tensor<4xf32> {
    onnx.yield %x : tensor<4xf32>
  }, {
    %n = onnx.node "Neg"(%x) {version = 13 : i64} : (tensor<4xf32>) -> tensor<4xf32>
    onnx.yield %n : tensor<4xf32>
  }
  return %y : tensor<4xf32>
}

// CHECK-LABEL: func.func @unranked
func.func @unranked(%x: tensor<*xf32>) -> tensor<*xf32> {
  // CHECK: onnx.node "Mystery"(%{{.+}}) {version = 7 : i64} : (tensor<*xf32>) -> tensor<*xf32>
  %y = onnx.node "Mystery"(%x) {version = 7 : i64} : (tensor<*xf32>) -> tensor<*xf32>
  return %y : tensor<*xf32>
}
