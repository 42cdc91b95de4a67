// A table that is cut to the length of a sequence is as long as the sequence,
// where the bounds say that it is never longer than the table.

// RUN: quant-opt %s --onnx-fold-shapes | FileCheck %s

module attributes {qmodel.bounds = {sequence = [1, 32], longer = [1, 33]}} {
  // CHECK-LABEL: func.func @cut
  func.func @cut(%x: tensor<?xf32> {qmodel.dims = ["sequence"]}, %y: tensor<?xf32> {qmodel.dims = ["longer"]}, %table: tensor<32xi64> {qmodel.dims = ["32"]}) -> (tensor<1xi64>, tensor<1xi64>) {
    %zero = onnx.constant dense<0> : tensor<1xi64>
    // CHECK: %[[CUT:.*]] = qmodel.dim_tensor ["sequence"]
    %s = onnx.node "Shape"(%x) {version = 17 : i64} : (tensor<?xf32>) -> tensor<1xi64>
    %cut = onnx.node "Slice"(%table, %zero, %s) {version = 17 : i64} : (tensor<32xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?xi64>
    %length = onnx.node "Shape"(%cut) {version = 17 : i64} : (tensor<?xi64>) -> tensor<1xi64>
    // CHECK: qmodel.dim_tensor ["min({{.*}})"]
    %t = onnx.node "Shape"(%y) {version = 17 : i64} : (tensor<?xf32>) -> tensor<1xi64>
    %short = onnx.node "Slice"(%table, %zero, %t) {version = 17 : i64} : (tensor<32xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<?xi64>
    %other = onnx.node "Shape"(%short) {version = 17 : i64} : (tensor<?xi64>) -> tensor<1xi64>
    return %length, %other : tensor<1xi64>, tensor<1xi64>
  }
}
