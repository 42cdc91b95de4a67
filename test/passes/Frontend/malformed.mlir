// RUN: quant-opt %s --nibble-frontend | FileCheck %s

// Text can say what no importer makes: nodes without their operands, or of
// unknown rank. They stay as they are.
// CHECK-LABEL: func.func @main
// CHECK-DAG: onnx.node "MatMul"()
// CHECK-DAG: onnx.node "MatMul"({{.*}}tensor<*xf32>
// CHECK-DAG: onnx.node "Softmax"()
// CHECK-DAG: onnx.node "Transpose"()
// CHECK-DAG: onnx.node "Gather"()
// CHECK-DAG: onnx.node "Where"
// CHECK-DAG: onnx.node "Add"({{.*}}none
qmodel.weight @w : tensor<4x4xf32> = dense<1.0> : tensor<4x4xf32>

func.func private @outside(tensor<4xf32>) -> tensor<4xf32>

func.func @main(%x: tensor<2x4xf32>, %u: tensor<*xf32>)
    -> (tensor<2x4xf32>, tensor<*xf32>, tensor<4x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>,
        tensor<4x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>) {
  %none = onnx.none
  %w = qmodel.load @w : tensor<4x4xf32>
  %1 = onnx.node "MatMul"() {version = 16 : i64} : () -> tensor<2x4xf32>
  %2 = onnx.node "MatMul"(%u, %w) {version = 16 : i64} : (tensor<*xf32>, tensor<4x4xf32>) -> tensor<*xf32>
  %3 = onnx.node "Softmax"() {version = 16 : i64} : () -> tensor<4x4xf32>
  %4 = onnx.node "MatMul"(%3, %w) {version = 16 : i64}
    : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %5 = onnx.node "Transpose"() {version = 16 : i64} : () -> tensor<4x4xf32>
  %6 = onnx.node "MatMul"(%x, %5) {version = 16 : i64}
    : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  %7 = onnx.node "Gather"() {version = 16 : i64} : () -> tensor<2x4xf32>
  %8 = onnx.node "Where"(%x) {version = 16 : i64} : (tensor<2x4xf32>) -> tensor<4x4xf32>
  %9 = onnx.node "Add"(%x, %none) {version = 16 : i64} : (tensor<2x4xf32>, none) -> tensor<2x4xf32>
  %10 = onnx.node "Div"(%x) {version = 16 : i64} : (tensor<2x4xf32>) -> tensor<2x4xf32>
  return %1, %2, %4, %6, %7, %8, %9, %10
    : tensor<2x4xf32>, tensor<*xf32>, tensor<4x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>,
      tensor<4x4xf32>, tensor<2x4xf32>, tensor<2x4xf32>
}
