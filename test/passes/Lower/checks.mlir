// Token ids that address a table straight from an input are checked before a run;
// negative ones count from the end, as ONNX Gather has them.

// RUN: quant-opt %s --nibble-lower | FileCheck %s

// CHECK: checks [{input = 1 : i64, limit = 6 : i64, min = -6 : i64}]
module attributes {qmodel.bounds = {n = [1, 8]}} {
qmodel.weight @table : tensor<6x3xf32> = dense<1.0> : tensor<6x3xf32>
func.func @main(%x: tensor<?xf32> {qmodel.dims = ["n"]}, %i: tensor<?xi64> {qmodel.dims = ["n"]}) -> tensor<?x3xf32> {
  %t = qmodel.load @table : tensor<6x3xf32>
  %0 = qmodel.embedding "tokens" %t, %i : (tensor<6x3xf32>, tensor<?xi64>) -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}
}
