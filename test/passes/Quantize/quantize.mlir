// What planned weights become; the values are compared with the oracles in
// rtn_modules.py.

// RUN: quant-opt %s --qmodel-plan='bits=4 group=2' --qmodel-quantize-rtn | FileCheck %s --check-prefixes=CHECK,GROUPS
// RUN: quant-opt %s --qmodel-plan='bits=8 group=0 symmetric=true grid=narrow' --qmodel-quantize-rtn | FileCheck %s --check-prefixes=CHECK,CHANNEL
// RUN: quant-opt %s --qmodel-plan='bits=4 group=2 embedding-bits=4 head-bits=4' --qmodel-quantize-rtn | FileCheck %s --check-prefixes=TIED

// What is quantized stays as it is.
// RUN: quant-opt %s --qmodel-plan='bits=4 group=2' --qmodel-quantize-rtn -o %t.once
// RUN: quant-opt %t.once --qmodel-quantize-rtn -o %t.twice
// RUN: cmp %t.once %t.twice

// The float weight of the layer is gone, those that are kept are not.
// CHECK-NOT: @down :
// TIED-NOT: @table :

// Tied weights with one scheme are quantized once.
// TIED-COUNT-1: qmodel.weight @table.codes
// TIED-NOT: qmodel.weight @table.codes

// A group that the width does not fill has a scale of its own.
// GROUPS-DAG: qmodel.weight @down.codes : tensor<4x3xui4> = dense
// GROUPS-DAG: qmodel.weight @down.scales : tensor<4x2xf32> = dense
// GROUPS-DAG: qmodel.weight @down.zeros : tensor<4x2xui4> = dense
// CHANNEL-DAG: qmodel.weight @down.codes : tensor<4x3xi8> = dense
// CHANNEL-DAG: qmodel.weight @down.scales : tensor<4x1xf32> = dense
// CHANNEL-NOT: @down.zeros

qmodel.weight @table : tensor<5x4xf32> = dense<[[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0], [-1.0, 0.5, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0], [-4.0, 3.0, -2.0, 1.0]]> : tensor<5x4xf32>
qmodel.weight @down : tensor<4x3xf32> = dense<[[1.0, -2.0, 3.0], [0.5, 0.25, 0.125], [0.0, 0.0, 0.0], [-1.0, -2.0, -3.0]]> : tensor<4x3xf32>
qmodel.weight @stored_transposed : tensor<3x4xf32> = dense<1.0> : tensor<3x4xf32>

// CHECK-LABEL: func.func @main
// TIED-LABEL: func.func @main
func.func @main(%ids: tensor<?xi64>, %h: tensor<?x3xf32>) -> (tensor<?x5xf32>, tensor<?x4xf32>) {
  // CHECK-DAG: %[[TABLE:.+]] = qmodel.load @table : tensor<5x4xf32>
  // CHECK-DAG: qmodel.embedding "tokens" %[[TABLE]]
  // TIED: qmodel.load @table.codes
  // TIED: %[[T:.+]] = qmodel.dequantize
  // TIED: qmodel.embedding "tokens" %[[T]]
  %table = qmodel.load @table : tensor<5x4xf32>
  %x = qmodel.embedding "tokens" %table, %ids : (tensor<5x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  // CHECK: %[[C:.+]] = qmodel.load @down.codes
  // CHECK: %[[S:.+]] = qmodel.load @down.scales
  // GROUPS: %[[Z:.+]] = qmodel.load @down.zeros
  // GROUPS: %[[D:.+]] = qmodel.dequantize %[[C]], %[[S]] zeros %[[Z]] group 2 scheme <bits = 4, group = 2, symmetric = false, grid = minmax, rounding = half_even> : (tensor<4x3xui4>, tensor<4x2xf32>, tensor<4x2xui4>) -> tensor<4x3xf32>
  // CHANNEL: %[[D:.+]] = qmodel.dequantize %[[C]], %[[S]] group 0 scheme <bits = 8, group = 0, symmetric = true, grid = narrow, rounding = half_even> : (tensor<4x3xi8>, tensor<4x1xf32>) -> tensor<4x3xf32>
  // CHECK: qmodel.linear "down" %{{.+}}, %[[D]] {plan = #qmodel.plan<
  %w = qmodel.load @down : tensor<4x3xf32>
  %0 = qmodel.linear "down" %h, %w : (tensor<?x3xf32>, tensor<4x3xf32>) -> tensor<?x4xf32>
  // A transposed view is quantized along the inputs of the layer.
  // CHECK: qmodel.dequantize {{.*}} -> tensor<4x3xf32>
  // CHECK: qmodel.linear "transposed"
  %t = qmodel.load @stored_transposed permutation [1, 0] : tensor<4x3xf32>
  %1 = qmodel.linear "transposed" %h, %t : (tensor<?x3xf32>, tensor<4x3xf32>) -> tensor<?x4xf32>
  %2 = qmodel.add %0, %1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  // TIED: qmodel.load @table.codes
  // TIED: %[[T2:.+]] = qmodel.dequantize
  // TIED: qmodel.linear "head" %{{.+}}, %[[T2]]
  %3 = qmodel.linear "head" %x, %table : (tensor<?x4xf32>, tensor<5x4xf32>) -> tensor<?x5xf32>
  return %3, %2 : tensor<?x5xf32>, tensor<?x4xf32>
}
